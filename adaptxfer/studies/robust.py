"""Shifts beyond one slice at a time: all axes in one regression, and scores against the line of the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adaptxfer.errors import data_error
from adaptxfer.studies.answers import ItemsOf, SliceTally
from adaptxfer.studies.items import Items
from adaptxfer.studies.outcomes import paired
from adaptxfer.studies.stats.bootstrap import contrast_draws
from adaptxfer.studies.stats.estimate import Estimate
from adaptxfer.studies.stats.jackknife import cluster_regression
from adaptxfer.studies.stats.seeds import Spread, paired_spread, t_interval
from adaptxfer.studies.table import NONE, RecordTable

FEW = 10
"""Slices of fewer clusters are one in a regression: a coefficient of its own would rest on next to nothing."""
REST, NAN = "(small)", float("nan")
LINE_FROM = 3
"""Languages that a line needs."""


@dataclass(frozen=True)
class Coefficient:
    """What a slice adds to a gain while everything else on the other axes stays as it is.

    Args:
        intermediate: whose gain.
        axis: what the slices differ in.
        slices: the slice, and the most frequent one of its axis, which it stands against.
        estimate: points; ``n_units`` counts clusters that hold the rarer of the two.
        items: items of the rarer one.
    """

    intermediate: str
    axis: str
    slices: tuple[str, str]
    estimate: Estimate
    items: int


def all_axes(
    table: RecordTable, target: str, axes: Mapping[str, Mapping[str, str]], items_of: ItemsOf
) -> list[Coefficient]:
    """Gains of single items on the slices of all axes and on the language at once, one regression an intermediate.

    A row is an item in a language, its value the gain in points, mean over seeds. The variance is that of leaving out
    one cluster after the other, plus that between seeds, pooled over intermediates.

    Args:
        table: whole rows of a target whose items weigh alike (accuracy, answers).
        target: target task.
        axes: by axis the slice of each item.
        items_of: where the items of a row come from.

    Raises:
        AdaptxferError: if the items do not weigh alike or none has a label on every axis.
    """
    rows = table.where(lambda row: row.target_task == target)
    (pairs,) = paired(rows)
    seeds = {name: pairs.seeds(name) for name in pairs.labels()}
    loaded = {key: [items_of(row) for row in by] for key, by in pairs.rows.items()}
    if any(items is None or len(set(items.below.tolist())) > 1 for by in loaded.values() for items in by):
        raise data_error(f"Items of {target} do not weigh alike: no regression over them.", "Look at one axis a time.")
    design = _Design(next(iter(loaded.values())), axes)  # type: ignore[arg-type]
    fits, between = {}, []
    for name, own in seeds.items():
        each = [design.values(loaded[name, s], loaded[NONE, s]) for s in own]  # type: ignore[arg-type]
        if each:
            fits[name] = cluster_regression(design.columns, np.mean(each, axis=0), design.cluster)
            between.append(np.array([cluster_regression(design.columns, y, None)[0] for y in each]))
    found = []
    for k, (axis, slices, units, items) in enumerate(design.wanted, design.first):
        seed_part = paired_spread([by[:, k] for by in between])
        for name, (values, variances) in fits.items():
            parts = [Spread(float(variances[k]), design.clusters - 1)]
            parts += [seed_part.over(len(seeds[name]))] if seed_part.df else []
            found.append(Coefficient(name, axis, slices, t_interval(float(values[k]), parts, units), items))
    return found


class _Design:
    """Columns of the regression: languages, then the slices of each axis but its most frequent one."""

    def __init__(self, by_language: Sequence[Items], axes: Mapping[str, Mapping[str, str]]) -> None:
        self.known = [np.array([all(i in labels for labels in axes.values()) for i in it.ids]) for it in by_language]
        ids = [
            i for it, keep in zip(by_language, self.known, strict=True) for i, k in zip(it.ids, keep, strict=True) if k
        ]
        if not ids:
            raise data_error("No item has a label on every axis.", "Give the axes one by one.")
        articles = [c for it, keep in zip(by_language, self.known, strict=True)
                 for c, k in zip(it.clusters, keep, strict=True) if k]  # fmt: skip
        self.cluster = np.unique(articles, return_inverse=True)[1]
        self.clusters = int(self.cluster.max()) + 1
        language = np.repeat(np.arange(len(by_language)), [int(keep.sum()) for keep in self.known])
        columns = [(language == k).astype(float) for k in range(len(by_language)) if (language == k).any()]
        self.first, self.wanted = len(columns), []
        for axis, labels in axes.items():
            mark = self._merged(np.array([labels[i] for i in ids]))
            parts, counts = np.unique(mark, return_counts=True)
            usual = parts[counts.argmax()]
            for part in parts[parts != usual]:
                columns.append((mark == part).astype(float))
                rarer = min((mark == part, mark == usual), key=np.count_nonzero)
                items = len({i for i, here in zip(ids, rarer, strict=True) if here})
                self.wanted.append((axis, (str(part), str(usual)), len(set(self.cluster[rarer])), items))
        self.columns = np.stack(columns, 1)

    def _merged(self, mark: np.ndarray) -> np.ndarray:
        """Slices of few clusters under one name."""
        small = [part for part in np.unique(mark) if len(set(self.cluster[mark == part])) < FEW]
        return np.where(np.isin(mark, small), REST, mark)

    def values(self, one: Sequence[Items], other: Sequence[Items]) -> np.ndarray:
        """Gains of the rows in points."""
        return np.concatenate([
            100 * ((a.above - b.above) / a.below)[keep] for a, b, keep in zip(one, other, self.known, strict=True)
        ])  # fmt: skip


@dataclass(frozen=True)
class AgainstLine:
    """Effective robustness on one slice or data set: how far intermediates lie above the line of the baseline.

    Args:
        residuals: by intermediate its shifted score minus what the line says for its reference score, in points, mean
            over languages; ``n_units`` counts clusters of the smaller slice.
        line: slope and level of shifted over reference scores of the baseline, over languages.
        scores: by intermediate, none among them, its reference and shifted scores (L,), means over seeds.
        languages: (L,).
    """

    residuals: Mapping[str, Estimate]
    line: tuple[float, float]
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]]
    languages: tuple[str, ...]


def against_line(both: SliceTally, resamples: int = 10_000, seed: int = 0) -> AgainstLine | None:
    """Effective robustness (Taori et al. 2020): is a shifted score better than the reference score lets expect?

    The line runs through the baseline's languages. Clusters are drawn jointly for all languages and runs, those of two
    data sets apart, and the line is fitted anew in each draw; the variance between seeds, pooled over intermediates, is
    added.

    Args:
        both: items of the shifted and of the reference side.
        resamples: bootstrap draws.
        seed: of the drawing.

    Returns:
        None with fewer than three languages, through which no line is drawn; no interval below ten clusters, or for two
        data sets with one seed.
    """
    if len(both.languages) < LINE_FROM:
        return None
    sums, order = both.tally.sums(), tuple(dict.fromkeys(name for _, name, _ in both.systems))
    names = order[1:]  # the baseline comes first
    shape = (2, len(order), -1, len(both.languages))  # slice, intermediate, seed, language

    def residuals(scores: np.ndarray) -> np.ndarray:
        """Of scores (..., 2, I + 1, L), mean over languages (..., I)."""
        slope, level = _line(scores[..., 1, 0, :], scores[..., 0, 0, :])
        over = scores[..., 0, 1:, :] - slope[..., None, None] * scores[..., 1, 1:, :] - level[..., None, None]
        return over.mean(-1)

    by_seed = sums.scores().reshape(shape)
    whole, draws = by_seed.mean(2), []
    for block in contrast_draws(sums, np.eye(len(both.systems)), resamples, seed, both.strata()):
        draws.append(residuals(block.reshape(len(block), *shape).mean(3)))
    items = np.concatenate(draws).var(0, ddof=1)
    seeds = paired_spread(list(residuals(np.moveaxis(by_seed, 2, 0)).T))
    found = {}
    for i, (name, value) in enumerate(zip(names, residuals(whole), strict=True)):
        parts = [Spread(float(items[i]), max(1, both.fewest - 1))]
        parts += [seeds.over(by_seed.shape[2])] if seeds.df or both.apart else []
        estimate = t_interval(float(value), parts, both.fewest)
        found[name] = estimate if both.fewest >= FEW else Estimate(estimate.value, NAN, NAN, NAN, both.fewest)
    slope, level = _line(whole[1, 0], whole[0, 0])
    scores = {name: (whole[1, i], whole[0, i]) for i, name in enumerate(order)}
    return AgainstLine(found, (float(slope), float(level)), scores, both.languages)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and level of least squares over the last axis; a slope of 1 where all x are equal."""
    off = x - x.mean(-1, keepdims=True)
    size = (off**2).sum(-1)
    slope = np.where(size > 1e-9, (off * y).sum(-1) / np.maximum(size, 1e-9), 1.0)
    return slope, y.mean(-1) - slope * x.mean(-1)
