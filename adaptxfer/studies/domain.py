"""Study domain: does the gain of an intermediate task survive a shift of topic, question, length or data set?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

import numpy as np

from adaptxfer.console import Table
from adaptxfer.errors import AdaptxferError, data_error
from adaptxfer.files import derived_seed
from adaptxfer.studies.answers import ItemsOf, side_tally, slice_pairs, slice_tally, tallied_shift
from adaptxfer.studies.domain_views import (
    DATA_SET,
    axes_table,
    in_points,
    language_maps,
    line_plots,
    robust_table,
    shift_plots,
    sizes_table,
)
from adaptxfer.studies.gain import LEAST_SEEDS, POOLED_CELLS, resample_pairs
from adaptxfer.studies.items import load_items
from adaptxfer.studies.outcomes import paired
from adaptxfer.studies.pairs import APART, Pairs
from adaptxfer.studies.plots import Plot
from adaptxfer.studies.report import Claim, Report
from adaptxfer.studies.robust import FEW, LINE_FROM, AgainstLine, Coefficient, against_line, all_axes
from adaptxfer.studies.slices import axis_labels, sliced
from adaptxfer.studies.stats.correction import holm
from adaptxfer.studies.stats.estimate import (
    ALPHA,
    CONTRADICTED,
    DESCRIPTIVE,
    INCONCLUSIVE,
    SUPPORTED,
    UNDERPOWERED,
    Estimate,
)
from adaptxfer.studies.stats.seeds import Spread, equivalence, paired_spread, t_interval
from adaptxfer.studies.table import NONE, RecordTable

CLUSTERS_NEEDED, ITEMS_NEEDED = 30, 200
"""Fewest clusters and items in each of two slices."""

QUESTION = "Does the gain of an intermediate task on {} survive a shift, that is, change by less than {}?"


@dataclass(frozen=True)
class Shift:
    """The gain on one slice minus that on a reference, for one intermediate.

    Args:
        axis: what the slices differ in.
        slices: the shifted one, then the reference.
        intermediate: whose gain.
        estimate: difference in points; ``n_units`` counts clusters, or seeds between data sets.
        spreads: the parts of its variance.
        enough: whether the slice is large enough for a test.
        why: what is missing if not.
    """

    axis: str
    slices: tuple[str, str]
    intermediate: str
    estimate: Estimate
    spreads: tuple[Spread, ...]
    enough: bool
    why: str = ""


def domain_study(
    table: RecordTable,
    target: str,
    slices: tuple[str, str] | None = None,
    items_of: ItemsOf = load_items,
    margin: float = 1.0,
    resamples: int = 10_000,
    axes: Sequence[str] = (),
    chain: Sequence[str] = (),
) -> Report:
    """Does the gain of each intermediate survive a shift, that is, differ by less than ``margin`` points?

    Each claim is of equivalence (two one-sided tests), corrected over all claims (Holm); it is contradicted if the
    whole interval lies beyond the margin.

    Args:
        table: rows of the target with items.
        target: target task.
        slices: the shifted slice, then the reference, where the rows name slices.
        items_of: where the items of a row come from.
        margin: largest difference that does not matter, in points.
        resamples: bootstrap draws.
        axes: as ``axis_labels``; each slice stands against all other items.
        chain: target tasks, each compared with the one before it.

    Raises:
        AdaptxferError: if runs of a slice, or their items, are missing.
    """
    if target not in table.values("target_task"):
        raise data_error(f"The records hold no run on {target}.", f"They have {', '.join(_targets(table))}.")
    items_of = cache(items_of)
    looked = _Looked()
    if slices:
        looked.at(table, target, "slice", [slices], items_of, resamples)
    labelled: dict[str, dict[str, str]] = {}
    for axis in axes:
        name, labels = axis_labels(axis, table, target)
        labelled[name] = labels
        rows, load, sizes = sliced(table, target, labels, items_of)
        pairs = [(part, f"not {part}") for part in dict.fromkeys(labels.values()) if f"not {part}" in sizes]
        looked.at(rows, target, name, pairs, load, resamples, sizes)
    for after, before in _links(table, chain):
        looked.between(after, before, items_of, resamples)
    if not (found := looked.shifts):
        raise data_error("There is nothing to compare.", "Give --axes, --shifted and --reference, or --chain.")
    options = {"target": target, "margin": margin, "resamples": resamples, "axes": list(axes), "chain": list(chain)}
    notes = [
        "All of MLQA, XQuAD, TyDiQA and SQuAD is Wikipedia: slices differ in topic and form, not in genre.",
        "squad_v1 and squad_v2 as intermediate of a target that trains on SQuAD are the same data (same-source).",
    ]
    together, why = _together(table, target, labelled, items_of)
    notes += [*why, *looked.notes]
    claims = _claims(found, target, margin)
    views = [sizes_table(found), *axes_table(together, CLUSTERS_NEEDED, ITEMS_NEEDED)]
    views += [*robust_table(looked.lines, CLUSTERS_NEEDED), *looked.maps]
    plots = shift_plots(found, [claim.verdict for claim in claims], table, target, margin)
    plots |= line_plots(looked.lines) | looked.plots
    return Report(
        "domain", QUESTION.format(target, in_points(margin)), table, claims, tuple(views), plots, tuple(notes), options
    )


def _together(
    table: RecordTable, target: str, labelled: Mapping[str, Mapping[str, str]], items_of: ItemsOf
) -> tuple[list[Coefficient], list[str]]:
    """All axes in one regression where there are several, or why not."""
    if len(labelled) < 2:
        return [], []
    try:
        found = all_axes(table, target, labelled, items_of)
    except AdaptxferError as error:
        return [], [f"The axes are not looked at together: {error.message}"]
    return found, [] if found else [f"No two slices have {FEW} clusters: the axes are not looked at together."]


def _targets(table: RecordTable) -> list[str]:
    return sorted({row.target_task for row in table.rows if row.study not in APART})


def _intermediates(table: RecordTable, target: str) -> list[str]:
    rows = [row for row in table.rows if row.target_task == target and row.study not in APART]
    return [name for name in dict.fromkeys(row.intermediate for row in rows) if name != NONE]


@dataclass
class _Looked:
    """What slices and data sets have shown so far."""

    shifts: list[Shift] = field(default_factory=list)
    lines: dict[tuple[str, str, str], AgainstLine] = field(default_factory=dict)
    maps: list[Table] = field(default_factory=list)
    plots: dict[str, Plot] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def at(
        self, table: RecordTable, target: str, axis: str, pairs: Sequence[tuple[str, str]], items_of: ItemsOf,
        resamples: int, sizes: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """Look at slices of one axis, each against its reference."""
        names = _intermediates(table, target)
        shifts, by_seed = [], []
        for slices in pairs:
            fewest = min(sizes[part] for part in slices) if sizes else ITEMS_NEEDED
            for name in names:
                both = slice_tally(table, target, slices, [name], items_of)
                estimate, values = tallied_shift(both, target, resamples)
                few = [f"{CLUSTERS_NEEDED} clusters"] if estimate.n_units < CLUSTERS_NEEDED else []
                few += [f"{ITEMS_NEEDED} questions, not {fewest}"] if fewest < ITEMS_NEEDED else []
                why = f"a slice needs {' and '.join(few)}" if few else ""
                spread = Spread(estimate.error**2, max(1, estimate.n_units - 1))
                shifts.append(Shift(axis, slices, name, estimate, (spread,), not few, why))
                by_seed.append(values)
            both = slice_tally(table, target, slices, names, items_of)
            if line := against_line(both, resamples, derived_seed(0, target)):
                self.lines[axis, *slices] = line
        seeds = paired_spread(by_seed)
        self.shifts += [with_seeds(s, seeds, len(v)) for s, v in zip(shifts, by_seed, strict=True)]
        parts = dict.fromkeys(part for slices in pairs for part in (slices[:1] if sizes else slices))
        maps, plots = language_maps(axis, {part: slice_pairs(table, target, part) for part in parts})
        self.maps += maps
        self.plots |= plots

    def between(self, after: Pairs, before: Pairs, items_of: ItemsOf, resamples: int) -> None:
        """Look at one data set against another, in the languages that both have."""
        shifts = list(_set_shifts(after, before, items_of, resamples, self.notes))
        self.shifts += shifts
        if not shifts:
            self.notes.append(f"No intermediate task has a seed on both {after.target} and {before.target}.")
            return
        why = f"they share {len(after.languages)} languages, and a line needs {LINE_FROM}"
        try:
            both = side_tally((after, before), [shift.intermediate for shift in shifts], items_of)
            line = against_line(both, resamples, derived_seed(0, after.target))
        except AdaptxferError as error:
            line, why = None, error.message
        if line:
            self.lines[DATA_SET, after.target, before.target] = line
        else:
            self.notes.append(f"No effective robustness of {after.target} against {before.target}: {why.rstrip('.')}.")


def with_seeds(shift: Shift, seeds: Spread, count: int) -> Shift:
    """The shift with the variance between seeds, pooled over slices and intermediates, added where there is one."""
    if not seeds.df or math.isnan(shift.estimate.low):
        return shift
    parts = (*shift.spreads, seeds.over(count))
    return replace(shift, spreads=parts, estimate=t_interval(shift.estimate.value, parts, shift.estimate.n_units))


def _links(table: RecordTable, chain: Sequence[str]) -> Iterator[tuple[Pairs, Pairs]]:
    """The runs on each data set and on the one before it, in the languages that both have."""
    if missing := [name for name in chain if name not in _targets(table)]:
        raise data_error(f"The records hold no run on {missing[0]}.", f"They have {', '.join(_targets(table))}.")
    known = {pairs.target: pairs for pairs in paired(table)} if chain else {}
    for before, after in pairwise(chain):
        if before not in known or after not in known:
            raise data_error(f"{before} and {after} have no gains to compare.", "Score both with and without.")
        yield _shared_languages(known[after], known[before])


def _set_shifts(one: Pairs, two: Pairs, items_of: ItemsOf, resamples: int, notes: list[str]) -> Iterator[Shift]:
    """The gain on one data set minus that on another, paired by seed."""
    drawn = [resample_pairs(p, resamples, derived_seed(0, p.target), items_of, notes) for p in (one, two)]
    labels = [label for label in one.labels() if label in two.labels()]
    differences = {label: _seed_differences(one, two, label) for label in labels}
    seeds = paired_spread([d for d in differences.values() if len(d)])
    for label, values in differences.items():
        if not len(values):
            continue
        parts = [seeds.over(len(values))]
        parts += [d.spread(p.labels().index(label)) for d, p in zip(drawn, (one, two), strict=True) if d]
        estimate = t_interval(float(values.mean()), parts, len(values))
        least = LEAST_SEEDS[sum(len(d) > 1 for d in differences.values()) >= POOLED_CELLS]
        enough = len(values) >= least and not math.isnan(estimate.p)
        why = "" if enough else f"{least} seeds are needed, or {POOLED_CELLS} intermediates to pool them"
        yield Shift(DATA_SET, (one.target, two.target), label, estimate, tuple(parts), enough, why)


def _shared_languages(one: Pairs, other: Pairs) -> tuple[Pairs, Pairs]:
    shared = [language for language in one.languages if language in other.languages]
    if not shared:
        raise data_error(f"{one.target} and {other.target} share no language.", "Score both in one language.")

    def cut(pairs: Pairs) -> Pairs:
        places = [pairs.languages.index(language) for language in shared]
        rows = {key: tuple(by[place] for place in places) for key, by in pairs.rows.items()}
        return replace(pairs, languages=tuple(shared), rows=rows)

    return cut(one), cut(other)


def _seed_differences(one: Pairs, two: Pairs, label: str) -> np.ndarray:
    """Gain on one minus gain on the other for the seeds that both have, mean over languages (S,)."""
    seeds = [seed for seed in one.seeds(label) if seed in two.seeds(label)]
    sides = [p.differences(label).mean(0)[[p.seeds(label).index(s) for s in seeds]] for p in (one, two)]
    return sides[0] - sides[1]


def _claims(found: Sequence[Shift], target: str, margin: float) -> tuple[Claim, ...]:
    tested = [equivalence(s.estimate.value, s.spreads, margin) if s.enough else math.nan for s in found]
    claims = []
    for shift, p in zip(found, map(float, holm(tested)), strict=True):
        between = shift.axis == DATA_SET
        on = "" if between else f" on {target}"
        where = shift.slices[0] if between else f"{shift.axis} {shift.slices[0]}"
        same = f"is the same on {where} as on {shift.slices[1]}, to {in_points(margin)}"
        said = f"The gain of {shift.intermediate}{on} {same}."
        estimate, unit = replace(shift.estimate, p=p), "seeds" if between else "clusters"
        claims.append(Claim(said, estimate, unit, survives(shift, p, margin), shift.why))
    return tuple(claims)


def survives(shift: Shift, p: float, margin: float) -> str:
    """The verdict on "the gain is the same to ``margin`` points"; ``p`` is that of the equivalence test."""
    estimate = shift.estimate
    if not shift.enough or math.isnan(p):
        return DESCRIPTIVE
    if p <= ALPHA:
        return SUPPORTED
    if estimate.high < -margin or estimate.low > margin:
        return CONTRADICTED
    return UNDERPOWERED if estimate.half_width > margin else INCONCLUSIVE
