"""What a line of planted truths is: how often a procedure said what it should, against the band that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adaptxfer.studies import power


@dataclass
class Line:
    """One row: what was asked of which procedure, how often it said so, and what is wanted."""

    question: str
    procedure: str
    measure: str
    hits: int
    n: int
    band: tuple[float, float] | None = None

    @property
    def share(self) -> float:
        return self.hits / self.n

    def cells(self) -> list:
        low, high = power.wilson(self.hits, self.n)
        if self.band in (None, REPORTED):
            wanted, verdict = "–", "naive" if self.band is None else "reported"
        else:
            wanted = f"{self.band[0]:.2f} to {self.band[1]:.2f}"
            verdict = "yes" if self.band[0] <= self.share <= self.band[1] else "NO"
        return [self.question, self.procedure, self.measure, f"{self.share:.3f}", f"[{low:.2f}, {high:.2f}]", self.n,
                wanted, verdict]  # fmt: skip


NULL, COVER, REPORTED = (0.0, 0.08), (0.92, 0.98), (0.0, 1.0)
COVER_WIDE = (0.92, 1.0)
"""For intervals that count an interaction twice and may be too wide."""


def counted(
    question: str, measure: str, procedures: dict[str, tuple], draw: Callable[[int], dict], n: int
) -> list[Line]:
    """Run ``draw`` n times; it gives a truth value, or a list of them, for each procedure."""
    found: dict[str, list[bool]] = {name: [] for name in procedures}
    for number in range(n):
        for name, value in draw(number).items():
            found[name] += list(np.atleast_1d(value))
    return [
        Line(question, name, measure, int(sum(values)), len(values), procedures[name][0])
        for name, values in found.items()
    ]
