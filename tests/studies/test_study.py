"""Studies on simulated worlds: their claims against the planted truth."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies import answers
from adaptxfer.studies.domain import domain_study
from adaptxfer.studies.metric import metric_study
from adaptxfer.studies.pairs import OWN_SCORE, STEPS
from adaptxfer.studies.report import write_report
from adaptxfer.studies.scale import scale_study
from adaptxfer.studies.table import read_csv
from adaptxfer.studies.worlds import EASY, HARD, REFERENCE, SHIFTED, changed, simulate

SLICES = (SHIFTED, REFERENCE)


def family(name: str) -> str:
    return name.split("-")[0]


def test_metric_within_is_found_where_across_is_reversed() -> None:
    within, across = metric_study(simulate("simpson", 3, changed("simpson", rho=0.8)).table, outcomes=["gain"]).claims
    assert within.verdict == "supported" and across.verdict == "contradicted"
    assert within.estimate.n_units == across.estimate.n_units == 11


def test_few_intermediates_are_described() -> None:
    table = simulate("positive", 1, changed("positive", intermediates=5)).table
    (claim,) = metric_study(table, outcomes=["gain"]).claims
    assert claim.verdict == "descriptive" and claim.estimate.n_units == 5


def test_reliability_of_seeds_and_steps() -> None:
    report = metric_study(simulate("simpson", 3).table, outcomes=["gain"], permutations=100)
    views = {view.title: view for view in report.views}
    rows = {row[0]: row for row in views["Reliability over seeds"].rows}
    assert float(str(rows["own score"][1])) > 0.9 and rows["mean gain"][2:] == [3, 11]
    (row,) = views["Within intermediates, with and without training steps"].rows
    assert row[-1] == 11 and abs(float(str(row[2])) - float(str(row[4]))) < 0.25  # steps explain nothing here


def test_own_scores_are_shown_with_whole_steps() -> None:
    table = simulate("positive", 1, changed("positive", intermediates=3, targets=1)).table
    steps = [replace(row, metric=STEPS, value=160.0) for row in table.rows if row.study == OWN_SCORE]
    report = metric_study(replace(table, rows=(*table.rows, *steps)), outcomes=["gain"], permutations=100)
    (view,) = [view for view in report.views if view.title == "Scores of intermediates"]
    assert [name for name, _ in view.columns[1:]] == ["score", STEPS] and {row[2] for row in view.rows} == {"160"}
    assert all("." in str(row[1]) for row in view.rows)


def test_scale_needs_four_sizes() -> None:
    made = simulate("scaling", 2, changed("scaling", slope=4.0, ladders=("xlmr", "mt5")))
    assert scale_study(made.table, HARD, EASY, family).claims[0].verdict == "supported"
    three = made.table.where(lambda row: row.backbone.startswith("xlmr") and "9690" not in row.backbone)
    (claim,) = scale_study(three, HARD, EASY, family).claims
    assert claim.verdict == "descriptive" and claim.estimate.n_units == 3


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "supported"), (9.0, "contradicted")])
def test_a_gain_survives_a_shift_or_not(shift: float, verdict: str) -> None:
    world = changed("cluster", shift=shift, cluster_sd=1.0, item_sd=4.0, languages=1)
    made = simulate("cluster", 5, world)
    claims = domain_study(made.table, "t01", SLICES, made.items_of, 3.0, 500).claims
    assert [claim.verdict for claim in claims] == [verdict] * 2
    assert claims[0].estimate.n_units == 100


def test_wide_and_small_studies_say_so() -> None:
    made = simulate("cluster", 6, changed("cluster", languages=1, shift=0.0))
    assert {c.verdict for c in domain_study(made.table, "t01", SLICES, made.items_of, 1.0, 300).claims} == {
        "underpowered"
    }
    made = simulate("cluster", 6, changed("cluster", languages=1, clusters=10))
    assert {c.verdict for c in domain_study(made.table, "t01", SLICES, made.items_of, 1.0, 300).claims} == {
        "descriptive"
    }


def test_report(tmp_path: Path) -> None:
    report = metric_study(simulate("positive", 1).table)
    write_report(report, tmp_path)
    assert (tmp_path / "report.md").read_text().startswith("# Study: metric\n\n**SIMULATED")
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["origin"] == ["simulated"] and found["claims"][0]["n_units"] == 11
    assert read_csv(tmp_path / "table.csv").rows == report.table.rows


def test_missing_records() -> None:
    with pytest.raises(AdaptxferError):
        metric_study(simulate("cluster", 0, changed("cluster", clusters=3)).table)


def test_contrasts_of_sizes_have_intervals_over_seeds() -> None:
    made = simulate("scaling", 4)
    found = answers.contrast_intervals(made.table, HARD, EASY)
    known = answers.contrasts(made.table, HARD, EASY)
    assert found.keys() == known.keys() and {e.n_units for e in found.values()} == {3}
    for name, e in found.items():
        assert e.value == pytest.approx(known[name][1]) and e.low < e.value < e.high


def test_two_models_of_one_size_are_one_size() -> None:
    made = simulate("scaling", 4)
    rows = tuple(replace(row, n_params=86_000_000 if row.n_params > 1e9 else row.n_params) for row in made.table.rows)
    (claim,) = scale_study(replace(made.table, rows=rows), HARD, EASY, lambda name: "").claims
    assert (claim.verdict, claim.estimate.n_units) == ("descriptive", 2) and "4 different sizes" in claim.why
    assert math.isnan(claim.estimate.low) and math.isnan(claim.p)
