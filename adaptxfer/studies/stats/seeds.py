"""Intervals from few seeds: the variance between seeds is pooled over cells and added to that of the items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import stdtr, stdtrit

from adaptxfer.studies.stats.estimate import Estimate

NAN = float("nan")
EXACT = 16
"""Up to this many differences the sign-flip test goes through all signs."""


@dataclass(frozen=True)
class Spread:
    """A variance and the degrees of freedom it was estimated with."""

    variance: float
    df: float

    def over(self, n: int) -> Spread:
        """The variance of a mean of ``n``."""
        return Spread(self.variance / n, self.df)


def pool(spreads: Sequence[Spread]) -> Spread:
    """The variance common to independent estimates, weighted by their degrees of freedom; none gives (nan, 0)."""
    known = [s for s in spreads if s.df > 0]
    df = sum(s.df for s in known)
    return Spread(sum(s.variance * s.df for s in known) / df, df) if df else Spread(NAN, 0)


def paired_spread(cells: Sequence[np.ndarray]) -> Spread:
    """Variance between seeds of paired differences, pooled over cells that share their baseline runs.

    Sharing the baseline correlates the cells' differences (1/2 at equal variances), so k cells with v degrees of
    freedom each are worth only 4 k v / (k + 3): the variance of a mean of k such correlated chi-squares, matched.

    Args:
        cells: differences over seeds (S,) of each cell; those with one seed say nothing.
    """
    usable = [np.asarray(cell, float) for cell in cells if len(cell) > 1]
    if not usable:
        return Spread(NAN, 0)
    k, total = len(usable), sum(len(cell) - 1 for cell in usable)
    squares = sum(float(((cell - cell.mean()) ** 2).sum()) for cell in usable)
    return Spread(squares / total, 4 * total / (k + 3))


def t_interval(value: float, parts: Sequence[Spread], n_units: int, level: float = 0.95) -> Estimate:
    """Interval and p of ``value`` whose variance is the sum of ``parts`` (degrees of freedom: Satterthwaite 1946)."""
    variance = sum(part.variance for part in parts)
    if math.isnan(variance) or any(part.df <= 0 for part in parts):
        return Estimate(value, NAN, NAN, NAN, n_units)
    if variance <= 0:
        return Estimate(value, value, value, NAN, n_units)
    df = variance**2 / sum(part.variance**2 / part.df for part in parts)
    error = math.sqrt(variance)
    reach = float(stdtrit(df, 0.5 + level / 2)) * error
    p = float(2 * stdtr(df, -abs(value) / error))
    return Estimate(value, value - reach, value + reach, p, n_units, error)


def sign_flip(differences: np.ndarray, draws: int = 10_000, seed: int = 0) -> Estimate:
    """Paired sign-flip test of the mean (n,), exact up to 16 differences; below six it cannot reach p < 0.05."""
    values = np.asarray(differences, float)
    n, mean = len(values), float(np.mean(values))
    exact = n <= EXACT
    if exact:
        signs = np.array(list(product((1, -1), repeat=n)))
    else:
        signs = np.random.default_rng(seed).choice((1, -1), (draws, n))
    extreme = np.sum(np.abs(signs @ values / n) >= abs(mean) - 1e-12)
    p = extreme / len(signs) if exact else (extreme + 1) / (draws + 1)
    spread = Spread(float(values.var(ddof=1)) / n, n - 1) if n > 1 else Spread(NAN, 0)
    plain = t_interval(mean, [spread], n)
    return Estimate(mean, plain.low, plain.high, float(p), n)


def equivalence(value: float, parts: Sequence[Spread], margin: float) -> float:
    """Two one-sided tests (TOST): the p-value of the claim that the true value lies within ``margin`` of zero.

    Small p: the effect is too small to matter. Equivalent at 5 % if the 90 % interval lies inside the margin.
    """
    variance = sum(part.variance for part in parts)
    if math.isnan(variance) or any(part.df <= 0 for part in parts):
        return NAN
    if variance <= 0:
        return 0.0 if abs(value) < margin else 1.0
    df = variance**2 / sum(part.variance**2 / part.df for part in parts)
    return float(stdtr(df, (abs(value) - margin) / math.sqrt(variance)))


@dataclass(frozen=True)
class Heterogeneity:
    """Effects over tasks.

    Args:
        mean: pooled effect.
        tau: standard deviation of the true effects between tasks.
        low: lower end of the 95 % prediction interval for the effect on a new task.
        high: upper end.
        n_units: tasks.
        reliable: false below five tasks.
    """

    mean: Estimate
    tau: float
    low: float
    high: float
    n_units: int
    reliable: bool


def prediction_interval(effects: np.ndarray, variances: np.ndarray) -> Heterogeneity:
    """Random-effects mean and the prediction interval for a new task.

    Between-task variance by Paule and Mandel (1982), the mean's interval by Hartung and Knapp (2001), the prediction
    interval with n - 1 degrees of freedom (IntHout et al. 2016, form of Higgins et al. 2009).

    Args:
        effects: one per task (n,).
        variances: squared standard errors (n,).
    """
    x, v = np.asarray(effects, float), np.maximum(np.asarray(variances, float), 1e-12)
    n = len(x)
    if n < 2 or np.isnan(v).any():
        return Heterogeneity(Estimate(float(x.mean()), NAN, NAN, NAN, n), NAN, NAN, NAN, n, False)
    tau2 = _paule_mandel(x, v)
    w = 1 / (v + tau2)
    mean = float(w @ x / w.sum())
    spread = Spread(float(w @ (x - mean) ** 2 / ((n - 1) * w.sum())), n - 1)
    reach = float(stdtrit(n - 1, 0.975)) * math.sqrt(tau2 + spread.variance)
    return Heterogeneity(t_interval(mean, [spread], n), math.sqrt(tau2), mean - reach, mean + reach, n, n >= 5)


def _paule_mandel(x: np.ndarray, v: np.ndarray) -> float:
    """The variance between tasks at which the weighted sum of squares equals its expectation; 0 if it never does."""

    def excess(tau2: float) -> float:
        w = 1 / (v + tau2)
        return float(w @ (x - w @ x / w.sum()) ** 2) - (len(x) - 1)

    low, high = 0.0, float(x.var(ddof=1)) * len(x) + 1e-12
    if excess(0.0) <= 0:
        return 0.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2
