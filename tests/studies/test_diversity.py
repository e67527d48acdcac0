"""Selectors that look at languages, on worlds with and without an interaction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.diversity import advantage, by_bin, diversity_study
from adaptxfer.studies.languages import LanguageFeatures, features_text, low_resource, read_features
from adaptxfer.studies.selectors import (
    ALL,
    BLIND,
    INTERACTION,
    LANGUAGE,
    PAIR,
    Cells,
    gain_cells,
    left_out,
    shuffled,
    standard,
    taken,
)
from adaptxfer.studies.worlds import Simulation, changed, simulate


@pytest.fixture(scope="module")
def made() -> Simulation:
    return simulate("interaction", 1)


@pytest.fixture(scope="module")
def cells(made) -> Cells:
    return gain_cells(made.table, made.features)


def regret(cells: Cells, guess: np.ndarray) -> float:
    return float((cells.gains.max(1) - taken(cells, guess)).mean())


@pytest.mark.parametrize("cv", ["lolo", "loto"])
def test_features_of_a_language_alone_change_no_ranking(cells: Cells, cv: str) -> None:
    blind, language = left_out(cells, BLIND, cv), left_out(cells, LANGUAGE, cv)
    assert np.array_equal(np.argsort(blind, axis=1), np.argsort(language, axis=1))
    assert np.allclose(blind, language, atol=1e-9)


def test_a_planted_interaction_cuts_the_regret_and_a_placebo_does_not(cells: Cells) -> None:
    blind, looking = (regret(cells, left_out(cells, name, "lolo")) for name in (BLIND, INTERACTION))
    placebos = [shuffled(cells, np.random.default_rng(k)) for k in range(5)]
    fake = np.mean([regret(placebo, left_out(placebo, ALL, "lolo")) for placebo in placebos])
    assert looking < 0.5 * blind and fake > 0.8 * blind


def test_blind_choice_is_the_best_mean_elsewhere(cells: Cells) -> None:
    guess = left_out(cells, BLIND, "lolo")
    language = cells.languages[0]
    rest = cells.gains[cells.languages != language].mean(0)
    assert np.allclose(guess[0] - guess[0].mean(), rest - rest.mean(), atol=0.01)


def test_features_of_pairs_are_used(made) -> None:
    """The true gain as a feature of intermediate and language."""
    cells = gain_cells(made.table, LanguageFeatures())
    codes = sorted(set(cells.languages))
    known = {(name, code): np.array([cells.gains[cells.languages == code].mean(0)[i]])
             for i, name in enumerate(cells.names) for code in codes}  # fmt: skip
    with_pairs = gain_cells(made.table, LanguageFeatures((), {}, ("true gain",), known))
    assert regret(with_pairs, left_out(with_pairs, PAIR, "lolo")) < 0.6 * regret(cells, left_out(cells, BLIND, "lolo"))


def test_nothing_is_seen_of_what_is_left_out(cells: Cells) -> None:
    before = left_out(cells, ALL, "loto")
    mine = cells.targets == cells.targets[0]
    gains = cells.gains.copy()
    gains[mine] += np.random.default_rng(0).normal(0, 50, gains[mine].shape)
    after = left_out(replace(cells, gains=gains), ALL, "loto")
    assert np.allclose(before[mine], after[mine]) and not np.allclose(before[~mine], after[~mine])


def test_study_of_an_interaction(made) -> None:
    families = {f"l{k:02d}": f"f{k % 7}" for k in range(1, 31)}
    features = made.features + LanguageFeatures(families=families, notices=("a licence",))
    report = diversity_study(made.table, features, lambda codes: low_resource(None, codes, features), placebo=60)
    verdicts = {c.text.split(" for ")[0]: c.verdict for c in report.claims[:2]}
    assert set(verdicts.values()) == {"supported"}
    assert report.claims[0].unit == "families" and report.claims[0].estimate.n_units == 7
    assert "a licence" in report.notes and len(report.views) == 4
    shown = {row[0]: row[1:] for row in report.views[0].rows}
    assert shown[LANGUAGE] == shown[BLIND] != shown[ALL] and shown["oracle"][1] == "0.00"


def test_few_languages_only_describe(made) -> None:
    report = diversity_study(made.table, made.features, lambda codes: codes[:6], cv=["lolo"], placebo=5)
    assert {c.verdict for c in report.claims} == {"descriptive"} and "10 low-resource" in report.claims[0].why


def test_regret_by_resources_weights_back_to_the_whole(cells: Cells) -> None:
    codes = sorted(set(cells.languages))
    binned = {code: "low" if k < 10 else "high" for k, code in enumerate(codes)}
    found = by_bin(cells, {"best": cells.gains, "worst": -cells.gains}, binned, "i01")
    assert set(found) == {"best", "worst", "always i01", "random (expected)", "none"}
    lost = np.maximum(cells.gains.max(1), 0) - cells.gains.min(1)
    assert (10 * found["worst"]["low"] + 20 * found["worst"]["high"]) / 30 == pytest.approx(lost.mean())
    assert found["best"]["low"] < found["always i01"]["low"]


def test_a_language_is_left_out_under_all_its_codes(made) -> None:
    names = {"l01": "de", "l02": "deu_Latn", "l03": "sw", "l04": "swh_Latn"}
    rows = tuple(replace(row, language=names.get(row.language, row.language)) for row in made.table.rows)
    cells = gain_cells(replace(made.table, rows=rows), made.features)
    assert {"de", "sw"} <= set(cells.languages) and not {"deu_Latn", "swh_Latn"} & set(cells.languages)
    assert any("deu_Latn = de" in note for note in cells.notes) and any("swh_Latn ~ sw" in note for note in cells.notes)


def test_advantage_over_families(cells: Cells) -> None:
    best, worst = cells.gains, -cells.gains
    mask = np.ones(len(cells.gains), bool)
    alone, unit = advantage(cells, best, worst, mask, {})
    grouped, families = advantage(cells, best, worst, mask, {f"l{k:02d}": "one" for k in range(1, 11)})
    assert (unit, families) == ("languages", "families")
    assert (alone.n_units, grouped.n_units) == (30, 21) and alone.value == pytest.approx(grouped.value)


def test_unknown_features_count_as_the_mean() -> None:
    values = standard(np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, 5.0]]))
    assert values.tolist() == [[-1, 0], [1, 0], [0, 0]]


def test_feature_files(tmp_path: Path) -> None:
    path = tmp_path / "f.tsv"
    path.write_text("# CC BY-SA 4.0\nlanguage\tfamily\tdistance\nsw\tBantu\t0.5\nzh\tSino\t\n")
    found = read_features(path)
    assert found.notices == ("f.tsv: CC BY-SA 4.0",) and found.families == {"sw": "Bantu", "zh": "Sino"}
    assert found.of_languages(["sw", "zh", "xx"])[:, 0].tolist()[0] == 0.5
    assert np.isnan(found.of_languages(["zh", "xx"])).all()
    pairs = tmp_path / "p.csv"
    pairs.write_text("intermediate,language,overlap\nmnli,sw,0.2\n")
    both = found + read_features(pairs)
    assert both.of_pairs(["mnli", "qqp"], ["sw"])[0, 0, 0] == 0.2 and np.isnan(both.of_pairs(["qqp"], ["sw"])).all()
    again = tmp_path / "again.tsv"
    again.write_text(features_text(found))
    one, other = (known.of_languages(["sw", "zh"]) for known in (found, read_features(again)))
    assert np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("code,x\nsw,1\n", "no column language"),
        ("language,x\nsw,far\n", "is no number"),
        ("language,x\nsw,1\nsw,2\n", "two lines"),
        ("language\nsw\n", "no feature"),
    ],
)
def test_faulty_feature_files(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(AdaptxferError, match=told):
        read_features(tmp_path / "f.csv")


def test_low_resource_languages() -> None:
    features = LanguageFeatures(("tokens",), {code: np.array([float(k)]) for k, code in enumerate("abcdef")})
    assert low_resource(None, ["en", "a"], features) == ("a",)
    assert low_resource("tokens:bottom-third", list("abcdef"), features) == ("a", "b")
    assert low_resource("b, c", list("abc"), features) == ("b", "c")
    for said in ("xx", "tokens:top", "size:bottom-third"):
        with pytest.raises(AdaptxferError):
            low_resource(said, list("abc"), features)


def test_worlds_without_interaction_gain_nothing() -> None:
    made = simulate("interaction", 3, changed("interaction", interaction=0.0))
    cells = gain_cells(made.table, made.features)
    found, _ = advantage(cells, left_out(cells, ALL, "lolo"), left_out(cells, BLIND, "lolo"),
                         np.ones(len(cells.gains), bool), {})  # fmt: skip
    assert abs(found.value) < 0.2
