"""Reports on disk and their plots."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptxfer.console import Table
from adaptxfer.studies import plots as drawing
from adaptxfer.studies.gain import gain_matrix
from adaptxfer.studies.plots import Forest, HeatMap, Line, Points, Slopes, save_plots
from adaptxfer.studies.report import Claim, Report, records_hash, write_report
from adaptxfer.studies.stats.estimate import Estimate
from adaptxfer.studies.table import RecordTable
from adaptxfer.studies.views import gain_plots
from adaptxfer.studies.worlds import changed, simulate

PLOTS = {
    "map": HeatMap("A $map", ["a", "b"], ["x"], np.array([[1.0], [math.nan]]), [["+"], [""]], caption="+ good " * 30),
    "forest": Forest("F", [Line("a", 1.0, 0.5, 1.5, "supported", (0.0, 2.0)), Line("b", -1.0)], margin=1.0),
    "points": Points("P", "x", "y", {"a": ([1e6, 2e9], [1.0, 2.0]), "b": ([1e7], [0.0])}, fitted=True, log_x=True),
    "slopes": Slopes("S", ("left", "right"), {"a": (1, 2), "b": (2, 1)}),
}


@pytest.fixture
def report() -> Report:
    table = simulate("null", 0, changed("null", targets=1, intermediates=2)).table
    claim = Claim("It helps.", Estimate(1.0, 0.5, 1.5, 0.01, 9), "seeds", "supported", "barely")
    view = Table("Numbers", ["a"], [[1.0]])
    return Report(
        "gain", "Does it help?", table, (claim,), (view,), PLOTS, ("A note.",), {"seed": 3, "axes": ["a", "b"]}
    )


def size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return struct.unpack(">II", head[16:24])


def test_every_kind_of_plot(tmp_path: Path) -> None:
    paths = save_plots(PLOTS, tmp_path, simulated=True)
    assert [path.name for path in paths] == ["map.png", "forest.png", "points.png", "slopes.png"]
    assert all(min(size(path)) > 150 for path in paths)
    plain = save_plots({"map": PLOTS["map"]}, tmp_path / "again", simulated=False)
    assert plain[0].read_bytes() != paths[0].read_bytes()  # a simulated one says so


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    (path,) = save_plots({"gains-../../x y": PLOTS["slopes"]}, tmp_path / "in", False)
    assert path.parent == tmp_path / "in" and path.name == "gains-______x_y.png"


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_plot_is_the_same_twice(tmp_path: Path, ending: str) -> None:
    one, other = (save_plots({"f": PLOTS["forest"]}, tmp_path / name, False, ending)[0].read_bytes() for name in "ab")
    assert one == other


def test_what_a_report_leaves(report: Report, tmp_path: Path) -> None:
    names = [path.name for path in write_report(report, tmp_path)]
    assert names[:3] == ["report.md", "report.json", "table.csv"] and "forest.png" in names
    text = (tmp_path / "report.md").read_text()
    assert "![forest.png](forest.png)" in text and "supported (barely)" in text and "- A note." in text
    assert "SIMULATED" in text and "; seed 3, axes a, b." in text
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["claims"][0]["n_units"] == 9 and found["options"] == {"seed": 3, "axes": ["a", "b"]}
    assert found["records"]["hash"] == records_hash(report.table) and found["plots"] == [
        f"{name}.png" for name in PLOTS
    ]


def test_without_matplotlib_the_plots_are_left_out(report: Report, tmp_path: Path, monkeypatch) -> None:
    for module in (drawing, __import__("adaptxfer.studies.report", fromlist=["x"])):
        monkeypatch.setattr(module, "can_draw", lambda: False)
    assert [path.name for path in write_report(report, tmp_path)] == ["report.md", "report.json", "table.csv"]
    assert drawing.MISSING in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["plots"] == []


def test_the_hash_is_of_what_the_rows_say(report: Report) -> None:
    rows = report.table.rows
    moved = RecordTable(tuple(replace(row, items="elsewhere") for row in rows))
    other = RecordTable((replace(rows[0], value=rows[0].value + 1), *rows[1:]))
    assert records_hash(moved) == records_hash(report.table) != records_hash(other)


def test_plots_of_gains() -> None:
    table = simulate("positive", 1, changed("positive", targets=5, intermediates=3)).table
    found = gain_plots(gain_matrix(table.where(lambda row: row.study != "intermediate"), 100))
    assert {"gains", "overall", "gains-t01"} <= found.keys()
    gains, forest = found["gains"], found["overall"]
    assert isinstance(gains, HeatMap) and gains.values.shape == (3, 5) and np.isfinite(gains.values).all()
    assert isinstance(forest, Forest) and [line.wide is not None for line in forest.lines] == [True] * 3


def test_sizes_within_one_power_of_ten_have_plain_labels() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.add_subplot()
    drawing._points(axes, Points("t", "x", "y", {"all": ([3.16e6, 3.95e6], [1.0, 2.0])}, log_x=True))
    shown = [label.get_text() for label in axes.get_xticklabels(which="both")]
    assert shown == ["3.16M", "3.95M"]
