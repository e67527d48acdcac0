"""Procedures on a record table, each at its unit of replication; studies and power calculations use the same ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from adaptxfer.errors import data_error
from adaptxfer.files import derived_seed
from adaptxfer.studies.items import Items
from adaptxfer.studies.pairs import APART, OWN_SCORE
from adaptxfer.studies.stats.bootstrap import Tally, resample
from adaptxfer.studies.stats.correlation import repeated_measures, within_target
from adaptxfer.studies.stats.estimate import Estimate
from adaptxfer.studies.stats.seeds import t_interval
from adaptxfer.studies.stats.trend import slope
from adaptxfer.studies.table import NONE, WHOLE, RecordTable, Row

Key = tuple[str, str]
"""Intermediate and checkpoint."""


def own_scores(table: RecordTable) -> dict[Key, float]:
    """Score of each intermediate (and checkpoint) on its own task, mean over seeds."""
    found: dict[Key, list[float]] = defaultdict(list)
    for row in table.rows:
        if row.study == OWN_SCORE:
            found[row.intermediate, row.intermediate_checkpoint].append(row.value)
    return {key: float(np.mean(values)) for key, values in found.items()}


def mean_gains(table: RecordTable) -> dict[Key, dict[str, float]]:
    """Gain per target, mean over languages and over the seeds that baseline and intermediate share."""
    rows = [row for row in table.rows if row.study not in APART and row.slice == WHOLE]
    base = {(r.backbone, r.target_task, r.language, r.target_seed): r.value for r in rows if r.intermediate == NONE}
    found: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        place = (row.backbone, row.target_task, row.language, row.target_seed)
        if row.intermediate != NONE and place in base:
            found[row.intermediate, row.intermediate_checkpoint][row.target_task].append(row.value - base[place])
    return {key: {target: float(np.mean(v)) for target, v in by.items()} for key, by in found.items()}


def metric_across(table: RecordTable, permutations: int = 10_000, seed: int = 0) -> Estimate:
    """Do intermediates with a higher score of their own bring more? Unit: the intermediate.

    Args:
        table: own scores, and gains on targets that every intermediate has.
        permutations: drawn orders of the intermediates.
        seed: of the drawing.

    Raises:
        AdaptxferError: if fewer than three intermediates have both.
    """
    own, gains = own_scores(table), mean_gains(table)
    keys = sorted(key for key in own.keys() & gains.keys() if not key[1])
    if len(keys) < 3:
        raise data_error(f"{len(keys)} intermediates have an own score and gains.", "A correlation needs three.")
    targets = sorted(set.intersection(*(set(gains[key]) for key in keys)))
    matrix = np.array([[gains[key][target] for key in keys] for target in targets])
    return within_target(np.array([own[key] for key in keys]), matrix, permutations, seed)


def metric_within(table: RecordTable) -> Estimate:
    """Does a better checkpoint of one intermediate bring more? Repeated-measures correlation; unit: intermediates."""
    own, gains = own_scores(table), mean_gains(table)
    keys = sorted(own.keys() & gains.keys())
    mean = [float(np.mean(list(gains[key].values()))) for key in keys]
    return repeated_measures(np.array([own[k] for k in keys]), np.array(mean), np.array([k[0] for k in keys]))


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
    contrast: dict[str, float] = {}
    size: dict[str, int] = {}
    for backbone in table.values("backbone"):
        part = table.where(lambda row, name=backbone: row.backbone == name)
        gains = mean_gains(part)
        if (hard, "") not in gains or (easy, "") not in gains:
            continue
        if part.rows[0].n_params is None:
            raise data_error(f"The size of {backbone} is unknown.", "Fill n_params in the table.")
        shared = sorted(gains[hard, ""].keys() & gains[easy, ""].keys())
        contrast[backbone] = float(np.mean([gains[hard, ""][t] - gains[easy, ""][t] for t in shared]))
        size[backbone] = part.rows[0].n_params
    if not contrast:
        raise data_error(f"No base model has gains of both {hard} and {easy}.", "Name two intermediates.")
    names = list(contrast)
    x = np.log10([size[name] for name in names])
    return slope(x, np.array([contrast[name] for name in names]), [family(name) for name in names])


def slice_shift(
    table: RecordTable,
    intermediate: str,
    target: str,
    slices: tuple[str, str],
    items_of: Callable[[Row], Items | None],
    resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Gain on one slice minus gain on another (difference in differences), mean over languages. Unit: the cluster.

    Clusters are drawn jointly for all languages and runs, within slices; seeds are averaged, and their noise that both
    slices share cancels.

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
    rows = [row for row in table.rows if row.target_task == target and row.slice in slices]
    rows = [row for row in rows if row.intermediate in (NONE, intermediate)]
    systems = sorted({(row.intermediate, row.slice, row.target_seed) for row in rows})
    languages = sorted({row.language for row in rows})
    cells = {(row.intermediate, row.slice, row.target_seed, row.language): row for row in rows}
    if not rows or len(cells) != len(systems) * len(languages):
        raise data_error(f"{intermediate} -> {target} lacks runs of both slices.", "Score both slices in every run.")
    tally, strata = Tally(len(systems), len(languages)), {}
    for r, system in enumerate(systems):
        for k, language in enumerate(languages):
            items = items_of(cells[*system, language])
            if items is None:
                raise data_error(f"{intermediate} -> {target} has no items in {language}.", "Give scores of items.")
            tally.add(r, k, items.clusters, items.above, items.below)
            strata |= dict.fromkeys(items.clusters, system[1])
    drawn = resample(
        tally.sums(), _shift_weights(systems, slices), resamples, derived_seed(seed, target),
        np.array(list(strata.values())),
    )  # fmt: skip
    return t_interval(float(drawn.effects.mean()), [drawn.spread(0)], drawn.clusters)


def _shift_weights(systems: Sequence[tuple[str, str, int]], slices: tuple[str, str]) -> np.ndarray:
    """Plus for with on the shifted and without on the reference slice, minus for the others; mean over seeds (R, 1)."""
    counts: Mapping[tuple[str, str], int] = defaultdict(int)
    for name, part, _ in systems:
        counts[name, part] += 1  # type: ignore[index]
    signs = [(1 if name != NONE else -1) * (1 if part == slices[0] else -1) / counts[name, part]
             for name, part, _ in systems]  # fmt: skip
    return np.array(signs)[:, None]
