"""Tables and plots of shifts: one line a slice, all axes at once, against the baseline's line, by language."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from adaptxfer.console import Cell, Table
from adaptxfer.studies.outcomes import paired
from adaptxfer.studies.pairs import Pairs
from adaptxfer.studies.plots import Forest, HeatMap, Line, Plot, Points
from adaptxfer.studies.robust import AgainstLine, Coefficient
from adaptxfer.studies.stats.correction import benjamini_hochberg
from adaptxfer.studies.stats.estimate import Estimate
from adaptxfer.studies.table import NONE, WHOLE, RecordTable
from adaptxfer.studies.views import p_text

if TYPE_CHECKING:
    from adaptxfer.studies.domain import Shift

DATA_SET = "data set"
"""The axis along which whole data sets lie."""

Slices = tuple[str, str, str]
"""Axis, shifted slice and reference."""


def in_points(margin: float) -> str:
    """A margin in words."""
    return f"{margin:g} point" if margin == 1 else f"{margin:g} points"


def sizes_table(found: Sequence[Shift]) -> Table:
    """How the shifts lie over intermediates, one line a slice."""
    rows: list[list[Cell]] = []
    for axis, slices in dict.fromkeys((s.axis, s.slices) for s in found):
        mine = [s for s in found if (s.axis, s.slices) == (axis, slices)]
        values = [s.estimate.value for s in mine]
        ends = [f"{min(values):+.1f}", f"{float(np.mean(values)):+.1f}", f"{max(values):+.1f}"]
        rows.append([axis, *slices, *ends, min(s.estimate.n_units for s in mine), "yes" if mine[0].enough else "no"])
    numbers = [(name, "right") for name in ("least", "mean", "most", "n")]
    columns = ["axis", "slice", "against", *numbers, "enough"]
    return Table("Shifts of the gain over intermediates", columns, rows, "points; n: clusters, or seeds of a data set")


def axes_table(found: Sequence[Coefficient], clusters: int, items: int) -> list[Table]:
    """All axes at once; tested where a slice has so many ``clusters`` and ``items``."""
    enough = [c.estimate.n_units >= clusters and c.items >= items for c in found]
    p = benjamini_hochberg([c.estimate.p if yes else math.nan for c, yes in zip(found, enough, strict=True)])
    rows: list[list[Cell]] = [
        [c.intermediate, c.axis, *c.slices, *_numbers(c.estimate), p_text(float(q)), c.estimate.n_units, c.items]
        for c, q in zip(found, p, strict=True)
    ]
    columns = ["intermediate", "axis", "slice", "against", *_RIGHT, ("clusters", "right"), ("items", "right")]
    caption = (
        "points of gain that a slice adds while the other axes and the language stay as they are; "
        f"p: Benjamini-Hochberg, from {clusters} clusters and {items} items on (exploratory)"
    )
    return [Table("All axes at once", columns, rows, caption)] if rows else []


def robust_table(found: Mapping[Slices, AgainstLine], clusters: int) -> list[Table]:
    """Effective robustness, one line an intermediate and slice."""
    cells = [(key, name, e) for key, lines in found.items() for name, e in lines.residuals.items()]
    p = benjamini_hochberg([e.p if e.n_units >= clusters else math.nan for *_, e in cells])
    rows: list[list[Cell]] = [
        [name, *key, f"{found[key].line[0]:.2f}", *_numbers(e), p_text(float(q)), e.n_units]
        for (key, name, e), q in zip(cells, p, strict=True)
    ]
    columns = ["intermediate", "axis", "slice", "against", ("slope", "right"), *_RIGHT, ("clusters", "right")]
    caption = (
        "points above what the baseline's line over languages says for the reference score; a line through few "
        f"languages is too flat; p: Benjamini-Hochberg, from {clusters} clusters on (exploratory)"
    )
    return [Table("Effective robustness", columns, rows, caption)] if rows else []


_RIGHT = [(name, "right") for name in ("estimate", "95 %", "p")]


def _numbers(e: Estimate) -> list[Cell]:
    return [f"{e.value:+.2f}", f"[{e.low:+.2f}, {e.high:+.2f}]" if math.isfinite(e.low) else "–"]


def language_maps(axis: str, parts: Mapping[str, Pairs]) -> tuple[list[Table], dict[str, Plot]]:
    """Scores without and gains by language and slice, mean over intermediates.

    Args:
        axis: what the slices differ in.
        parts: the runs on each slice.
    """
    languages = list(dict.fromkeys(code for pairs in parts.values() for code in pairs.languages))
    if len(languages) < 2:
        return [], {}
    gains = np.full((len(languages), len(parts)), np.nan)
    scores = np.full_like(gains, np.nan)
    for column, pairs in enumerate(parts.values()):
        places = [languages.index(code) for code in pairs.languages]
        gains[places, column] = np.mean([pairs.differences(label).mean(1) for label in pairs.labels()], axis=0)
        alone = [pairs.scores(NONE, seed) for name, seed in pairs.rows if name == NONE]
        scores[places, column] = np.mean(alone, axis=0)
    rows: list[list[Cell]] = [
        [code, *(text for s, g in zip(scores[r], gains[r], strict=True) for text in (_shown(s, ""), _shown(g, "+")))]
        for r, code in enumerate(languages)
    ]
    columns = ["language", *((f"{part} {what}", "right") for part in parts for what in ("without", "gain"))]
    title = f"Gain by language and {axis}"
    table = Table(title, columns, rows, "points, mean over intermediates and seeds")
    caption = "mean over intermediates and seeds"
    return [table], {f"map-{axis}": HeatMap(title, languages, list(parts), gains, caption=caption)}


def _shown(value: float, sign: str) -> str:
    return f"{value:{sign}.1f}" if math.isfinite(value) else "–"


def shift_plots(
    found: Sequence[Shift], verdicts: Sequence[str], table: RecordTable, target: str, margin: float
) -> dict[str, Plot]:
    """A forest of all shifts and, where languages are pairs, maps of gains by context and question."""
    lines = []
    for shift, said in zip(found, verdicts, strict=True):
        e, label = shift.estimate, f"{shift.intermediate}: {shift.slices[0]} against {shift.slices[1]}"
        lines.append(Line(label, e.value, e.low, e.high, said))
    caption = f"95 % intervals; shaded: within {in_points(margin)}; filled: a verdict (blue: the same, orange: not)"
    title = "Gain on a slice minus gain on its reference"
    plots: dict[str, Plot] = {"shifts": Forest(title, lines, "points", margin, caption)}
    return plots | _pair_maps(table, target)


def line_plots(found: Mapping[Slices, AgainstLine]) -> dict[str, Plot]:
    """Shifted against reference scores with the baseline's line: largest slice of each axis, each two data sets."""
    largest: dict[str, Slices] = {}
    for key, lines in found.items():
        axis = "-".join(key[1:]) if key[0] == DATA_SET else key[0]
        before = largest.setdefault(axis, key)
        if _units(lines) > _units(found[before]):
            largest[axis] = key
    plots: dict[str, Plot] = {}
    for axis, key in largest.items():
        groups = {name: (x.tolist(), y.tolist()) for name, (x, y) in found[key].scores.items()}
        caption = "one point a language, mean over seeds; the line is the baseline's"
        plots[f"line-{axis}"] = Points(
            f"{key[1]} against {key[2]}", f"score on {key[2]}", f"score on {key[1]}", groups, fitted=(NONE,),
            level=False, caption=caption,
        )  # fmt: skip
    return plots


def _units(lines: AgainstLine) -> int:
    return next(iter(lines.residuals.values())).n_units


def _pair_maps(table: RecordTable, target: str) -> dict[str, Plot]:
    """Gains by language of the context and of the question, where the languages are pairs."""
    mine = [row for row in table.rows if row.target_task == target and row.slice == WHOLE]
    if not any("-" in row.language for row in mine):
        return {}
    plots: dict[str, Plot] = {}
    for pairs in paired(RecordTable(tuple(mine))):
        sides = [(language.split("-")[0], language.split("-")[-1]) for language in pairs.languages]
        names = sorted({name for both in sides for name in both})
        for label in pairs.labels():
            values = np.full((len(names), len(names)), np.nan)
            for (one, other), gain in zip(sides, pairs.differences(label).mean(1), strict=True):
                values[names.index(one), names.index(other)] = gain
            title = f"Gain of {label} on {target} by context (rows) and question (columns)"
            plots[f"pairs-{label}"] = HeatMap(title, names, names, values)
    return plots
