"""Study generalise: do gains, rankings and choices made on one benchmark hold on tasks that were not in it?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from adaptxfer.console import Cell, Table
from adaptxfer.errors import AdaptxferError, data_error, nearest
from adaptxfer.studies.gain import ItemsOf, gain_matrix
from adaptxfer.studies.items import load_items
from adaptxfer.studies.outcomes import mean_gains, paired
from adaptxfer.studies.pairs import APART
from adaptxfer.studies.plots import Forest, HeatMap, Line, Plot, Slopes
from adaptxfer.studies.report import Claim, Report
from adaptxfer.studies.stats.correction import benjamini_hochberg
from adaptxfer.studies.stats.correlation import rank_transfer
from adaptxfer.studies.stats.estimate import (
    CONFIRM_FROM,
    CONTRADICTED,
    DESCRIBE_BELOW,
    DESCRIPTIVE,
    INCONCLUSIVE,
    SUPPORTED,
    Estimate,
    correlation_verdict,
    verdict,
)
from adaptxfer.studies.stats.mixed import MISSING, can_fit, mixed_slope
from adaptxfer.studies.stats.seeds import Spread, prediction_interval, t_interval
from adaptxfer.studies.table import NONE, RecordTable
from adaptxfer.studies.views import interval_text, p_text
from adaptxfer.tasks.suites import list_suites, load_suite

TASKS_NEEDED = 3
"""Fewest held-out tasks for the test of their mean gain; a prediction interval wants five."""

RELEVANT = 1.0
VARIANT = "_xr"
"""XTREME-R's edition of a task of XTREME: not a new task."""


@dataclass(frozen=True)
class Split:
    """Gains on the tasks that are chosen by and on those that are held out.

    Args:
        names: intermediates that have all of them (I,).
        known: tasks of the benchmark (A,).
        new: held-out tasks (B,).
        before: gains on the former (A, I), points.
        after: gains on the latter (B, I), points.
    """

    names: tuple[str, ...]
    known: tuple[str, ...]
    new: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray

    @cached_property
    def chosen(self) -> int:
        """The intermediate with the largest mean gain on the benchmark."""
        return int(self.before.mean(0).argmax())


def split_tasks(
    table: RecordTable, known: Sequence[str], new: Sequence[str], folders: Sequence[Path] = ()
) -> tuple[list[str], list[str]]:
    """Target tasks of the records in the benchmark, and held-out ones.

    Args:
        table: records.
        known: suites or tasks that count as the benchmark.
        new: suites or tasks to generalise to; what the benchmark has too, in any edition, is not held out.
        folders: of further task files.

    Raises:
        AdaptxferError: if a name is neither a suite nor a task of the records, or a side is empty.
    """
    there = list(dict.fromkeys(row.target_task for row in table.rows if row.study not in APART))

    def members(names: Iterable[str]) -> list[str]:
        suites, found = list_suites(folders), []
        for name in names:
            if name in there:
                found.append(name)
            elif name in suites:
                found += load_suite(name, folders).tasks
            elif starting := [suite for suite in suites if suite.startswith(name)]:
                found += load_suite(starting[0], folders).tasks
            else:
                raise data_error(
                    f"{name!r} is neither a suite nor a task of the records.", nearest(name, [*suites, *there])
                )
        return list(dict.fromkeys(found))

    benchmark = members(known)
    same = {name.removesuffix(VARIANT) for name in benchmark}
    held = [name for name in members(new) if name.removesuffix(VARIANT) not in same]
    sides = [name for name in benchmark if name in there], [name for name in held if name in there]
    for side, asked, all_of in zip(sides, (known, new), (benchmark, held), strict=True):
        if not side:
            hint = f"Wanted one of {', '.join(all_of) or 'none that is new'}; the records have {', '.join(there)}."
            raise data_error(f"The records hold no task of {', '.join(asked)} to compare.", hint)
    return sides


def split_gains(table: RecordTable, known: Sequence[str], new: Sequence[str]) -> Split:
    """Gains of the intermediates that every task of both sides has.

    Raises:
        AdaptxferError: if fewer than two have.
    """
    gains = {name: by for (name, checkpoint), by in mean_gains(table).items() if not checkpoint}
    wanted = {*known, *new}
    names = tuple(sorted(name for name, by in gains.items() if wanted <= by.keys()))
    if len(names) < 2:
        hint = "`adaptxfer gain` shows what is there; --dry-run lists what is missing."
        raise data_error(f"{len(names)} intermediates have gains on all of {', '.join(sorted(wanted))}.", hint)
    sides = [np.array([[gains[name][task] for name in names] for task in tasks]) for tasks in (known, new)]
    return Split(names, tuple(known), tuple(new), *sides)


def mean_gain(gains: np.ndarray) -> Estimate:
    """Mean of gains (tasks, intermediates), both taken as samples: the variances of the two kinds of means add up.

    Their sum counts the interaction twice, which errs on the safe side. Unit: the task.
    """
    parts = [_spread(gains.mean(0)), _spread(gains.mean(1))]
    return t_interval(float(gains.mean()), parts, len(gains))


def _spread(means: np.ndarray) -> Spread:
    n = len(means)
    return Spread(float(means.var(ddof=1)) / n, n - 1) if n > 1 else Spread(math.nan, 0)


def choice(split: Split) -> Estimate:
    """What the benchmark's best brings on held-out tasks more than the mean intermediate, in points.

    p: the share of intermediates that do at least as well there, for by luck any of them could have been chosen. Unit:
    the intermediate; with fewer than twenty it cannot fall to 5 %.
    """
    means = split.after.mean(0)
    value = float(means[split.chosen] - means.mean())
    return Estimate(value, math.nan, math.nan, float((means >= means[split.chosen]).mean()), len(means))


def generalise_study(
    table: RecordTable,
    known: Sequence[str],
    new: Sequence[str],
    items_of: ItemsOf = load_items,
    always: str = "mnli",
    permutations: int = 10_000,
    resamples: int = 1000,
) -> Report:
    """Do gains hold on tasks outside the benchmark, do rankings carry over, and does choosing by it pay?

    Args:
        table: records of one base model and method.
        known: tasks of the benchmark.
        new: held-out tasks.
        items_of: where items come from, for the intervals of single tasks.
        always: the intermediate that a lazy choice takes.
        permutations: drawn orders of the intermediates.
        resamples: bootstrap draws for the intervals of single tasks.

    Raises:
        AdaptxferError: if fewer than two intermediates have gains on all tasks.
    """
    split = split_gains(table, known, new)
    mean, ranks = mean_gain(split.after), rank_transfer(split.before.mean(0), split.after, permutations)
    picked = choice(split)
    best = split.names[split.chosen]
    matrix = gain_matrix(table.where(lambda row: row.target_task in (*known, *new)), resamples, items_of=items_of)
    cells = {(g.intermediate, g.target): g.estimate for g in matrix.cells if g.intermediate in split.names}
    errors = np.array([cells[best, task].error for task in new])
    tasks = prediction_interval(split.after[:, split.chosen], errors**2)
    ahead = Estimate(tasks.mean.value, tasks.low, tasks.high, math.nan, tasks.n_units)
    few = f"{DESCRIBE_BELOW} intermediates are needed" if len(split.names) < DESCRIBE_BELOW else ""
    claims = (
        Claim("Intermediate tasks gain on held-out tasks too (mean over both).", mean, "held-out tasks",
              verdict(mean, TASKS_NEEDED, relevant=RELEVANT),
              f"{TASKS_NEEDED} held-out tasks are needed" if len(new) < TASKS_NEEDED else ""),
        Claim("The ranking of intermediate tasks carries over to held-out tasks (Kendall's tau, mean).", ranks,
              "intermediates", correlation_verdict(ranks), few),
        Claim(f"{best}, chosen on the benchmark, brings more on held-out tasks than the mean intermediate.", picked,
              "intermediates", correlation_verdict(picked), few or _choice_note(split)),
        Claim(f"{best} will gain on a further task (95 % prediction interval).", ahead, "held-out tasks",
              _ahead(ahead, tasks.reliable), "" if tasks.reliable else "not estimable reliably below five tasks"),
    )  # fmt: skip
    views = [_ranks(split, permutations), _choices(split, always)]
    views += _mixed(split) if can_fit() else []
    options = {"from": list(known), "to": list(new), "permutations": permutations, "resamples": resamples}
    notes = (*matrix.notes, "An encoder does not translate: FLORES is scored by retrieval, and no BLEU is given.")
    notes += () if can_fit() else (MISSING,)
    return Report(
        "generalise", "Do the gains of intermediate tasks hold on tasks and domains outside the benchmark?", table,
        claims, tuple(views), _plots(split, table, cells, ahead), notes, options,
    )  # fmt: skip


def _choice_note(split: Split) -> str:
    return f"{CONFIRM_FROM} intermediates are needed for 5 %" if len(split.names) < CONFIRM_FROM else ""


def _ahead(estimate: Estimate, reliable: bool) -> str:
    if not reliable or math.isnan(estimate.low):
        return DESCRIPTIVE
    return SUPPORTED if estimate.low > 0 else CONTRADICTED if estimate.high < 0 else INCONCLUSIVE


def _ranks(split: Split, permutations: int) -> Table:
    found = [rank_transfer(split.before.mean(0), after[None], permutations) for after in split.after]
    adjusted = benjamini_hochberg([e.p if e.n_units >= DESCRIBE_BELOW else math.nan for e in found])
    rows: list[list[Cell]] = [
        [task, f"{e.value:+.2f}", interval_text(e.low, e.high), p_text(e.p), p_text(float(p)), e.n_units]
        for task, e, p in zip(split.new, found, adjusted, strict=True)
    ]
    columns = ["held-out task", *((n, "right") for n in ("tau", "95 %", "p", "corrected", "intermediates"))]
    return Table("Ranking on the benchmark against each held-out task (exploratory)", columns, rows,
                 "Kendall's tau; p by permuting intermediates, corrected by Benjamini-Hochberg")  # fmt: skip


def _mixed(split: Split) -> list[Table]:
    """Held-out tasks against those of the benchmark with crossed random intermediates and tasks; unit: the task."""
    tasks, names = [*split.known, *split.new], split.names
    if min(len(split.known), len(split.new)) < TASKS_NEEDED or len(names) < DESCRIBE_BELOW:
        return []
    gains = np.concatenate([split.before, split.after])
    held = np.repeat([0.0] * len(split.known) + [1.0] * len(split.new), len(names))
    factors = {"task": [task for task in tasks for _ in names], "intermediate": list(names) * len(tasks)}
    found = mixed_slope(gains.ravel(), held, factors, "task")
    row: list[Cell] = [f"{found.value:+.2f}", interval_text(found.low, found.high), p_text(found.p), found.n_units]
    columns = [(name, "right") for name in ("held-out minus benchmark", "95 %", "p", "tasks")]
    return [Table("Mixed model", columns, [row], "points; intermediates and tasks crossed (exploratory)")]


def _choices(split: Split, always: str) -> Table:
    """What each way of choosing brings and loses on the held-out tasks."""
    best = np.maximum(split.after.max(1), 0.0)  # none is a choice too
    ways = {f"best on the benchmark ({split.names[split.chosen]})": split.after[:, split.chosen],
            "random (expected)": split.after.mean(1), NONE: np.zeros(len(split.new)), "oracle": best}  # fmt: skip
    if always in split.names:
        ways[f"always {always}"] = split.after[:, split.names.index(always)]
    rows: list[list[Cell]] = [
        [name, f"{gain.mean():+.2f}", f"{(best - gain).mean():.2f}", f"{(best - gain).max():.2f}", len(best)]
        for name, gain in sorted(ways.items(), key=lambda way: -way[1].mean())
    ]
    columns = ["choice", *((name, "right") for name in ("gain", "regret", "worst regret", "held-out tasks"))]
    return Table("Choosing on the benchmark, applied to held-out tasks", columns, rows, "points, mean over tasks")


def _plots(
    split: Split, table: RecordTable, cells: dict[tuple[str, str], Estimate], ahead: Estimate
) -> dict[str, Plot]:
    best = split.names[split.chosen]
    order = [np.argsort(np.argsort(-gains.mean(0))) + 1.0 for gains in (split.before, split.after)]
    ranks = {name: (float(order[0][i]), float(order[1][i])) for i, name in enumerate(split.names)}
    lines = [Line(f"{task}{'' if task in split.new else ' (benchmark)'}", *_of(cells[best, task]))
             for task in (*split.new, *split.known)]  # fmt: skip
    lines.append(Line("mean of held-out tasks", ahead.value, wide=(ahead.low, ahead.high)))
    tasks = (*split.known, *split.new)
    gains = np.concatenate([split.before, split.after]).T
    columns = [task if task in split.known else f"{task} (new)" for task in tasks]
    plots: dict[str, Plot] = {
        "ranks": Slopes("Rank of intermediate tasks", ("benchmark", "held-out tasks"), ranks),
        "gains-of-the-chosen": Forest(f"Gains of {best}", lines, caption="thin line: 95 % prediction interval"),
        "gains": HeatMap("Gains by target task", split.names, columns, gains),
    }
    for task in split.new:
        plots[f"languages-{task}"] = language_map(table, task)
    return plots


def _of(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def language_map(table: RecordTable, target: str) -> HeatMap:
    """Gains on one target by intermediate and language.

    Raises:
        AdaptxferError: if it has none.
    """
    for pairs in paired(table.where(lambda row: row.target_task == target)):
        values = np.array([pairs.differences(label).mean(1) for label in pairs.labels()])
        return HeatMap(f"Gains on {target} by language", pairs.labels(), pairs.languages, values)
    raise AdaptxferError(f"{target} has no gains.")
