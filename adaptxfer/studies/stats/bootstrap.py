"""Bootstrap over clusters of items, drawn jointly for all languages and systems; ratios are recomputed every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from adaptxfer.studies.stats.seeds import Spread

BLOCK = 2_000_000
"""Counts drawn at a time (clusters times resamples), which bounds the memory."""


@dataclass(frozen=True)
class ClusterSums:
    """Numerators and denominators summed within clusters, for C clusters, R systems (runs, slices) and L languages.

    Args:
        above: (C, R, L), float32.
        below: (C, R, L), float32; zero where a cluster has no item of the language.
    """

    above: np.ndarray
    below: np.ndarray

    def scores(self) -> np.ndarray:
        """The metric of each system and language in points (R, L)."""
        return _points(self.above.sum(0, dtype=np.float64), self.below.sum(0, dtype=np.float64))

    def effects(self, weights: np.ndarray) -> np.ndarray:
        """Contrasts (I, L) of the scores for ``weights`` (R, I)."""
        return np.einsum("rl,ri->il", self.scores(), weights)


class Tally:
    """Adds items up within clusters, one system and language at a time; clusters of one name are one everywhere."""

    def __init__(self, systems: int, languages: int) -> None:
        self._shape = (systems, languages)
        self._names: dict[str, int] = {}
        self._sums: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def add(self, system: int, language: int, clusters: Sequence[str], above: np.ndarray, below: np.ndarray) -> None:
        """Add the items of one system and language: cluster, numerator and denominator of each (N,)."""
        names = self._names
        places = np.fromiter((names.setdefault(name, len(names)) for name in clusters), int, len(clusters))
        self._sums[system, language] = (np.bincount(places, above), np.bincount(places, below))

    def names(self) -> list[str]:
        """The clusters in order of their appearance, that of ``sums``."""
        return list(self._names)

    def sums(self) -> ClusterSums:
        """What was added, in order of the clusters' appearance."""
        above, below = (np.zeros((len(self._names), *self._shape), np.float32) for _ in range(2))
        for (system, language), (over, under) in self._sums.items():
            above[: len(over), system, language] = over
            below[: len(under), system, language] = under
        return ClusterSums(above, below)


def contrast_draws(
    sums: ClusterSums, weights: np.ndarray, resamples: int, seed: int, strata: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Bootstrap draws of contrasts between systems, in blocks (b, I, L) that add up to ``resamples``, in points.

    Args:
        sums: what is resampled.
        weights: one column per contrast (R, I), such as +1 and -1 for a gain.
        resamples: number of draws.
        seed: of the drawing.
        strata: stratum of each cluster (C,); each keeps its number of clusters.
    """
    clusters, _, languages = sums.above.shape
    weights = np.asarray(weights, np.float32)
    above, below = sums.above, sums.below
    same = bool((below == below[:, :1]).all())
    if same:  # a mean over items: contrasts can be taken before drawing
        above, below = np.einsum("crl,ri->cil", above, weights), below[:, :1]
    parts = [np.ascontiguousarray(x.reshape(clusters, -1)) for x in (above, below)]
    for counts in _counts(clusters, resamples, seed, strata):
        a, b = (counts @ part for part in parts)
        ratio = _points(a.reshape(len(a), -1, languages), b.reshape(len(b), -1, languages))
        yield ratio if same else np.einsum("brl,ri->bil", ratio, weights, optimize=True)


def _counts(clusters: int, resamples: int, seed: int, strata: np.ndarray | None) -> Iterator[np.ndarray]:
    """How often each cluster is drawn, (b, C) at a time."""
    generator = np.random.default_rng(seed)
    groups = [np.arange(clusters)] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    step = max(1, BLOCK // clusters)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        counts = np.empty((size, clusters), np.float32)
        for members in groups:
            n = len(members)
            drawn = generator.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
            counts[:, members] = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        yield counts


def _points(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return 100 * np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape, above.dtype), where=below > 0)


@dataclass(frozen=True)
class Resampled:
    """What the draws of contrasts say.

    Args:
        effects: contrasts on all items (I, L).
        variance: bootstrap variance of each (I, L).
        means: draws of the mean over languages (B, I).
        clusters: number of clusters.
    """

    effects: np.ndarray
    variance: np.ndarray
    means: np.ndarray
    clusters: int

    def spread(self, contrast: int, language: int | None = None) -> Spread:
        """Variance due to the items, for one language or the mean over all."""
        variance = self.means[:, contrast].var(ddof=1) if language is None else self.variance[contrast, language]
        return Spread(float(variance), self.clusters - 1)

    def interval(self, contrast: int, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of the mean over languages."""
        low, high = np.quantile(self.means[:, contrast], [0.5 - level / 2, 0.5 + level / 2])
        return float(low), float(high)


def resample(
    sums: ClusterSums, weights: np.ndarray, resamples: int = 10_000, seed: int = 0, strata: np.ndarray | None = None
) -> Resampled:
    """Bootstrap contrasts between systems; arguments as ``contrast_draws``."""
    effects = sums.effects(weights)
    total, squares, means = np.zeros_like(effects), np.zeros_like(effects), []
    for draws in contrast_draws(sums, weights, resamples, seed, strata):
        off = draws - effects  # small numbers, so that squares keep their digits
        total += off.sum(0)
        squares += (off**2).sum(0)
        means.append(draws.mean(2, dtype=np.float64))
    variance = (squares - total**2 / resamples) / (resamples - 1)
    return Resampled(effects, variance, np.concatenate(means), len(sums.above))


DIFFERENCE_IN_DIFFERENCES = np.array([[1.0], [-1.0], [-1.0], [1.0]])
"""Weights of four systems: with and without on the shifted slice, with and without on the reference slice."""
