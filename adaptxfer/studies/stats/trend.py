"""A straight line over units, such as mean effects per model size."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from adaptxfer.studies.stats.estimate import Estimate
from adaptxfer.studies.stats.seeds import Spread, t_interval

MINIMUM = 4
"""Fewest units for the test of a slope; with three its power is about one in eight."""


def slope(x: np.ndarray, y: np.ndarray, family: Sequence[Hashable] | None = None) -> Estimate:
    """Least-squares slope over units, each with one mean; a level of its own for each family.

    Args:
        x: such as log10 of the parameters outside the embeddings (n,).
        y: mean effect of each unit (n,); averaging first makes the unit, not the cell, the replicate.
        family: units of different families share the slope only.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    _, group = np.unique([str(name) for name in family] if family else ["one"] * len(x), return_inverse=True)
    counts = np.bincount(group)
    a = x - (np.bincount(group, x) / counts)[group]
    b = y - (np.bincount(group, y) / counts)[group]
    size, df = float(a @ a), len(x) - len(counts) - 1
    if size < 1e-12:
        return Estimate(math.nan, math.nan, math.nan, math.nan, len(x))
    value = float(a @ b / size)
    rest = b - value * a
    spread = Spread(float(rest @ rest) / df / size, df) if df > 0 else Spread(math.nan, 0)
    return t_interval(value, [spread], len(x))
