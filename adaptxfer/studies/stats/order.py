"""Almost stochastic order: is one system's distribution of scores over seeds (nearly) always the higher one?"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

THRESHOLD = 0.2
"""A bound below this lets one say better; at 0.5 three to five equal seeds are called better far too often."""

MINIMUM = 5
"""Fewest seeds of each: of three equal ones a tenth are called better all the same."""


def violation(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the squared Wasserstein-2 distance where the quantiles of ``a`` lie below those of ``b``, 0 to 1.

    0: a is stochastically larger; 1: b is; equal samples give 0.5. Computed exactly on the empirical quantile
    functions (del Barrio et al. 2018, Dror et al. 2019).
    """
    return float(_violations(np.sort(a)[None], np.sort(b)[None])[0])


def _violations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For rows of sorted samples (B, n) and (B, m)."""
    n, m = a.shape[1], b.shape[1]
    ends = np.unique(np.concatenate([np.arange(1, n + 1) * m, np.arange(1, m + 1) * n]))  # in units of 1 / (n m)
    width = np.diff(ends, prepend=0)
    gap = a[:, (ends - 1) // m] - b[:, (ends - 1) // n]
    squares = gap**2 * width
    total = squares.sum(1)
    return np.divide((squares * (gap < 0)).sum(1), total, out=np.full(len(total), 0.5), where=total > 1e-12)


def order_bound(a: np.ndarray, b: np.ndarray, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> float:
    """Upper confidence bound of the violation of "a is above b" (ASO); a counts as better below ``THRESHOLD``.

    Args:
        a: scores over seeds (n,).
        b: scores over seeds (m,).
        resamples: bootstrap draws for the standard error.
        seed: of the drawing.
        level: confidence of the bound.

    Returns:
        the bound; not a number below ``MINIMUM`` seeds of either.
    """
    if min(len(a), len(b)) < MINIMUM:
        return math.nan
    generator = np.random.default_rng(seed)
    drawn = [np.sort(generator.choice(x, (resamples, len(x))), axis=1) for x in (np.asarray(a), np.asarray(b))]
    error = float(_violations(*drawn).std(ddof=1))
    return float(np.clip(violation(a, b) + error * stats.norm.ppf(level), 0, 1))
