"""What a procedure gives back, and the verdict on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

ALPHA = 0.05
SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"
UNDERPOWERED, DESCRIPTIVE = "underpowered", "descriptive"

DESCRIBE_BELOW, CONFIRM_FROM = 7, 20
"""Correlations over fewer units are descriptive; a confirmatory claim needs this many (the rule of the plan)."""


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Args:
        value: the estimate.
        low: lower end of the 95 % interval; not a number if it cannot be had.
        high: upper end.
        p: two-sided p-value against zero; not a number if the units do not allow one.
        n_units: units of replication behind it, such as intermediate tasks or clusters, never cells.
        error: standard error, where there is one.
    """

    value: float
    low: float
    high: float
    p: float
    n_units: int
    error: float = math.nan

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


def verdict(estimate: Estimate, minimum: int, p: float | None = None, relevant: float = math.inf) -> str:
    """The verdict on the claim that the value is above zero.

    Args:
        estimate: value, interval and units.
        minimum: fewest units for a test; below it the number only describes.
        p: corrected p-value, if the claim is one of a family.
        relevant: smallest value that matters; an interval wider than this to either side cannot rule it out.

    Returns:
        supported or contradicted at a corrected 5 %; else underpowered if the interval is too wide to rule out a
        relevant value, inconclusive otherwise; descriptive without a test.
    """
    p = estimate.p if p is None else p
    if estimate.n_units < minimum or math.isnan(p):
        return DESCRIPTIVE
    if p <= ALPHA:
        return SUPPORTED if estimate.value > 0 else CONTRADICTED
    return UNDERPOWERED if math.isfinite(relevant) and estimate.half_width > relevant else INCONCLUSIVE


def correlation_verdict(estimate: Estimate, p: float | None = None) -> str:
    """The verdict on a positive correlation over units: below 7 descriptive, below 20 underpowered unless it is clear.

    An insignificant result on fewer than 20 units is underpowered: at 11 units a true 0.7 is missed half the time.
    """
    found = verdict(estimate, DESCRIBE_BELOW, p)
    return UNDERPOWERED if found == INCONCLUSIVE and estimate.n_units < CONFIRM_FROM else found
