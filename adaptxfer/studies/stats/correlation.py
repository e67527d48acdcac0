"""Correlations whose unit is the intermediate task, not the cell."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from adaptxfer.studies.stats.estimate import Estimate

NAN = float("nan")
BLOCK = 1000
"""Permutations drawn at a time."""


def spearman(x: np.ndarray, y: np.ndarray, permutations: int = 10_000, seed: int = 0) -> Estimate:
    """Spearman's correlation over units (n,), interval by Fisher's z, p by permuting units.

    The variance of z is 1.06 / (n - 3) (Fieller, Hartley and Pearson 1957).
    """
    ranks_x, ranks_y = stats.rankdata(x), stats.rankdata(y)[None]
    value, p = _permuted(ranks_x, ranks_y, permutations, seed)
    return Estimate(value, *fisher_interval(value, len(x), 1.06), p, len(x))


def within_target(metric: np.ndarray, gains: np.ndarray, permutations: int = 10_000, seed: int = 0) -> Estimate:
    """Mean over targets of Spearman's correlation between a score of the intermediate and the gain it brings.

    The null permutes whole intermediates, all their targets together, so gains may be correlated between targets.

    Args:
        metric: one value per intermediate (I,).
        gains: mean over seeds per target and intermediate (T, I).
        permutations: drawn orders.
        seed: of the drawing.
    """
    value, p = _permuted(stats.rankdata(metric), stats.rankdata(gains, axis=1), permutations, seed)
    return Estimate(value, *fisher_interval(value, len(metric), 1.06), p, len(metric))


def rank_transfer(one: np.ndarray, others: np.ndarray, permutations: int = 10_000, seed: int = 0) -> Estimate:
    """Mean Kendall's tau (b) between a ranking and each row of another, p by permuting whole units.

    The interval is Fisher's z with variance 0.437 / (n - 4) (Fieller, Hartley and Pearson 1957); that of a mean over
    rows is no wider, and the rows share their units, so it is used for any number of them.

    Args:
        one: a value for each unit, such as the mean gain of an intermediate on a benchmark (I,).
        others: values of the same units on other tasks (B, I).
        permutations: drawn orders.
        seed: of the drawing.
    """
    n = len(one)
    if n < 3:
        return Estimate(NAN, NAN, NAN, NAN, n)
    signs, profile = _orders(np.asarray(one, float)[None])[0], _orders(np.asarray(others, float)).mean(0)
    value = float((signs * profile).sum())
    generator = np.random.default_rng(seed)
    hits = 0
    for start in range(0, permutations, BLOCK):
        orders = generator.permuted(np.tile(np.arange(n), (min(BLOCK, permutations - start), 1)), axis=1)
        drawn = np.einsum("bij,ij->b", signs[orders[:, :, None], orders[:, None, :]], profile)
        hits += int((np.abs(drawn) >= abs(value) - 1e-12).sum())
    low, high = fisher_interval(value, n - 1, 0.437) if n > 4 else (NAN, NAN)
    return Estimate(value, low, high, (1 + hits) / (1 + permutations), n)


def _orders(rows: np.ndarray) -> np.ndarray:
    """Signs of all pairwise differences, scaled so that the product of two rows' sums to tau-b (B, I, I)."""
    signs = np.sign(rows[:, :, None] - rows[:, None, :])
    size = np.sqrt((signs**2).sum((1, 2), keepdims=True))
    return np.divide(signs, size, out=np.zeros_like(signs), where=size > 0)


def _permuted(ranks: np.ndarray, others: np.ndarray, permutations: int, seed: int) -> tuple[float, float]:
    """Mean correlation of ``ranks`` (I,) with the rows of ``others`` (T, I), and its two-sided permutation p."""
    z, zs = _standard(ranks[None]), _standard(others)
    if len(ranks) < 3 or not z.any() or not zs.any():
        return NAN, NAN
    profile = zs.mean(0)  # the mean of correlations is one inner product
    value = float(z[0] @ profile)
    generator = np.random.default_rng(seed)
    shuffled = generator.permuted(np.repeat(z, permutations, 0), axis=1) @ profile
    return value, float((1 + np.sum(np.abs(shuffled) >= abs(value) - 1e-12)) / (1 + permutations))


def _standard(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(1, keepdims=True)
    length = np.sqrt((centred**2).sum(1, keepdims=True))
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-12)


def fisher_interval(r: float, n: int, factor: float = 1.0, level: float = 0.95) -> tuple[float, float]:
    """Interval of a correlation over ``n`` units by Fisher's z with variance factor / (n - 3); open below four."""
    if n < 4 or math.isnan(r):
        return NAN, NAN
    if abs(r) >= 1:
        return r, r
    reach = stats.norm.ppf(0.5 + level / 2) * math.sqrt(factor / (n - 3))
    return math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)


def repeated_measures(x: np.ndarray, y: np.ndarray, subject: np.ndarray) -> Estimate:
    """The correlation common to all subjects once their levels are taken out (Bakdash and Marusich 2017).

    A subject is an intermediate task with several checkpoints, each a pair (x, y). Degrees of freedom are N - k - 1
    for N pairs of k subjects; ``n_units`` counts the subjects with at least two pairs.

    Args:
        x: score of the checkpoint (N,).
        y: gain or other outcome (N,).
        subject: what each pair belongs to (N,).
    """
    _, index, counts = np.unique(subject, return_inverse=True, return_counts=True)
    kept = counts[index] > 1
    index, a, b = index[kept], np.asarray(x, float)[kept], np.asarray(y, float)[kept]
    units = int((counts > 1).sum())
    df = len(a) - units - 1
    a, b = _centre(a, index), _centre(b, index)
    size = math.sqrt(float(a @ a) * float(b @ b))
    if df < 1 or size < 1e-12:
        return Estimate(NAN, NAN, NAN, NAN, units)
    r = float(np.clip(a @ b / size, -1, 1))
    t = r * math.sqrt(df / max(1 - r * r, 1e-15))
    return Estimate(r, *fisher_interval(r, df + 2), float(2 * stats.t.sf(abs(t), df)), units)


def _centre(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    sums, counts = np.bincount(index, values), np.bincount(index)
    return values - np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)[index]


def partial_out(values: np.ndarray, covariate: np.ndarray) -> np.ndarray:
    """What a straight line in ``covariate`` leaves of ``values`` (N,), such as both without the training steps."""
    design = np.stack([np.ones(len(covariate)), covariate], 1)
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def reliability(values: np.ndarray) -> float:
    """Intraclass correlation of single measurements (I, S), one-way (Shrout and Fleiss 1979), at least 0."""
    seeds = values.shape[1]
    between = seeds * float(values.mean(1).var(ddof=1))
    within = float(values.var(axis=1, ddof=1).mean())
    total = between + (seeds - 1) * within
    return max(0.0, (between - within) / total) if total > 0 else NAN


def compare_dependent(r_ay: float, r_by: float, r_ab: float, n: int) -> Estimate:
    """Which of two metrics, a and b of the same n units, goes more with y: difference r_ay - r_by.

    Williams's t with n - 3 degrees of freedom, as Steiger (1980) recommends; the interval is that of Zou (2007).
    """
    if n < 5 or any(map(math.isnan, (r_ay, r_by, r_ab))):
        return Estimate(NAN, NAN, NAN, NAN, n)
    det = 1 - r_ay**2 - r_by**2 - r_ab**2 + 2 * r_ay * r_by * r_ab
    below = 2 * det * (n - 1) / (n - 3) + (r_ay + r_by) ** 2 / 4 * (1 - r_ab) ** 3
    difference = r_ay - r_by
    p = NAN
    if below > 1e-15:
        t = difference * math.sqrt((n - 1) * (1 + r_ab) / below)
        p = float(2 * stats.t.sf(abs(t), n - 3))
    return Estimate(difference, *_zou(r_ay, r_by, r_ab, n), p, n)


def _zou(r1: float, r2: float, r12: float, n: int) -> tuple[float, float]:
    """Interval of r1 - r2 for two correlations that share a variable."""
    (l1, u1), (l2, u2) = fisher_interval(r1, n), fisher_interval(r2, n)
    c = (r12 - r1 * r2 / 2) * (1 - r1**2 - r2**2 - r12**2) + r12**3
    c /= max((1 - r1**2) * (1 - r2**2), 1e-15)
    low = (r1 - l1) ** 2 + (u2 - r2) ** 2 - 2 * c * (r1 - l1) * (u2 - r2)
    high = (u1 - r1) ** 2 + (r2 - l2) ** 2 - 2 * c * (u1 - r1) * (r2 - l2)
    return r1 - r2 - math.sqrt(max(low, 0)), r1 - r2 + math.sqrt(max(high, 0))
