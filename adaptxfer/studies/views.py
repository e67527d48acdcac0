"""Gains for people and programs: tables, JSON, CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adaptxfer.console import Cell, Table
from adaptxfer.studies.gain import MEAN, Gain, GainMatrix
from adaptxfer.studies.plots import Forest, HeatMap, Line, Plot
from adaptxfer.studies.stats.estimate import Estimate
from adaptxfer.studies.stats.seeds import Heterogeneity

MARKS = {"supported": "+", "contradicted": "-", "inconclusive": "", "underpowered": "?", "descriptive": "·"}
DRAWN = {"supported": "*", "contradicted": "*", "underpowered": "?"}
"""Marks in a plot, where a sign after a number would be read as part of it."""

MARKED = "+ supported, - contradicted, ? underpowered, · descriptive, no mark: inconclusive (5 %, corrected)"
GAIN_COLUMNS = (
    "intermediate", "target", "language", "without", "gain", "low", "high", "p", "p_adjusted", "p_equivalent",
    "n_units", "clusters", "verdict",
)  # fmt: skip


def p_text(p: float) -> str:
    """A p-value as people read it."""
    if math.isnan(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def interval_text(low: float, high: float) -> str:
    """An interval of signed points."""
    return "–" if math.isnan(low) or math.isnan(high) else f"[{low:+.1f}, {high:+.1f}]"


def matrix_table(matrix: GainMatrix) -> Table:
    """Intermediates as rows, targets as columns, the mean last; each gain with the sign of its verdict."""
    targets = list(dict.fromkeys(gain.target for gain in matrix.cells))
    found = {(g.intermediate, g.target): g for g in (*matrix.cells, *matrix.overall)}
    labels = list(dict.fromkeys(gain.intermediate for gain in matrix.cells))
    rows = [[label, *(_marked(found.get((label, t))) for t in (*targets, MEAN))] for label in labels]
    caption = f"gain in points, mean over languages and seeds; {MARKED}"
    return Table("Gains by target task", ["intermediate", *((t, "right") for t in (*targets, MEAN))], rows, caption)


def _marked(gain: Gain | None) -> Cell:
    return None if gain is None else f"{gain.estimate.value:+.1f} {MARKS[gain.verdict]}".rstrip()


def gains_table(title: str, gains: Sequence[Gain], family: str) -> Table:
    """One gain per row with interval, p, units and verdict.

    Args:
        title: above the table.
        gains: the rows.
        family: how p was corrected, in words.
    """
    numbers = ("without", "gain", "95 %", "p", "corrected", "seeds", "clusters")
    columns = ["intermediate", "target", "language", *((name, "right") for name in numbers), "verdict"]
    rows: list[list[Cell]] = [
        [g.intermediate, g.target, g.language, g.without, f"{g.estimate.value:+.1f}",
         interval_text(g.estimate.low, g.estimate.high), p_text(g.estimate.p), p_text(g.p_adjusted),
         g.estimate.n_units, g.clusters or None, g.verdict]
        for g in gains
    ]  # fmt: skip
    return Table(title, columns, rows, f"seeds: units of each p; corrected: {family} over {len(gains)} claims")


def across_table(matrix: GainMatrix) -> Table:
    """What an intermediate does on tasks in general; the unit is the target task."""
    rows: list[list[Cell]] = [
        [label, f"{h.mean.value:+.1f}", interval_text(h.mean.low, h.mean.high), None if math.isnan(h.tau) else h.tau,
         interval_text(h.low, h.high) if h.reliable else "not estimable reliably", p_text(h.mean.p), h.n_units]
        for label, h in matrix.across.items()
    ]  # fmt: skip
    columns = ["intermediate", ("mean", "right"), ("95 %", "right"), ("sd of tasks", "right"),
               ("a new task", "right"), ("p", "right"), ("targets", "right")]  # fmt: skip
    return Table("Over target tasks", columns, rows, "targets: units of each p; a new task: 95 % prediction interval")


def gain_tables(matrix: GainMatrix, languages: bool) -> list[Table]:
    """All tables of a matrix; those of single languages on request."""
    tables = [
        matrix_table(matrix),
        gains_table("Mean over target tasks (primary)", matrix.overall, "Holm"),
        gains_table("By target task (exploratory)", matrix.cells, "Benjamini-Hochberg"),
        across_table(matrix),
    ]
    if languages:
        tables.append(gains_table("By language (exploratory)", matrix.by_language, "Benjamini-Hochberg"))
    return [table for table in tables if table.rows]


def gain_plots(matrix: GainMatrix) -> dict[str, Plot]:
    """Heat maps of gains by target and, for each target, by language; a forest of the means over targets."""
    plots: dict[str, Plot] = {"gains": _map("Gains by target task", matrix.cells, "target")}
    lines = [
        Line(g.intermediate, g.estimate.value, g.estimate.low, g.estimate.high, g.verdict, _ahead(matrix, g))
        for g in sorted(matrix.overall, key=lambda gain: -gain.estimate.value)
    ]
    if lines:
        caption = "95 % intervals; filled: a verdict (Holm); thin: prediction interval for a new task"
        plots["overall"] = Forest("Mean gain over target tasks", lines, margin=matrix.relevant, caption=caption)
    for target in dict.fromkeys(gain.target for gain in matrix.by_language):
        mine = [gain for gain in matrix.by_language if gain.target == target]
        plots[f"gains-{target}"] = _map(f"Gains on {target} by language", mine, "language")
    return plots


def _ahead(matrix: GainMatrix, gain: Gain) -> tuple[float, float] | None:
    known = matrix.across.get(gain.intermediate)
    return (known.low, known.high) if known and known.reliable else None


def _map(title: str, gains: Sequence[Gain], column: str) -> HeatMap:
    rows = list(dict.fromkeys(gain.intermediate for gain in gains))
    columns = list(dict.fromkeys(getattr(gain, column) for gain in gains))
    values, marks = np.full((len(rows), len(columns)), np.nan), [[""] * len(columns) for _ in rows]
    for gain in gains:
        place = rows.index(gain.intermediate), columns.index(getattr(gain, column))
        values[place] = gain.estimate.value
        marks[place[0]][place[1]] = DRAWN.get(gain.verdict, "")
    caption = "* significant (5 %, corrected), ? underpowered, nothing: inconclusive or descriptive"
    return HeatMap(title, rows, columns, values, marks, caption=caption)


def gain_document(matrix: GainMatrix) -> dict[str, Any]:
    """The matrix as JSON."""
    return {
        "schema": 1,
        "relevant": matrix.relevant,
        "resamples": matrix.resamples,
        "overall": [_flat(gain) for gain in matrix.overall],
        "cells": [_flat(gain) for gain in matrix.cells],
        "languages": [_flat(gain) for gain in matrix.by_language],
        "across": {label: _spread_out(item) for label, item in matrix.across.items()},
        "notes": list(matrix.notes),
    }


def gain_csv(matrix: GainMatrix) -> str:
    """Every gain as a line of comma-separated text; means have the language, or target, ``mean``."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, GAIN_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for gain in (*matrix.overall, *matrix.cells, *matrix.by_language):
        flat = _flat(gain)
        writer.writerow({name: "" if flat[name] is None else flat[name] for name in GAIN_COLUMNS})
    return stream.getvalue()


def _flat(gain: Gain) -> dict[str, Any]:
    numbers = {"without": gain.without, **estimate_numbers(gain.estimate, "gain"), "p_adjusted": gain.p_adjusted,
               "p_equivalent": gain.p_equivalent}  # fmt: skip
    names = {"intermediate": gain.intermediate, "target": gain.target, "language": gain.language}
    known = {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in numbers.items()}
    return {**names, **known, "clusters": gain.clusters, "verdict": gain.verdict}


def estimate_numbers(estimate: Estimate, name: str = "estimate") -> dict[str, Any]:
    """An estimate as JSON; p never goes without its units."""
    return {name: estimate.value, "low": estimate.low, "high": estimate.high, "p": estimate.p,
            "n_units": estimate.n_units}  # fmt: skip


def _spread_out(item: Heterogeneity) -> dict[str, Any]:
    return {
        **estimate_numbers(item.mean),
        "tau": item.tau,
        "prediction_low": item.low,
        "prediction_high": item.high,
        "reliable": item.reliable,
    }
