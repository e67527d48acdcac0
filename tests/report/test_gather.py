from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.report.gather import gather
from adaptxfer.report.maps import gain_maps
from adaptxfer.studies.table import read_csv, write_csv
from tests.folders import add_run


def test_a_simulated_table_says_so_and_has_every_gain(simulated) -> None:
    assert simulated.banner.startswith("SIMULATED")
    (found,) = simulated.gains
    assert len(found.maps) == 1 + 4
    first = found.maps[0]
    assert len(first.rows) == 4 and len(first.columns) == 3 + 1
    by_language = found.maps[1]
    assert len(by_language.rows) == 3 and len(by_language.columns) == 1 + 5
    gain = found.matrix.cells[0]
    spot = dict(first.rows)[gain.intermediate][first.columns.index(gain.target)]
    assert spot.value == gain.estimate.value and gain.verdict in spot.told
    assert len(simulated.scores) == 3 and not simulated.curves and simulated.costs is None


def test_a_map_has_the_languages_its_intermediate_was_scored_in(simulated) -> None:
    matrix = simulated.gains[0].matrix
    label = matrix.cells[0].intermediate
    fewer = [gain for gain in matrix.by_language if (gain.intermediate, gain.language) != (label, "l02")]
    columns = {found.title.split(":")[0]: found.columns for found in gain_maps(replace(matrix, by_language=fewer))}
    assert "l02" not in columns[label] and all("l02" in names for name, names in columns.items()
                                               if name not in (label, "Intermediate task × target task"))  # fmt: skip


def test_scores_are_means_and_deviations_over_seeds(simulated) -> None:
    rows = [row for row in simulated.records.rows if row.intermediate == "none" and row.target_task == "t01"]
    table = simulated.scores[0]
    none = next(row for row in table.rows if row[0] == "none")
    values = [row.value for row in rows if row.language == "l02"]
    mean = sum(values) / 3
    deviation = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
    assert none[table.names().index("l02")] == f"{mean:.1f} ± {deviation:.1f}"
    assert none[table.names().index("mean")].startswith(f"{sum(r.value for r in rows) / len(rows):.1f} ±")


def test_run_folders_bring_gains_curves_costs_and_provenance(runs) -> None:
    found = gather([runs], resamples=100)
    assert dict(found.gains[0].maps[0].rows)["nli"][0].value == pytest.approx(3.0)
    (panel,) = found.curves
    assert panel.title == "intermediate: nli" and len(panel.curves[0].loss) <= 48
    assert panel.curves[0].dev == ((0.5, 100.0), (1.0, 200.0))
    assert found.costs.rows[-1][:5] == ["all", "", 3, 3000, 180]
    assert {table.title for table in found.provenance} == {"Base models", "Versions", "Data", "Runs"}


def test_without_a_baseline_the_scores_are_shown_and_the_reason_told(tmp_path) -> None:
    add_run(tmp_path, "evaluate", "weather", 1, intermediates=["nli"])
    found = gather([tmp_path], resamples=100)
    assert not found.gains and len(found.scores) == 1
    assert any("baseline" in note for note in found.notes)


def test_different_settings_stand_on_lines_of_their_own(runs) -> None:
    add_run(runs, "evaluate", "weather", 7, intermediates=["nli"], epochs=9)
    (table,) = gather([runs], resamples=100).scores
    assert "settings" in table.names()
    assert sorted(row[table.names().index("mean")] for row in table.rows) == ["52.0", "55.0", "57.0"]


def test_a_damaged_log_costs_its_curve_only(runs) -> None:
    next(runs.glob("intermediate-*/log.jsonl")).write_text('{"event": "step"\n{}\n')
    assert gather([runs], resamples=100).curves == ()


def test_nothing_to_read(tmp_path) -> None:
    with pytest.raises(AdaptxferError, match="no finished evaluate run"):
        gather([tmp_path])
    with pytest.raises(AdaptxferError, match="does not exist"):
        gather([tmp_path / "absent"])


def test_records_come_out_as_they_went_in(simulated, tmp_path) -> None:
    write_csv(tmp_path / "records.csv", simulated.records)
    assert read_csv(tmp_path / "records.csv").rows == simulated.records.rows
