"""What a study lacks before it is run."""

from __future__ import annotations

from pathlib import Path

from adaptxfer.runs.gridfile import read_grid
from adaptxfer.studies.collect import collect
from adaptxfer.studies.needs import (
    Design,
    coverage,
    design_from,
    design_of,
    expected_power,
    missing_runs,
    plan_text,
    power_table,
    units,
)

DESIGN = Design(("mini",), ("bottleneck",), ("mnli", "qqp"), ("xnli", "udpos"), (1, 2))


def test_missing_runs_of_a_table(records) -> None:
    records.cell("claims", "nli", 1)
    records.cell("claims", None, 1)
    records.cell("claims", None, 2)
    table = collect(records.root)
    design = design_of(table)
    assert (design.intermediates, design.targets, design.seeds) == (("nli",), ("claims",), (1, 2))
    assert missing_runs(design, table) == [("mini", "bottleneck", "nli", "claims", 2)]
    assert [row[1] for row in coverage(design, table).rows] == ["2/2", "1/2"]


def test_without_records_all_is_missing() -> None:
    assert len(missing_runs(DESIGN, None)) == 3 * 2 * 2


def test_a_plan_file_is_a_design_and_back(tmp_path: Path, records) -> None:
    records.write("intermediate", "nli-qa", 1, [], tasks=["mnli", "squad_v1"])
    trained = records.write("target", "claims", 1, [], max_steps=150, on_chance="warn")
    records.write("evaluate", "claims", 1, [trained], intermediates=[], limit=40, languages=["en", "sw"])
    design = Design(("mini",), ("lora",), ("mnli", "nli-qa"), ("xnli",), (1, 3))
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(design, records.root))
    plan = read_grid(path)
    assert (plan.intermediates, plan.targets, plan.seeds) == (("none", "mnli", "nli-qa"), ("xnli",), (1, 3))
    assert plan.joint["nli-qa"].tasks == ("mnli", "squad_v1")
    assert plan.options["train"] == {"max_steps": 150, "on_chance": "warn"}
    assert plan.evaluate["limit"] == 40 and plan.evaluate["languages"] == ("en", "sw")
    assert design_from(plan).intermediates == ("mnli", "nli-qa")


def test_units_against_the_fewest() -> None:
    rows = {row[0]: row[1:] for row in units("metric", DESIGN, None).rows}
    assert rows["intermediates"] == [2, 7, 20, "no"]
    rows = {row[0]: row[1:] for row in units("generalise", DESIGN, None, new=("a", "b", "c")).rows}
    assert rows["held-out tasks"] == [3, 3, 5, "yes"]


def test_expected_power_is_that_of_the_design() -> None:
    small, large = (Design(("m",), ("lora",), tuple(map(str, range(n))), ("a", "b"), (1, 2)) for n in (5, 25))
    one, two = (expected_power("metric", design, 30)[0] for design in (small, large))
    assert (one.n_units, two.n_units) == (5, 25) and two.found > one.found
    assert expected_power("metric", small, 0) == [] and len(expected_power("metric", small, 20, checkpoints=True)) == 2
    assert "SIMULATED" in power_table([one]).caption
