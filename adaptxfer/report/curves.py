"""Training curves as plain points: loss in a few dozen means, dev scores as they were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.run import Run

BINS = 48
"""Means a loss curve is cut down to: more cannot be seen at the size it is drawn."""

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """One run: (share of all steps, value) points."""

    run: str
    loss: Points
    dev: Points
    steps: int


@dataclass(frozen=True)
class Panel:
    """The runs of one stage kind and task, drawn together."""

    title: str
    curves: tuple[Curve, ...]


def panels(runs: Sequence[Run]) -> Iterator[Panel]:
    """One panel for each kind of training stage and task; runs whose log cannot be read are left out."""
    groups: dict[str, list[Curve]] = defaultdict(list)
    for run in runs:
        if run.manifest and run.manifest.get("kind") in ("intermediate", "target") and (curve := _curve(run)):
            groups[f"{run.manifest['kind']}: {run.manifest['name']}"].append(curve)
    yield from (Panel(title, tuple(found)) for title, found in sorted(groups.items()))


def _curve(run: Run) -> Curve | None:
    try:
        entries = run.read_log()
    except AdaptxferError:
        return None
    steps = [entry for entry in entries if entry.get("event") == "step"]
    if not steps:
        return None
    total = max(entry["total"] for entry in steps)
    dev = [(entry["step"] / total, float(entry["score"])) for entry in entries if entry.get("event") == "evaluation"]
    return Curve(run.name, _thinned([(entry["step"] / total, entry["loss"]) for entry in steps]), tuple(dev), total)


def _thinned(points: Sequence[tuple[float, float]]) -> Points:
    """Means of up to ``BINS`` runs of neighbours."""
    size = max(1, -(-len(points) // BINS))
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple((fmean(x for x, _ in part), fmean(y for _, y in part)) for part in parts)
