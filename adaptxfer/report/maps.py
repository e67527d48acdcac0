"""Heat maps of gains as plain data: what each cell shows, and what it says when it is pointed at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from adaptxfer.studies.gain import MEAN, Gain, GainMatrix
from adaptxfer.studies.views import MARKS, interval_text, p_text


@dataclass(frozen=True)
class Spot:
    """One cell.

    Args:
        value: gain in points.
        mark: sign of the verdict.
        told: the gain in a sentence.
    """

    value: float
    mark: str
    told: str

    @property
    def text(self) -> str:
        """The gain with its sign."""
        return f"{self.value:+.1f}"


@dataclass(frozen=True)
class Map:
    """Gains of rows and columns.

    Args:
        title: above the map.
        corner: what the rows are.
        columns: names of the columns.
        rows: name and cells of each row; None where there is no gain.
        scale: gain at which a colour is full, in points.
    """

    title: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Spot | None, ...]], ...]
    scale: float


def gain_maps(matrix: GainMatrix) -> Iterator[Map]:
    """Intermediate by target task, then for each intermediate its target tasks by language."""
    targets = list(dict.fromkeys(gain.target for gain in matrix.cells))
    labels = list(dict.fromkeys(gain.intermediate for gain in matrix.cells))
    means = {(gain.intermediate, gain.target): gain for gain in (*matrix.cells, *matrix.overall)}
    single = {(gain.intermediate, gain.target, gain.language): gain for gain in matrix.by_language}
    columns = [*targets, MEAN] if matrix.overall else targets
    yield _map("Intermediate task × target task", "intermediate", labels, columns, means)
    for label in labels:
        cells = {(t, code): gain for (name, t, code), gain in single.items() if name == label}
        languages = sorted({code for _, code in cells}, key=lambda code: (code != "en", code))
        cells |= {(t, MEAN): means[label, t] for t in targets if (label, t) in means}
        rows = [target for target in targets if (label, target) in means]
        yield _map(f"{label}: target task × language", "target", rows, [MEAN, *languages], cells)


def _map(
    title: str, corner: str, rows: Sequence[str], columns: Sequence[str], gains: Mapping[tuple[str, str], Gain]
) -> Map:
    body = tuple((row, tuple(_spot(gains.get((row, column))) for column in columns)) for row in rows)
    sizes = sorted(abs(spot.value) for _, spots in body for spot in spots if spot)
    # one extreme cell should not pale the others
    scale = max(1.0, sizes[int(0.95 * (len(sizes) - 1))]) if sizes else 1.0
    return Map(title, corner, tuple(columns), body, scale)


def _spot(gain: Gain | None) -> Spot | None:
    if gain is None or math.isnan(gain.estimate.value):
        return None
    found = gain.estimate
    where = f"{gain.target}, {gain.language}" if gain.target != MEAN else "mean over target tasks"
    seeds = f"{found.n_units} seed{'s' if found.n_units != 1 else ''}"
    told = (
        f"{gain.intermediate} → {where}: {gain.without:.1f} {found.value:+.1f} points, 95 % "
        f"{interval_text(found.low, found.high)}, corrected p {p_text(gain.p_adjusted)}, {seeds}: {gain.verdict}"
    )
    return Spot(found.value, MARKS[gain.verdict], told)
