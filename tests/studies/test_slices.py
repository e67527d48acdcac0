"""Slices of questions, and the study over them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.domain import domain_study
from adaptxfer.studies.items import load_items
from adaptxfer.studies.slices import answer_type, axis_labels, question_type, read_slices, sliced
from adaptxfer.studies.table import NONE, RecordTable, Row

ARTICLES, EACH = 40, 12
ASKED = ("Who sang it?", "When was it built?", "How many are there?", "What is it called?")
ANSWERS = ("Ann Smith", "in May 1990", "40", "the old bridge")


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many points?", "count"), ("How much did it cost?", "count"), ("Whose idea was it?", "who"),
        ("In what year did it end?", "when"), ("In which country?", "which"), ("Where is it?", "where"),
        ("What did he say when asked?", "what"), ("Why so?", "why"), ("How was it done?", "how"), ("Name it.", "other"),
    ],
)  # fmt: skip
def test_question_types(question: str, kind: str) -> None:
    assert question_type(question) == kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("Nikola Tesla", "name"), ("the Treaty of Paris", "name"), ("28 February 2008", "date"), ("1980s", "date"),
        ("four", "number"), ("2.8%", "number"), ("white flight", "phrase"),
        ("because the town had no water left for them", "clause"),
    ],
)  # fmt: skip
def test_answer_types(answer: str, kind: str) -> None:
    assert answer_type(answer) == kind


class Written:
    """Runs on questions in two languages; with the intermediate, questions of one type gain more."""

    def __init__(self, root: Path, extra: float = 0.0) -> None:
        self.root, rows = root, []
        for seed in (1, 2, 3):
            for name in (NONE, "mnli"):
                rows += [self._row(name, seed, language, extra) for language in ("en", "de")]
        self.table = RecordTable(tuple(rows))

    def _row(self, name: str, seed: int, language: str, extra: float) -> Row:
        generator = np.random.default_rng([seed, language == "de", name == NONE])
        lines = []
        for j in range(ARTICLES * EACH):
            share = 0.5 + (name != NONE) * (0.1 + extra * (j % 4 == 0))
            right = 100.0 * float(generator.random() < share)
            title = f"Article {j // EACH}" if language == "en" else f"Artikel {j // EACH}"
            lines.append({"id": str(j), "gold": [ANSWERS[j % 4]], "predicted": "", "exact": right, "f1": right,
                          "question": ASKED[j % 4] if language == "en" else "?", "context_words": 50 + j // EACH,
                          "position": (j * 7 % 100) / 100, "overlap": (j * 11 % 100) / 100,
                          "cluster": title})  # fmt: skip
        path = self.root / f"evaluate-xquad-{name}{seed}" / "predictions" / f"{language}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        value = float(np.mean([line["f1"] for line in lines]))
        how = "none" if name == NONE else "stack"
        return Row("xquad", language, "squad", value, seed, name, "measured", how=how, method="bottleneck",
                   backbone="mini", n_items=len(lines), items=str(path))  # fmt: skip


def test_labels_are_those_of_english_and_partition_the_items(tmp_path: Path) -> None:
    table = Written(tmp_path).table
    name, labels = axis_labels("question-type", table, "xquad")
    assert name == "question-type" and set(labels.values()) == {"who", "when", "count", "what"}
    rows, load, sizes = sliced(table, "xquad", labels, load_items)
    assert sizes["who"] == ARTICLES * EACH // 4 and sizes["who"] + sizes["not who"] == ARTICLES * EACH
    parts = {row.slice: load(row) for row in rows.rows if (row.language, row.target_seed) == ("de", 1)}
    assert set(parts["who"].ids) & set(parts["not who"].ids) == set()  # type: ignore[union-attr]
    assert set(axis_labels("length", table, "xquad")[1].values()) == {"short", "medium", "long"}
    assert set(axis_labels("answer-type", table, "xquad")[1].values()) == {"name", "date", "number", "phrase"}


@pytest.mark.parametrize(
    ("axis", "parts"),
    [
        ("position", {"early", "middle", "late"}),
        ("overlap", {"low", "middle", "high"}),
        ("answer-length", {"short", "medium"}),
    ],
)
def test_axes_of_form(tmp_path: Path, axis: str, parts: set[str]) -> None:
    assert set(axis_labels(axis, Written(tmp_path).table, "xquad")[1].values()) == parts


def test_all_axes_at_once_in_the_report(tmp_path: Path) -> None:
    table = Written(tmp_path, extra=0.3).table
    report = domain_study(table, "xquad", resamples=200, axes=["question-type", "position"])
    views = {view.title: view for view in report.views}
    rows = {(row[1], row[2], row[3]): row for row in views["All axes at once"].rows}
    assert {key[0] for key in rows} == {"question-type", "position"} and len(rows) == 3 + 2
    assert {row[7] for row in rows.values()} == {ARTICLES}
    assert "Effective robustness" not in views, "two languages make no line"
    assert [row[0] for row in views["Gain by language and position"].rows] == ["en", "de"]
    assert "map-position" in report.plots


def test_an_article_is_one_cluster_in_all_languages(tmp_path: Path) -> None:
    rows = {row.language: load_items(row) for row in Written(tmp_path).table.rows if row.target_seed == 1}
    assert rows["de"].clusters == rows["en"].clusters and rows["de"].clusters[0] == "Article 0"  # type: ignore[union-attr]


def test_study_by_question_type(tmp_path: Path) -> None:
    table = Written(tmp_path, extra=0.3).table
    report = domain_study(table, "xquad", margin=5.0, resamples=300, axes=["question-type"])
    found = {claim.text.split(" is the same on question-type ")[1].split(" as ")[0]: claim for claim in report.claims}
    assert found["who"].estimate.value > 15 and found["who"].estimate.n_units == ARTICLES
    assert {claim.verdict for claim in report.claims} == {"descriptive"}  # 120 questions are too few
    assert "200 questions, not 120" in found["who"].why


def test_topics_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv"
    path.write_text("title\tslice\n" + "".join(f"Article {k}\t{'arts' if k % 2 else 'science'}\n" for k in range(40)))
    table = Written(tmp_path).table
    report = domain_study(table, "xquad", margin=20.0, resamples=300, axes=[f"topic:{path}"])
    assert [claim.verdict for claim in report.claims] == ["descriptive"] * 2  # twenty articles each
    assert report.claims[0].estimate.n_units == 20 and "30 clusters" in report.claims[0].why


def test_large_slices_are_tested(tmp_path: Path) -> None:
    path = tmp_path / "halves.csv"
    path.write_text("item_id,slice\n" + "".join(f"{j},{'even' if j % 2 == 0 else 'odd'}\n" for j in range(480)))
    report = domain_study(Written(tmp_path).table, "xquad", margin=15.0, resamples=300, axes=[f"half:{path}"])
    assert {claim.verdict for claim in report.claims} == {"supported"}


@pytest.mark.parametrize(
    ("axis", "told"), [("genre", "no axis 'genre'"), ("a:missing.csv", "missing.csv"), ("a:bad.csv", "Needed: item_id")]
)
def test_faulty_axes(tmp_path: Path, monkeypatch, axis: str, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text("id,slice\n1,a\n")
    with pytest.raises(AdaptxferError) as caught:
        axis_labels(axis, Written(tmp_path).table, "xquad")
    assert told in str(caught.value)


def test_an_item_in_two_slices_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("item_id,slice\n1,a\n1,b\n")
    with pytest.raises(AdaptxferError, match="two slices"):
        read_slices(tmp_path / "s.csv")


def test_data_sets_in_a_chain(tmp_path: Path) -> None:
    from dataclasses import replace

    table = Written(tmp_path).table
    other = tuple(replace(row, target_task="mlqa") for row in table.rows)
    joined = RecordTable((*table.rows, *other))
    (claim,) = domain_study(joined, "xquad", margin=60.0, resamples=200, chain=["xquad", "mlqa"]).claims
    assert claim.estimate.value == 0 and claim.unit == "seeds" and claim.estimate.n_units == 3
    with pytest.raises(AdaptxferError, match="no run on tydiqa"):
        domain_study(table, "xquad", chain=["xquad", "tydiqa"])
    with pytest.raises(AdaptxferError, match="nothing to compare"):
        domain_study(table, "xquad")


DOMAINS = ("news", "junior", "voyage")


def flores(root: Path, named: bool = True) -> RecordTable:
    """Retrieval in two languages, none of them English, whose sentences say which domain they are from."""
    rows = []
    for place, (name, language) in enumerate((n, code) for n in (NONE, "mnli") for code in ("deu_Latn", "swh_Latn")):
        right = np.random.default_rng(place).random(90) < 0.5 + 0.2 * (name != NONE)
        lines = [{"id": str(j), "gold": str(j), "predicted": "0", "correct": bool(r)} for j, r in enumerate(right)]
        lines = [line | ({"domain": DOMAINS[j % 3]} if named else {}) for j, line in enumerate(lines)]
        path = root / f"evaluate-flores200-{name}" / "predictions" / f"{language}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        rows.append(Row("flores200", language, "accuracy", 100 * float(right.mean()), 1, name, "measured", n_items=90,
                        how="stack" if name != NONE else NONE, items=str(path)))  # fmt: skip
    return RecordTable(tuple(rows))


def test_languages_by_domain(tmp_path: Path) -> None:
    table = flores(tmp_path)
    report = domain_study(table, "flores200", resamples=100, axes=["domain"])
    (view,) = [view for view in report.views if view.title == "Gain by language and domain"]
    assert [row[0] for row in view.rows] == ["deu_Latn", "swh_Latn"]
    assert [name for name, _ in view.columns[1:]] == [
        f"{name} {what}" for name in DOMAINS for what in ("without", "gain")
    ]
    for row in view.rows:  # domains of one size weight back to the total
        whole = next(r.value for r in table.rows if (r.language, r.intermediate) == (row[0], NONE))
        assert np.mean([float(str(cell)) for cell in row[1::2]]) == pytest.approx(whole, abs=0.1)
    assert report.plots["map-domain"].columns == list(DOMAINS)


def test_sentences_without_domains(tmp_path: Path) -> None:
    with pytest.raises(AdaptxferError, match="name no domains"):
        domain_study(flores(tmp_path, named=False), "flores200", axes=["domain"])
