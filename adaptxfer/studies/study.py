"""Studies that end in claims: an estimate with interval, units of replication and verdict, and a written report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adaptxfer.console import Cell, Table
from adaptxfer.files import write_json, write_text
from adaptxfer.studies.answers import metric_across, metric_within, own_scores, scale_slope, slice_shift
from adaptxfer.studies.items import Items
from adaptxfer.studies.stats.correction import holm
from adaptxfer.studies.stats.estimate import (
    ALPHA,
    CONTRADICTED,
    DESCRIPTIVE,
    INCONCLUSIVE,
    SUPPORTED,
    UNDERPOWERED,
    Estimate,
    correlation_verdict,
    verdict,
)
from adaptxfer.studies.stats.seeds import Spread, equivalence
from adaptxfer.studies.stats.trend import MINIMUM as SIZES_NEEDED
from adaptxfer.studies.table import NONE, RecordTable, Row, write_csv
from adaptxfer.studies.views import estimate_numbers, p_text

CLUSTERS_NEEDED = 60
"""Fewest clusters in two slices together, thirty in each."""


@dataclass(frozen=True)
class Claim:
    """A sentence, the number behind it, and whether the records bear it out.

    Args:
        text: what is claimed.
        estimate: with p for the claim's own test.
        unit: what ``n_units`` counts.
        verdict: supported, contradicted, inconclusive, underpowered or descriptive.
    """

    text: str
    estimate: Estimate
    unit: str
    verdict: str


@dataclass(frozen=True)
class Report:
    """The end of a study."""

    study: str
    table: RecordTable
    claims: tuple[Claim, ...]

    def view(self) -> Table:
        """The claims as a table."""
        rows: list[list[Cell]] = [
            [c.text, f"{c.estimate.value:+.2f}", _ends(c.estimate), p_text(c.estimate.p), c.estimate.n_units, c.unit,
             c.verdict]
            for c in self.claims
        ]  # fmt: skip
        columns = [
            "claim",
            ("estimate", "right"),
            ("95 %", "right"),
            ("p", "right"),
            ("n", "right"),
            "units",
            "verdict",
        ]
        return Table(f"Study: {self.study}", columns, rows)

    def document(self) -> dict[str, Any]:
        """The claims as JSON."""
        claims = [
            {"text": c.text, **estimate_numbers(c.estimate), "unit": c.unit, "verdict": c.verdict} for c in self.claims
        ]
        return {
            "schema": 1,
            "study": self.study,
            "origin": list(self.table.statuses()),
            "banner": self.table.banner(),
            "claims": claims,
            "notes": list(self.table.notes),
        }


def _ends(estimate: Estimate) -> str:
    known = not math.isnan(estimate.low) and not math.isnan(estimate.high)
    return f"[{estimate.low:+.2f}, {estimate.high:+.2f}]" if known else "–"


def metric_study(table: RecordTable) -> Report:
    """Do intermediates, or checkpoints of one, that score higher themselves bring more?

    Raises:
        AdaptxferError: if fewer than three intermediates have an own score and gains.
    """
    claims = []
    if any(checkpoint for _, checkpoint in own_scores(table)):
        within = metric_within(table)
        text = "A better checkpoint of an intermediate task brings a larger gain."
        claims.append(Claim(text, within, "intermediates", correlation_verdict(within)))
    across = metric_across(table)
    text = "Intermediate tasks with a higher score of their own bring larger gains."
    claims.append(Claim(text, across, "intermediates", correlation_verdict(across)))
    return Report("metric", table, tuple(claims))


def scale_study(table: RecordTable, hard: str, easy: str, family: Callable[[str], str]) -> Report:
    """Does the gain of the hard intermediate over the easy one grow with the encoder?

    Args:
        table: rows of several base models with ``n_params``.
        hard: intermediate.
        easy: intermediate.
        family: of a base model; sizes of different families share the slope only.

    Raises:
        AdaptxferError: if a size is unknown or no base model has both.
    """
    found = scale_slope(table, hard, easy, family)
    text = f"The gain of {hard} over {easy} grows with the size of the encoder (points per factor of ten)."
    return Report("scale", table, (Claim(text, found, "model sizes", verdict(found, SIZES_NEEDED, relevant=1.0)),))


def domain_study(
    table: RecordTable,
    target: str,
    slices: tuple[str, str],
    items_of: Callable[[Row], Items | None],
    margin: float = 1.0,
    resamples: int = 10_000,
) -> Report:
    """Does the gain of each intermediate survive a shift, that is, differ by less than ``margin`` points?

    The test is of equivalence (two one-sided tests), corrected over intermediates (Holm); contradicted if the whole
    interval lies beyond the margin.

    Args:
        table: rows of both slices with items.
        target: target task.
        slices: the shifted slice, then the reference.
        items_of: where the items of a row come from.
        margin: largest difference that does not matter, in points.
        resamples: bootstrap draws.

    Raises:
        AdaptxferError: if runs of a slice, or their items, are missing.
    """
    rows = table.where(lambda row: row.target_task == target)
    names = [name for name in rows.values("intermediate") if name != NONE]
    found = [slice_shift(rows, name, target, slices, items_of, resamples) for name in names]
    parts = [Spread(e.error**2, e.n_units - 1) for e in found]
    adjusted = holm([equivalence(e.value, [s], margin) for e, s in zip(found, parts, strict=True)])
    text = "The gain of {} on {} is the same on {} as on {}, to {:g} points."
    claims = []
    for name, estimate, p in zip(names, found, map(float, adjusted), strict=True):
        said = text.format(name, target, *slices, margin)
        claims.append(Claim(said, replace(estimate, p=p), "clusters", _survives(estimate, p, margin)))
    return Report("domain", table, tuple(claims))


def _survives(estimate: Estimate, p: float, margin: float) -> str:
    if estimate.n_units < CLUSTERS_NEEDED or math.isnan(p):
        return DESCRIPTIVE
    if p <= ALPHA:
        return SUPPORTED
    if estimate.high < -margin or estimate.low > margin:
        return CONTRADICTED
    return UNDERPOWERED if estimate.half_width > margin else INCONCLUSIVE


def write_report(report: Report, folder: Path) -> Sequence[Path]:
    """Write ``report.md``, ``report.json`` and ``table.csv``, and return their paths."""
    paths = [folder / name for name in ("report.md", "report.json", "table.csv")]
    document = report.document()
    banner = f"**{document['banner']}**\n\n" if document["banner"] else ""
    notes = "".join(f"\n- {note}" for note in document["notes"])
    write_text(paths[0], banner + report.view().to_markdown() + (f"{notes}\n" if notes else ""))
    write_json(paths[1], _finite(document))
    write_csv(paths[2], report.table)
    return paths


def _finite(value: Any) -> Any:
    """JSON has no number for what is not known."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
