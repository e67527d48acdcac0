"""Procedures on a record table, each at its unit of replication; studies and power calculations use the same ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptxfer.errors import AdaptxferError, data_error
from adaptxfer.files import derived_seed
from adaptxfer.studies.items import Items
from adaptxfer.studies.outcomes import ByTarget, Key, mean_gains, outcome, own_scores, paired
from adaptxfer.studies.pairs import Pairs, pair
from adaptxfer.studies.stats.bootstrap import Tally, resample
from adaptxfer.studies.stats.correlation import repeated_measures, within_target
from adaptxfer.studies.stats.estimate import Estimate
from adaptxfer.studies.stats.seeds import Spread, pool, t_interval
from adaptxfer.studies.stats.trend import slope
from adaptxfer.studies.table import NONE, WHOLE, RecordTable, Row

ItemsOf = Callable[[Row], Items | None]

FEW_CLUSTERS = 10
"""With fewer clusters in a slice a bootstrap interval says nothing."""


def joined(own: dict[Key, float], found: ByTarget) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Intermediates with both, their own scores (I,) and outcomes (T, I) on the targets that all of them have.

    Raises:
        AdaptxferError: if fewer than three intermediates have both, or they share no target.
    """
    keys = sorted(key for key in own.keys() & found.keys() if not key[1])
    if len(keys) < 3:
        raise _too_few(len(keys))
    targets = sorted(set.intersection(*(set(found[key]) for key in keys)))
    if not targets:
        raise data_error("No target has a score with every intermediate.", "Complete one target first.")
    matrix = np.array([[found[key][target] for key in keys] for target in targets])
    return [name for name, _ in keys], np.array([own[key] for key in keys]), matrix


def metric_across(
    table: RecordTable, permutations: int = 10_000, seed: int = 0, metric: str = "score", to: str = "gain"
) -> Estimate:
    """Do intermediates with a higher score of their own lead to more? Unit: the intermediate.

    Args:
        table: own scores, and outcomes on targets that every intermediate has.
        permutations: drawn orders of the intermediates.
        seed: of the drawing.
        metric: of the intermediate's own score.
        to: the outcome.

    Raises:
        AdaptxferError: if fewer than three intermediates have both.
    """
    own = own_scores(table, metric)
    if len(own) < 3:
        raise _too_few(len(own))
    _, values, matrix = joined(own, outcome(table, to))
    return within_target(values, matrix, permutations, seed)


def _too_few(count: int) -> AdaptxferError:
    return data_error(f"{count} intermediates have an own score and gains.", "A correlation needs three.")


def metric_within(table: RecordTable, metric: str = "score", to: str = "gain") -> Estimate:
    """Does a better checkpoint of one intermediate lead to more? Repeated-measures correlation; unit: intermediates."""
    own, found = own_scores(table, metric), outcome(table, to)
    keys = sorted(own.keys() & found.keys())
    mean = [float(np.mean(list(found[key].values()))) for key in keys]
    return repeated_measures(np.array([own[k] for k in keys]), np.array(mean), np.array([k[0] for k in keys]))


def contrasts(table: RecordTable, hard: str, easy: str) -> dict[str, tuple[int, float]]:
    """Per base model its size and gain(hard) - gain(easy), mean over shared targets.

    Raises:
        AdaptxferError: if a size is unknown or no base model has both.
    """
    found: dict[str, tuple[int, float]] = {}
    for backbone in table.values("backbone"):
        part = table.where(lambda row, name=backbone: row.backbone == name)
        try:
            gains = mean_gains(part)
        except AdaptxferError:  # nothing to pair
            continue
        if (hard, "") not in gains or (easy, "") not in gains:
            continue
        shared = sorted(gains[hard, ""].keys() & gains[easy, ""].keys())
        sizes = {row.n_params for row in part.rows} - {None}
        if len(sizes) != 1:
            hint = "Fill n_params in the table, or score the runs again: evaluations record it."
            raise data_error(f"The size of {backbone} is unknown.", hint)
        if shared:
            value = float(np.mean([gains[hard, ""][t] - gains[easy, ""][t] for t in shared]))
            found[backbone] = (sizes.pop() or 0, value)
    if not found:
        raise data_error(f"No base model has gains of both {hard} and {easy}.", "Name two intermediates.")
    return found


def contrast_intervals(table: RecordTable, hard: str, easy: str) -> dict[str, Estimate]:
    """Per base model score(hard) - score(easy) with a 95 % interval; unit: seeds that both have.

    The mean is over shared targets and their languages, seed by seed; the variance between seeds is pooled over base
    models, which share no runs.
    """
    found: dict[str, np.ndarray] = {}
    for backbone in contrasts(table, hard, easy):
        part = table.where(lambda row, name=backbone: row.backbone == name)
        both = [p for p in paired(part) if {hard, easy} <= set(p.labels())]
        seeds = sorted(set.intersection(*(set(p.seeds(hard)) & set(p.seeds(easy)) for p in both))) if both else []
        values = [[(p.scores(hard, s) - p.scores(easy, s)).mean() for s in seeds] for p in both]
        found[backbone] = np.mean(values, axis=0) if seeds else np.zeros(0)
    pooled = pool([Spread(float(v.var(ddof=1)), len(v) - 1) for v in found.values() if len(v) > 1])
    return {name: t_interval(float(v.mean()), [pooled.over(len(v))], len(v)) for name, v in found.items() if len(v)}


def scale_slope(
    table: RecordTable, hard: str, easy: str, family: Callable[[str], str] = lambda backbone: ""
) -> Estimate:
    """Growth of gain(hard) - gain(easy) per factor of ten in parameters. Unit: the model size.

    Args:
        table: rows with ``n_params``, the parameters outside the embeddings.
        hard: name of one intermediate.
        easy: name of the other.
        family: of a base model; families share the slope, not the level.

    Raises:
        AdaptxferError: if a size is unknown or no base model has both.
    """
    found = contrasts(table, hard, easy)
    x = np.log10([size for size, _ in found.values()])
    return slope(x, np.array([value for _, value in found.values()]), [family(name) for name in found])


def slice_shift(
    table: RecordTable,
    intermediate: str,
    target: str,
    slices: tuple[str, str],
    items_of: ItemsOf,
    resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Gain on one slice minus gain on another (difference in differences), mean over languages.

    Clusters are drawn jointly for all languages and runs, within slices where none lies in both; seeds are averaged,
    and their noise that both slices share cancels. Unit: the cluster; ``n_units`` is that of the smaller slice.

    Args:
        table: rows of both slices with items.
        intermediate: whose gain.
        target: on what.
        slices: the shifted slice, then the reference.
        items_of: where the items of a row come from.
        resamples: bootstrap draws.
        seed: of the drawing.

    Raises:
        AdaptxferError: if a run or its items are missing.
    """
    return tallied_shift(slice_tally(table, target, slices, [intermediate], items_of), target, resamples, seed)[0]


def tallied_shift(both: SliceTally, target: str, resamples: int, seed: int = 0) -> tuple[Estimate, np.ndarray]:
    """The shift of one intermediate with the interval over clusters, and its value in each seed (S,)."""
    seeds = sorted({s for *_, s in both.systems})
    signs = np.array([(1 if name != NONE else -1) * (1 if part == 0 else -1) for part, name, _ in both.systems])
    single = np.array([[s == one for one in seeds] for *_, s in both.systems]) * signs[:, None]
    weights = np.column_stack([signs / len(seeds), single])
    sums = both.tally.sums()
    drawn = resample(sums, weights[:, :1], resamples, derived_seed(seed, target), both.strata())
    found = t_interval(float(drawn.effects.mean()), [drawn.spread(0)], both.fewest)
    if both.fewest < FEW_CLUSTERS:
        found = replace(found, low=math.nan, high=math.nan, p=math.nan)
    return found, sums.effects(weights)[1:].mean(1)


@dataclass(frozen=True)
class SliceTally:
    """Items of two slices, or of two data sets, within clusters, for every run.

    Args:
        tally: sums by cluster, system and language.
        systems: slice (0 the shifted one, 1 the reference), intermediate and seed.
        languages: that all runs have.
        members: clusters of each slice.
        apart: whether the sides are two data sets, whose noise between seeds they do not share.
    """

    tally: Tally
    systems: tuple[tuple[int, str, int], ...]
    languages: tuple[str, ...]
    members: tuple[set[str], set[str]]
    apart: bool = False

    @property
    def fewest(self) -> int:
        """Clusters of the smaller slice."""
        return min(map(len, self.members))

    def strata(self) -> np.ndarray | None:
        """Which clusters are of the shifted slice (C,), where none lies in both."""
        one, other = self.members
        return None if one & other else np.array([name in one for name in self.tally.names()])


def slice_tally(
    table: RecordTable, target: str, slices: tuple[str, str], names: Sequence[str], items_of: ItemsOf
) -> SliceTally:
    """`side_tally` of two slices of a target.

    Raises:
        AdaptxferError: if a run or its items are missing.
    """
    one, other = (slice_pairs(table, target, part) for part in slices)
    return side_tally((one, other), names, items_of)


def side_tally(sides: tuple[Pairs, Pairs], names: Sequence[str], items_of: ItemsOf) -> SliceTally:
    """The items of the runs without and with each of some intermediates, of the seeds that all of them share.

    Args:
        sides: the runs on the shifted side, then on the reference; clusters of two targets are never the same.
        names: intermediates, at least one.
        items_of: where the items of a row come from.

    Raises:
        AdaptxferError: if a run or its items are missing.
    """
    one, other = sides
    apart = one.target != other.target
    seeds = sorted(set.intersection(*(set(p.seeds(name)) for p in (one, other) for name in names)))
    languages = [language for language in one.languages if language in other.languages]
    if not seeds or not languages:
        told = f"{names[0]} -> {one.target} lacks runs of both slices."
        if apart:
            told = f"{one.target} and {other.target} have no seed, or no language, that all runs share."
        raise data_error(told, "Score both in every run.")
    systems = [(part, name, s) for part in (0, 1) for name in (NONE, *names) for s in seeds]
    tally, members = Tally(len(systems), len(languages)), (set[str](), set[str]())
    for r, (part, name, s) in enumerate(systems):
        pairs = sides[part]
        for k, language in enumerate(languages):
            items = items_of(pairs.rows[name, s][pairs.languages.index(language)])
            if items is None:
                told = f"{name} -> {pairs.target} has no items in {language}."
                raise data_error(told, "Give scores of items.")
            clusters = [f"{pairs.target}: {cluster}" for cluster in items.clusters] if apart else items.clusters
            tally.add(r, k, clusters, items.above, items.below)
            members[part].update(clusters)
    return SliceTally(tally, tuple(systems), tuple(languages), members, apart)


def slice_pairs(table: RecordTable, target: str, part: str) -> Pairs:
    """The paired runs of one slice of a target.

    Raises:
        AdaptxferError: if there are none.
    """
    rows = [replace(row, slice=WHOLE) for row in table.rows if row.target_task == target and row.slice == part]
    if not rows:
        known = sorted({row.slice for row in table.rows if row.target_task == target})
        told = f"{target} has no rows of slice {part!r}."
        raise data_error(told, f"Known: {', '.join(known)}." if known else f"No row is of {target}.")
    return pair(RecordTable(tuple(rows)))[0][0]
