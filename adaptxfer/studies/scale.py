"""Study scale: does the gain of a harder intermediate task over an easier one grow with the encoder?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adaptxfer.console import Table
from adaptxfer.studies.answers import contrasts, scale_slope
from adaptxfer.studies.outcomes import mean_gains
from adaptxfer.studies.plots import HeatMap, Points
from adaptxfer.studies.report import Claim, Report
from adaptxfer.studies.stats.estimate import verdict
from adaptxfer.studies.stats.trend import MINIMUM
from adaptxfer.studies.table import RecordTable

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
    few = f"{MINIMUM} sizes are needed" if len(found) < MINIMUM else ""
    claim = Claim(text, estimate, "model sizes", verdict(estimate, MINIMUM, relevant=RELEVANT), few)
    rows = [[name, family(name) or "–", size, f"{value:+.2f}"] for name, (size, value) in found.items()]
    columns = ["base model", "family", ("weights outside the embeddings", "right"), ("contrast", "right")]
    view = Table("Contrast by size", columns, rows, f"gain of {hard} minus gain of {easy}, points, mean over targets")
    notes = ["Sizes of one family may differ in more than size (layer norm, vocabulary, schedule): see their papers."]
    return Report(
        "scale", "Does the gain of a harder intermediate task over an easier one grow with the encoder?", table,
        (claim,), (view,), _plots(table, hard, easy, family), tuple(notes), {"hard": hard, "easy": easy},
    )  # fmt: skip


def _plots(table: RecordTable, hard: str, easy: str, family: Callable[[str], str]) -> dict[str, Points | HeatMap]:
    found = contrasts(table, hard, easy)
    ordered = sorted(found, key=lambda name: found[name][0])
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for name in ordered:
        x, y = groups.setdefault(family(name) or "all", ([], []))
        x.append(found[name][0])
        y.append(found[name][1])
    title = f"Gain of {hard} minus gain of {easy}"
    trend = Points(title, "weights outside the embeddings", "points", groups, joined=True, log_x=True)
    gains = {name: mean_gains(table.where(lambda row, b=name: row.backbone == b)) for name in ordered}
    targets = sorted({t for by in gains.values() for key in ((hard, ""), (easy, "")) for t in by.get(key, {})})
    nothing = float("nan")
    values = [[by[hard, ""].get(t, nothing) - by[easy, ""].get(t, nothing) for t in targets] for by in gains.values()]
    return {"contrast-by-size": trend, "contrast-by-target": HeatMap(title, ordered, targets, np.array(values))}
