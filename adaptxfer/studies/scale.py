"""Study scale: does the gain of a harder intermediate task over an easier one grow with the encoder?"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from adaptxfer.console import Cell, Table
from adaptxfer.studies.answers import contrast_intervals, contrasts, scale_slope
from adaptxfer.studies.outcomes import mean_gains
from adaptxfer.studies.plots import HeatMap, Points
from adaptxfer.studies.report import Claim, Report
from adaptxfer.studies.stats.estimate import Estimate, verdict
from adaptxfer.studies.stats.trend import MINIMUM
from adaptxfer.studies.table import RecordTable
from adaptxfer.studies.views import interval_text

RELEVANT = 1.0
"""Points per factor of ten in size that would matter."""


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
    estimate, found = scale_slope(table, hard, easy, family), contrasts(table, hard, easy)
    text = f"The gain of {hard} over {easy} grows with the size of the encoder (points per factor of ten)."
    sizes = len({(family(name), size) for name, (size, _) in found.items()})
    few = f"{MINIMUM} different sizes are needed" if sizes < MINIMUM else ""
    if few:  # a line through fewer describes them; its interval would tell of nothing
        estimate = Estimate(estimate.value, math.nan, math.nan, math.nan, sizes)
    claim = Claim(text, estimate, "model sizes", verdict(estimate, MINIMUM, relevant=RELEVANT), few)
    ends = contrast_intervals(table, hard, easy)
    rows: list[list[Cell]] = [
        [name, family(name) or "–", size, f"{value:+.2f}", *_interval(ends.get(name))]
        for name, (size, value) in sorted(found.items(), key=lambda item: item[1][0])
    ]
    columns = ["base model", "family", *((name, "right") for name in (
        "weights outside the embeddings", "contrast", "95 %", "seeds"))]  # fmt: skip
    caption = (
        f"gain of {hard} minus gain of {easy}, points, mean over targets; interval: seeds, pooled over base models"
    )
    view = Table("Contrast by size", columns, rows, caption)
    notes = ["Sizes of one family may differ in more than size (layer norm, vocabulary, schedule): see their papers."]
    return Report(
        "scale", "Does the gain of a harder intermediate task over an easier one grow with the encoder?", table,
        (claim,), (view,), _plots(table, hard, easy, family), tuple(notes), {"hard": hard, "easy": easy},
    )  # fmt: skip


def _interval(estimate: Estimate | None) -> list[Cell]:
    if estimate is None:
        return ["–", 0]
    return [interval_text(estimate.low, estimate.high), estimate.n_units]


def _plots(table: RecordTable, hard: str, easy: str, family: Callable[[str], str]) -> dict[str, Points | HeatMap]:
    found = contrasts(table, hard, easy)
    ordered = sorted(found, key=lambda name: found[name][0])
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for name in ordered:
        x, y = groups.setdefault(family(name) or "all", ([], []))
        x.append(found[name][0])
        y.append(found[name][1])
    title = f"Gain of {hard} minus gain of {easy}"
    ends = contrast_intervals(table, hard, easy)
    errors: dict[str, tuple[list[float], list[float]]] = {}
    for name in ordered:
        low, high = errors.setdefault(family(name) or "all", ([], []))
        low.append(ends[name].low if name in ends else math.nan)
        high.append(ends[name].high if name in ends else math.nan)
    caption = "95 % intervals over seeds, their variance pooled over base models"
    trend = Points(
        title, "weights outside the embeddings", "points", groups, joined=True, log_x=True, errors=errors,
        caption=caption,
    )  # fmt: skip
    gains = {name: mean_gains(table.where(lambda row, b=name: row.backbone == b)) for name in ordered}
    targets = sorted({t for by in gains.values() for key in ((hard, ""), (easy, "")) for t in by.get(key, {})})
    nothing = float("nan")
    values = [[by[hard, ""].get(t, nothing) - by[easy, ""].get(t, nothing) for t in targets] for by in gains.values()]
    return {"contrast-by-size": trend, "contrast-by-target": HeatMap(title, ordered, targets, np.array(values))}
