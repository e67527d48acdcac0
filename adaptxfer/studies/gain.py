"""The gain matrix: intermediate x target x language, with intervals, corrections and verdicts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from adaptxfer.errors import AdaptxferError
from adaptxfer.files import derived_seed
from adaptxfer.studies.items import Items, load_items
from adaptxfer.studies.pairs import Pairs, pair
from adaptxfer.studies.stats.bootstrap import Resampled, Tally, resample
from adaptxfer.studies.stats.correction import benjamini_hochberg, holm
from adaptxfer.studies.stats.estimate import Estimate, verdict
from adaptxfer.studies.stats.seeds import (
    Heterogeneity,
    Spread,
    equivalence,
    paired_spread,
    prediction_interval,
    t_interval,
)
from adaptxfer.studies.table import NONE, RecordTable, Row

POOLED_CELLS = 10
"""The seed variance is pooled over at least this many cells: those of the target, else those of all targets."""

LEAST_SEEDS = {True: 2, False: 6}
"""Fewest seeds for a test, by whether the seed variance is pooled over enough cells; alone, three to five seeds cannot
carry one (an exact sign-flip test of five cannot fall below 0.06)."""

MEAN = "mean"
ANSWERS = ("squad", "squad_v2", "mlqa")
"""Metrics of questions, several of which share an article."""

ItemsOf = Callable[[Row], Items | None]


@dataclass(frozen=True)
class Gain:
    """One gain in points, over seeds.

    Args:
        intermediate: what was trained before the target.
        target: target task, or ``mean`` over all of them.
        language: language, or ``mean`` over all of the target's.
        without: mean score of the baseline.
        estimate: gain, 95 % interval, p; its units are seeds.
        clusters: clusters of items that were resampled; 0 if the interval is over seeds alone.
        p_equivalent: p of the claim that the gain is smaller than what matters, to either side.
        p_adjusted: p within its family (Holm for means over targets, Benjamini-Hochberg for the rest).
        verdict: on the claim that the gain is above zero.
    """

    intermediate: str
    target: str
    language: str
    without: float
    estimate: Estimate
    clusters: int
    p_equivalent: float
    p_adjusted: float = math.nan
    verdict: str = ""


@dataclass(frozen=True)
class GainMatrix:
    """All gains of a table.

    Args:
        overall: per intermediate, mean over targets (the primary family).
        cells: per intermediate and target, mean over languages.
        by_language: per intermediate, target and language.
        across: per intermediate what to expect on a new target task; units are targets.
        notes: what a reader must know.
        relevant: smallest gain that matters, in points.
        resamples: bootstrap draws.
    """

    overall: tuple[Gain, ...]
    cells: tuple[Gain, ...]
    by_language: tuple[Gain, ...]
    across: dict[str, Heterogeneity]
    notes: tuple[str, ...]
    relevant: float
    resamples: int


def gain_matrix(
    table: RecordTable,
    resamples: int = 10_000,
    seed: int = 0,
    relevant: float = 1.0,
    items_of: ItemsOf = load_items,
) -> GainMatrix:
    """Gains with 95 % intervals: pooled variance between seeds plus bootstrap variance of item clusters.

    Args:
        table: rows of one base model and method.
        resamples: bootstrap draws.
        seed: of the drawing.
        relevant: smallest gain that matters, in points; the margin of the equivalence test.
        items_of: where the items of a row come from.

    Raises:
        AdaptxferError: if nothing can be paired.
    """
    targets, notes = pair(table)
    spreads = _SeedSpreads(targets)
    notes = [*table.notes, *notes, *spreads.notes(), *_lone_modules(targets)]
    means: dict[str, list[np.ndarray]] = defaultdict(list)
    cells, by_language = [], []
    for pairs in targets:
        drawn = resample_pairs(pairs, resamples, derived_seed(seed, pairs.target), items_of, notes)
        for place, label in enumerate(pairs.labels()):
            column = _Column(pairs, label, place, drawn, spreads, relevant)
            cells.append(column.mean())
            by_language += map(column.language, range(len(pairs.languages)))
            if drawn is not None:
                means[label].append(drawn.means[:, place])
    overall = _overall(targets, means, cells, relevant, notes)
    enough = spreads.cells >= POOLED_CELLS
    return GainMatrix(
        _judged(overall, holm, relevant, len(overall) >= POOLED_CELLS),
        _judged(cells, benjamini_hochberg, relevant, enough),
        _judged(by_language, benjamini_hochberg, relevant, enough),
        _across(cells),
        tuple(merged(notes)),
        relevant,
        resamples,
    )


@dataclass
class _SeedSpreads:
    """Variance of paired differences between seeds: of means over languages, and of single languages."""

    targets: Sequence[Pairs]
    means: dict[str, Spread] = field(default_factory=dict)
    languages: dict[str, Spread] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = {p.target: [p.differences(label) for label in p.labels()] for p in self.targets}
        every = [d for cells in found.values() for d in cells]
        for target, cells in found.items():
            usable = sum(d.shape[1] > 1 for d in cells)
            # over other targets the baselines differ, so treating them as shared errs on the safe side
            pooled = cells if usable >= POOLED_CELLS else every
            self.means[target] = paired_spread([d.mean(0) for d in pooled])
            self.languages[target] = _per_language(pooled)
        self.cells = sum(d.shape[1] > 1 for d in every)

    def notes(self) -> list[str]:
        """What is weak about the pooled variance."""
        if not self.cells:
            return ["No cell has two seeds: gains are described, not tested."]
        if self.cells < POOLED_CELLS:
            count = "one cell" if self.cells == 1 else f"{self.cells} cells"
            return [
                f"The variance between seeds comes from {count}: below {POOLED_CELLS} cells and "
                f"{LEAST_SEEDS[False]} seeds gains are described, not tested."
            ]
        return []


def merged(notes: Sequence[str]) -> list[str]:
    """Notes without repetition; what is said of several target tasks alike is said once."""
    subjects: dict[str, list[str]] = {}
    for note in dict.fromkeys(notes):
        target, colon, said = note.partition(": ")
        subjects.setdefault(said if colon and " " not in target else note, []).append(target if colon else "")
    return [f"{', '.join(names)}: {said}" if names != [""] and said not in notes else said
            for said, names in subjects.items()]  # fmt: skip


def _lone_modules(targets: Sequence[Pairs]) -> list[str]:
    """A note for each intermediate whose seeds all build on one trained module."""
    found: dict[str, list[set[int | None]]] = defaultdict(list)
    for pairs in targets:
        for label in pairs.labels():
            if len(seeds := pairs.seeds(label)) > 1:
                found[label].append({pairs.rows[label, seed][0].intermediate_seed for seed in seeds})
    lone = [label for label, sets in found.items() if any(len(seeds) == 1 and None not in seeds for seeds in sets)]
    told = "all seeds build on one trained module, so the intervals do not cover training the intermediate task again"
    return [f"{', '.join(lone)}: {told}."] if lone else []


def _per_language(cells: Sequence[np.ndarray]) -> Spread:
    """Mean variance of single languages; they share their runs, so they add no degrees of freedom."""
    many = [d for d in cells if d.shape[1] > 1]
    if not many:
        return Spread(math.nan, 0)
    squares = sum(float(((d - d.mean(1, keepdims=True)) ** 2).sum(1).mean()) for d in many)
    return Spread(squares / sum(d.shape[1] - 1 for d in many), paired_spread([d[0] for d in many]).df)


def resample_pairs(pairs: Pairs, resamples: int, seed: int, items_of: ItemsOf, notes: list[str]) -> Resampled | None:
    """Bootstrap of all gains of a target, averaged over seeds; None if not every run has items."""
    keys = list(pairs.rows)
    tally, single = Tally(len(keys), len(pairs.languages)), False
    for k, language in enumerate(pairs.languages):
        ids: Sequence[str] | None = None
        for r, key in enumerate(keys):
            try:
                items = items_of(pairs.rows[key][k])
            except AdaptxferError as error:
                notes.append(error.message)
                items = None
            if items is None or (ids is not None and items.ids is not ids and list(items.ids) != list(ids)):
                why = "not every run has scores of single items" if items is None else f"items differ in {language}"
                notes.append(f"{pairs.target}: {why}, so intervals hold for these test sets only (seeds alone).")
                return None
            ids, single = items.ids, list(items.clusters) == list(items.ids)
            tally.add(r, k, items.clusters, items.above, items.below)
    if len(tally.names()) == 1:
        notes.append(f"{pairs.target}: all items are of one article, which says nothing of others: no interval.")
    if single and pairs.metric in ANSWERS:
        notes.append(f"{pairs.target}: questions are drawn one by one; --clusters with the article of each is safer.")
    return resample(tally.sums(), _weights(pairs, keys), resamples, seed)


def _weights(pairs: Pairs, keys: Sequence[tuple[str, int]]) -> np.ndarray:
    """Mean over seeds of with minus without, one column per intermediate (R, I)."""
    weights = np.zeros((len(keys), len(pairs.labels())))
    for column, label in enumerate(pairs.labels()):
        seeds = pairs.seeds(label)
        for seed in seeds:
            weights[keys.index((label, seed)), column] += 1 / len(seeds)
            weights[keys.index((NONE, seed)), column] -= 1 / len(seeds)
    return weights


@dataclass
class _Column:
    """One intermediate on one target."""

    pairs: Pairs
    label: str
    place: int
    drawn: Resampled | None
    spreads: _SeedSpreads
    relevant: float

    def __post_init__(self) -> None:
        seeds = self.pairs.seeds(self.label)
        self.seeds = len(seeds)
        self.gains = self.pairs.differences(self.label).mean(1)
        self.without = np.mean([self.pairs.scores(NONE, seed) for seed in seeds], axis=0)

    def mean(self) -> Gain:
        """Over all languages."""
        return self._gain(MEAN, self.without.mean(), self.gains.mean(), self.spreads.means, None)

    def language(self, k: int) -> Gain:
        """In one language."""
        return self._gain(self.pairs.languages[k], self.without[k], self.gains[k], self.spreads.languages, k)

    def _gain(self, name: str, without: float, value: float, spreads: dict[str, Spread], k: int | None) -> Gain:
        parts = [spreads[self.pairs.target].over(self.seeds)]
        parts += [self.drawn.spread(self.place, k)] if self.drawn else []
        estimate, far = t_interval(float(value), parts, self.seeds), equivalence(float(value), parts, self.relevant)
        clusters = self.drawn.clusters if self.drawn else 0
        return Gain(self.label, self.pairs.target, name, float(without), estimate, clusters, far)


def _overall(
    targets: Sequence[Pairs],
    means: dict[str, list[np.ndarray]],
    cells: Sequence[Gain],
    relevant: float,
    notes: list[str],
) -> list[Gain]:
    """Means over targets of means over languages; seeds are averaged last, for they share their intermediate."""
    labels = list(dict.fromkeys(label for pairs in targets for label in pairs.labels()))
    complete = [label for label in labels if all(label in p.labels() for p in targets)]
    if left := [label for label in labels if label not in complete]:
        notes.append(f"No mean over targets for {', '.join(left)}: not on every target.")
    differences = {}
    for label in complete:
        shared = set.intersection(*(set(p.seeds(label)) for p in targets))
        columns = [[p.seeds(label).index(seed) for seed in sorted(shared)] for p in targets]
        by_target = [p.differences(label).mean(0)[c] for p, c in zip(targets, columns, strict=True)]
        if shared:
            differences[label] = np.mean(by_target, axis=0)
    seed_part = paired_spread(list(differences.values()))
    found = []
    for label, values in differences.items():
        mine = [cell for cell in cells if cell.intermediate == label]
        parts, clusters = [seed_part.over(len(values))], 0
        if len(means[label]) == len(targets):
            clusters = min(cell.clusters for cell in mine)
            parts.append(Spread(float(np.mean(means[label], axis=0).var(ddof=1)), clusters - 1))
        estimate = t_interval(float(values.mean()), parts, len(values))
        without = float(np.mean([cell.without for cell in mine]))
        far = equivalence(estimate.value, parts, relevant)
        found.append(Gain(label, MEAN, MEAN, without, estimate, clusters, far))
    return found


def _across(cells: Sequence[Gain]) -> dict[str, Heterogeneity]:
    """Per intermediate the mean over targets as a sample of tasks, and the interval for a new one."""
    found = {}
    for label in dict.fromkeys(cell.intermediate for cell in cells):
        mine = [cell.estimate for cell in cells if cell.intermediate == label]
        found[label] = prediction_interval(np.array([e.value for e in mine]), np.array([e.error**2 for e in mine]))
    return found


def _judged(
    gains: Sequence[Gain], correct: Callable[[Sequence[float]], np.ndarray], relevant: float, pooled: bool
) -> tuple[Gain, ...]:
    least = LEAST_SEEDS[pooled]
    adjusted = correct([gain.estimate.p if gain.estimate.n_units >= least else math.nan for gain in gains])
    return tuple(
        replace(gain, p_adjusted=float(p), verdict=verdict(gain.estimate, least, float(p), relevant))
        for gain, p in zip(gains, adjusted, strict=True)
    )
