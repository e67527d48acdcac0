"""All axes at once and the baseline's line, on worlds whose truth is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies import worlds
from adaptxfer.studies.answers import side_tally, slice_shift, slice_tally
from adaptxfer.studies.domain import domain_study
from adaptxfer.studies.items import Items
from adaptxfer.studies.outcomes import paired
from adaptxfer.studies.robust import LINE_FROM, against_line, all_axes
from adaptxfer.studies.slices import sliced
from benchmarks.planted_slices import two_sets

ITEMS = 400
SLICES = (worlds.SHIFTED, worlds.REFERENCE)


def straddling(number: int, effect: float = 8.0):
    """A world whose gain grows on slice a, and labels of a second axis that go along with the first."""
    world = worlds.changed("cluster", shift=0.0, intermediates=1, languages=2, clusters=20, cluster_sd=2.0, item_sd=5.0)
    made = worlds.simulate("cluster", number, world)
    whole = made.table.where(lambda row: row.slice == "all")
    generator = np.random.default_rng(number)
    one = {f"t01-q{j}": "a" if generator.random() < 0.5 else "b" for j in range(ITEMS)}
    two = {key: "x" if generator.random() < (0.9 if part == "a" else 0.2) else "y" for key, part in one.items()}

    def load(row):
        items = made.items_of(row)
        more = effect / 100 * np.array([one[name] == "a" for name in items.ids]) * (row.intermediate != "none")
        return Items(items.ids, items.clusters, items.above + more, items.below)

    table = replace(whole, rows=tuple(replace(row, value=load(row).score()) for row in whole.rows))
    return table, {"one": one, "two": two}, load


def test_an_axis_that_only_goes_along_with_another_has_no_effect_of_its_own() -> None:
    table, axes, load = straddling(1)
    found = {(c.axis, c.slices[0]): c for c in all_axes(table, "t01", axes, load)}
    (one,), (two,) = ([c for (axis, _), c in found.items() if axis == name] for name in axes)
    sign = 1 if one.slices[0] == "a" else -1
    assert sign * one.estimate.value == pytest.approx(8, abs=2) and one.estimate.p < 0.001
    assert two.estimate.low < 0 < two.estimate.high
    rows, of, _ = sliced(table, "t01", axes["two"], load)
    alone = slice_shift(rows, "i01", "t01", ("x", "not x"), of, 300)
    assert alone.low > 2, "slice by slice it seems to have one"
    assert one.estimate.n_units == 40 and one.items == min(list(axes["one"].values()).count(part) for part in "ab")


def test_slices_of_few_articles_are_one() -> None:
    table, axes, load = straddling(2)
    rare = {key: f"p{int(key.removeprefix('t01-q')) // 40}" for key in axes["one"]}  # four articles each
    parts = {c.slices[0] for c in all_axes(table, "t01", {"one": axes["one"], "rare": rare}, load) if c.axis == "rare"}
    assert parts == set(), "all of them are small: one slice is left"


def test_no_regression_over_items_of_different_weight() -> None:
    table, axes, load = straddling(3)

    def uneven(row):
        items = load(row)
        return replace(items, below=1.0 + np.arange(len(items.ids)) % 3)

    with pytest.raises(AdaptxferError, match="do not weigh alike"):
        all_axes(table, "t01", axes, uneven)


def lined(shift: float, languages: int = 5):
    return worlds.simulate("cluster", 3, worlds.changed(
        "cluster", shift=shift, intermediates=2, languages=languages, clusters=60, level_sd=12.0, cluster_sd=2.0,
        item_sd=5.0,
    ))  # fmt: skip


@pytest.mark.parametrize("shift", [0.0, 8.0])
def test_effective_robustness_is_what_was_planted(shift: float) -> None:
    made = lined(shift)
    found = against_line(slice_tally(made.table, "t01", SLICES, ["i01", "i02"], made.items_of), 200)
    assert found is not None and found.line[0] == pytest.approx(1, abs=0.25)
    assert all(e.low < shift < e.high and e.n_units == 60 for e in found.residuals.values())
    reference, shifted = found.scores["i01"]
    slope, level = found.line
    assert found.residuals["i01"].value == pytest.approx((shifted - slope * reference - level).mean())


def test_no_line_through_two_languages() -> None:
    made = lined(0.0, LINE_FROM - 1)
    assert against_line(slice_tally(made.table, "t01", SLICES, ["i01"], made.items_of), 100) is None


@pytest.mark.parametrize("shift", [0.0, 6.0])
def test_effective_robustness_between_data_sets_covers_what_was_planted(shift: float) -> None:
    found = []
    for number in range(40):
        table, load = two_sets(number, shift)
        before, after = paired(table)
        lines = against_line(side_tally((after, before), ["i01", "i02"], load), 100)
        assert lines is not None and lines.languages == ("l01", "l02", "l03", "l04")
        found += lines.residuals.values()
    assert np.mean([e.low < shift < e.high for e in found]) >= 0.9 and {e.n_units for e in found} == {20}
    errors = np.array([e.value - shift for e in found])
    assert abs(errors.mean()) < 1.5 and np.mean([e.error for e in found]) == pytest.approx(errors.std(), rel=0.25)


def test_articles_of_two_data_sets_are_drawn_apart() -> None:
    table, load = two_sets(1, 0.0)
    before, after = paired(table)
    both = side_tally((after, before), ["i01"], load)
    one, other = both.members
    assert len(one) == len(other) == 20 and not one & other
    assert both.strata() is not None and both.strata().sum() == 20


def test_one_seed_gives_no_interval_between_data_sets() -> None:
    """Slices share what a seed does to a run; data sets do not."""
    table, load = two_sets(1, 0.0, seeds=1)
    before, after = paired(table)
    lines = against_line(side_tally((after, before), ["i01", "i02"], load), 100)
    assert lines is not None and all(np.isnan(e.low) and np.isfinite(e.value) for e in lines.residuals.values())


def test_a_chain_is_held_against_the_line_too() -> None:
    table, load = two_sets(2, 6.0)
    report = domain_study(table, "t02", items_of=load, resamples=100, chain=["t01", "t02"])
    (view,) = [view for view in report.views if view.title == "Effective robustness"]
    assert [row[:4] for row in view.rows] == [[name, "data set", "t02", "t01"] for name in ("i01", "i02")]
    assert {row[-1] for row in view.rows} == {20} and "line-t02-t01" in report.plots


@pytest.mark.parametrize(
    ("languages", "items", "told"), [(LINE_FROM - 1, True, "they share 2 languages"), (3, False, "has no items in l01")]
)
def test_a_chain_without_a_line_says_so(languages: int, items: bool, told: str) -> None:
    table, load = two_sets(3, 0.0, languages=languages)
    report = domain_study(
        table, "t02", items_of=load if items else lambda row: None, resamples=100, chain=["t01", "t02"]
    )
    (note,) = [note for note in report.notes if note.startswith("No effective robustness of t02 against t01: ")]
    assert told in note and note.endswith(".") and not note.endswith("..")
    assert "Effective robustness" not in {view.title for view in report.views} and len(report.claims) == 2


def test_gains_by_language_and_slice_weight_back_to_the_whole() -> None:
    made = lined(4.0, 3)
    report = domain_study(made.table, "t01", SLICES, made.items_of, resamples=100)
    (view,) = [view for view in report.views if view.title == "Gain by language and slice"]
    whole = {row.language: row.value for row in made.table.rows
             if (row.slice, row.intermediate, row.target_seed) == ("all", "none", 1)}  # fmt: skip
    parts = {(row.language, row.slice): row.value for row in made.table.rows
             if (row.intermediate, row.target_seed) == ("none", 1)}  # fmt: skip
    for code, value in whole.items():
        assert np.mean([parts[code, part] for part in SLICES]) == pytest.approx(value), "halves of equal size"
    assert [row[0] for row in view.rows] == list(whole) and len(view.columns) == 5
    assert {"line-slice", "map-slice", "shifts"} <= report.plots.keys()
