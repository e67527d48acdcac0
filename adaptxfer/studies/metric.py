"""Study metric: which score of an intermediate module tells what it will bring?"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import product

import numpy as np

from adaptxfer.console import Cell, Table
from adaptxfer.errors import AdaptxferError, data_error
from adaptxfer.studies.answers import joined, metric_across, metric_within
from adaptxfer.studies.outcomes import OUTCOMES, mean_gains, outcome, own_metrics, own_scores, paired
from adaptxfer.studies.pairs import OWN_SCORE, STEPS
from adaptxfer.studies.plots import HeatMap, Points
from adaptxfer.studies.report import Claim, Report
from adaptxfer.studies.selection import regret
from adaptxfer.studies.stats.correction import holm
from adaptxfer.studies.stats.correlation import compare_dependent, partial_out, reliability, repeated_measures
from adaptxfer.studies.stats.estimate import CONFIRM_FROM, DESCRIBE_BELOW, Estimate, correlation_verdict
from adaptxfer.studies.stats.mixed import MISSING, can_fit, mixed_slope
from adaptxfer.studies.table import RecordTable
from adaptxfer.studies.views import p_text

LOWER_IS_BETTER = ("nll", "ece")
ASIDE, LEAST = ("majority", STEPS), 3
"""Numbers about a module that are no metrics; intermediates that a metric needs to be looked at unasked."""

CLEAR = ("supported", "contradicted")
NUMBER = re.compile(r"\D*(\d+)")
"""Checkpoints of tables from elsewhere may be named by their steps."""

Grid = dict[tuple[str, str], Estimate]


def metric_study(
    table: RecordTable, metrics: Sequence[str] = (), outcomes: Sequence[str] = (), permutations: int = 10_000
) -> Report:
    """Do intermediates, or checkpoints of one, that score higher themselves lead to more?

    The claims, one for each design, metric and outcome, are one family (Holm). The first metric is ``score``, the main
    one of each intermediate; others exist only where the intermediate's kind has them.

    Args:
        table: own scores and gains.
        metrics: of own scores; empty for all that at least three intermediates have.
        outcomes: names of ``OUTCOMES``; empty for all that the records have.
        permutations: drawn orders of the intermediates.

    Raises:
        AdaptxferError: if fewer than three intermediates have an own score and gains.
    """
    metric_across(table, 1)  # says what is missing
    names = list(metrics) or _metrics(table)
    wanted = list(outcomes) or [name for name in OUTCOMES if outcome(table, name)]
    within: Grid = {}
    if any(checkpoint for _, checkpoint in own_scores(table)):
        within = {(m, o): metric_within(table, m, o) for m in names for o in wanted}
    across: Grid = {}
    for m in names:
        for o in wanted:
            try:
                across[m, o] = metric_across(table, permutations, metric=m, to=o)
            except AdaptxferError:  # too few intermediates have it: not asked of this metric
                continue
    claims = _claims([("checkpoint of an intermediate task", within), ("intermediate task", across)])
    clear = {key for key, c in zip(across, claims[len(within) :], strict=True) if c.verdict in CLEAR}
    views = [
        _own_table(table),
        _decisions(table, names),
        *_comparison(table, names),
        *_without_steps(table, names, wanted),
    ]
    views += reliability_table(table)
    notes = ["Correlations over fewer than seven intermediates only describe; below twenty they explore."]
    notes += [] if metrics else _too_rare(table)
    if can_fit():
        views += _mixed(table, names, wanted)
    else:
        notes.append(MISSING)
    options = {"metrics": names, "outcomes": wanted, "permutations": permutations}
    return Report(
        "metric", "Which score of an intermediate module tells what it will bring to target tasks?", table,
        tuple(claims), tuple(views), _plots(table, names, wanted, across, clear), tuple(notes), options,
    )  # fmt: skip


def _metrics(table: RecordTable) -> list[str]:
    """``score``, and what else at least three intermediates have; not what repeats the main metric of all of them."""
    names = [name for name in [*own_metrics(table), "normalised"] if name not in ASIDE]
    seen: list[dict] = []
    found = []
    for name in names:
        own = own_scores(table, name)
        if len({key[0] for key in own}) >= LEAST and own not in seen:
            seen.append(own)
            found.append(name)
    return found


def _too_rare(table: RecordTable) -> list[str]:
    """A note on the metrics that are shown and not correlated."""
    owners = {name: {key[0] for key in own_scores(table, name)} for name in own_metrics(table) if name not in ASIDE}
    rare = [f"{name} ({', '.join(sorted(who))})" for name, who in owners.items() if len(who) < LEAST]
    told = f"of fewer than {LEAST} intermediates, so not correlated unless --metrics asks for it"
    return [f"{', '.join(rare)}: {told}."] if rare else []


def _own_table(table: RecordTable) -> Table:
    """What each intermediate, fully trained, scores on its own English dev data; a dash where a metric is missing."""
    names = own_metrics(table)[1:]
    scores = {name: own_scores(table, name) for name in names}
    keys = dict.fromkeys(key for by in scores.values() for key in by if not key[1])
    rows: list[list[Cell]] = [
        [key[0], *(f"{scores[n][key]:.{0 if n == STEPS else 2}f}" if key in scores[n] else "–" for n in names)]
        for key in keys
    ]
    caption = "mean over seeds; nll in nats, steps of training, all others in points"
    return Table("Scores of intermediates", ["intermediate", *((name, "right") for name in names)], rows, caption)


def _claims(designs: Sequence[tuple[str, Grid]]) -> list[Claim]:
    entries = [(what, key, estimate) for what, grid in designs for key, estimate in grid.items()]
    tested = [e.p if e.n_units >= DESCRIBE_BELOW else math.nan for _, _, e in entries]
    claims = []
    for (what, (metric, to), estimate), p in zip(entries, map(float, holm(tested)), strict=True):
        text = f"A better {what} by {metric} leads to {_meaning(to)} (correlation)."
        if metric in LOWER_IS_BETTER:
            text = text.replace("better", "lower-scoring").replace("by", "in")
            estimate = Estimate(-estimate.value, -estimate.high, -estimate.low, estimate.p, estimate.n_units)
        claims.append(Claim(text, estimate, "intermediates", correlation_verdict(estimate, p), _why(estimate)))
    return claims


def _why(estimate: Estimate) -> str:
    if estimate.n_units < DESCRIBE_BELOW:
        return f"{DESCRIBE_BELOW} intermediates are needed"
    return "exploratory" if estimate.n_units < CONFIRM_FROM else ""


def _meaning(to: str) -> str:
    said = ("a larger gain", "higher scores in other languages", "higher English scores", "a larger gap to English")
    return dict(zip(OUTCOMES, said, strict=True))[to]


def _decisions(table: RecordTable, metrics: Sequence[str]) -> Table:
    """What choosing by each metric costs, mean over targets."""
    gains = {name: by for (name, checkpoint), by in mean_gains(table).items() if not checkpoint}
    targets = sorted(set.intersection(*(set(by) for by in gains.values())))
    rows: list[list[Cell]] = []
    for metric in metrics:
        own = {name: value for (name, checkpoint), value in own_scores(table, metric).items() if not checkpoint}
        sign = -1 if metric in LOWER_IS_BETTER else 1
        scores = {name: sign * own[name] for name in gains if name in own}
        if len(scores) < 2 or not targets:
            continue
        lost = [regret(scores, {name: gains[name][t] for name in scores}) for t in targets]
        rows.append([metric, f"{np.mean(lost):.2f}", f"{max(lost):.2f}", len(scores), len(targets)])
    names = [(name, "right") for name in ("regret", "worst", "intermediates", "targets")]
    return Table("Choosing by each metric", ["metric", *names], rows,
                 "points lost against the best of the intermediates that have the metric")  # fmt: skip


def _comparison(table: RecordTable, metrics: Sequence[str]) -> list[Table]:
    """Which of two metrics goes more with the mean gain (Williams's t)."""
    gains, rows = mean_gains(table), []
    for place, first in enumerate(metrics):
        for second in metrics[place + 1 :]:
            one, other = own_scores(table, first), own_scores(table, second)
            shared = {key: one[key] for key in one.keys() & other.keys()}
            try:
                names, a, matrix = joined(shared, gains)
            except AdaptxferError:
                continue
            b, y = np.array([other[name, ""] for name in names]), matrix.mean(0)
            if min(x.std() for x in (a, b, y)) < 1e-12:
                continue
            r = np.corrcoef([a, b, y])
            found = compare_dependent(r[0, 2], r[1, 2], r[0, 1], len(names))
            rows.append([first, second, f"{r[0, 2]:+.2f}", f"{r[1, 2]:+.2f}", p_text(found.p), len(names)])
    columns = ["metric", "against", *((name, "right") for name in ("r", "r of the other", "p", "intermediates"))]
    caption = "Pearson with the mean gain; p: Williams's t for the difference, not corrected (exploratory)"
    return [Table("Metrics against one another", columns, rows, caption)] if rows else []


def _without_steps(table: RecordTable, metrics: Sequence[str], wanted: Sequence[str]) -> list[Table]:
    """The correlation within intermediates once log steps are taken out of both, for both grow with the training."""
    rows: list[list[Cell]] = []
    named = {key: float(said[1]) for key in own_scores(table) if (said := NUMBER.fullmatch(key[1]))}
    steps = named | own_scores(table, STEPS)
    for metric, to in product(metrics, wanted):
        own, found = own_scores(table, metric), outcome(table, to)
        keys = sorted(own.keys() & found.keys() & steps.keys())
        if len(keys) < 4 or len({steps[key] for key in keys}) < 2:
            continue
        log = np.log([max(1, steps[key]) for key in keys])
        x, y = np.array([own[key] for key in keys]), np.array([np.mean(list(found[key].values())) for key in keys])
        subject = np.array([key[0] for key in keys])
        both = [repeated_measures(x, y, subject), repeated_measures(partial_out(x, log), partial_out(y, log), subject)]
        shown = [text for e in both for text in (f"{e.value:+.2f}", p_text(e.p))]
        rows.append([metric, to, *shown, both[0].n_units])
    numbers = [(name, "right") for name in ("r", "p", "r without steps", "p without", "intermediates")]
    caption = "checkpoints whose training steps the records know; not corrected (exploratory)"
    columns = ["metric", "outcome", *numbers]
    return [Table("Within intermediates, with and without training steps", columns, rows, caption)] if rows else []


def reliability_table(table: RecordTable) -> list[Table]:
    """How well one seed tells of another: the most any correlation can reach is the root of the product of two."""
    own: dict[str, dict[int, float]] = {}
    for row in table.rows:
        if row.study == OWN_SCORE and not row.intermediate_checkpoint:
            own.setdefault(row.intermediate, {}).setdefault(row.target_seed, row.value)  # the main score comes first
    gains: dict[str, dict[int, list[float]]] = {}
    for pairs in paired(table.where(lambda row: not row.intermediate_checkpoint)):
        for label in pairs.labels():
            for seed, value in zip(pairs.seeds(label), pairs.differences(label).mean(0), strict=True):
                gains.setdefault(label, {}).setdefault(seed, []).append(float(value))
    means = {label: {seed: float(np.mean(v)) for seed, v in by.items()} for label, by in gains.items()}
    rows: list[list[Cell]] = []
    for what, values in (("own score", own), ("mean gain", means)):
        common = sorted(set.intersection(*map(set, values.values()))) if values else []
        if len(common) > 1 and len(values) > 2:
            found = reliability(np.array([[by[seed] for seed in common] for by in values.values()]))
            rows.append([what, f"{found:.2f}", len(common), len(values)])
    columns = ["what", *((name, "right") for name in ("reliability of one seed", "seeds", "intermediates"))]
    return (
        [Table("Reliability over seeds", columns, rows, "intraclass correlation; caps every correlation")]
        if rows
        else []
    )


def _mixed(table: RecordTable, metrics: Sequence[str], wanted: Sequence[str]) -> list[Table]:
    """Slopes with crossed random intermediates and targets, on cell means."""
    rows: list[list[Cell]] = []
    for metric, to in product(metrics, wanted):
        try:
            names, own, matrix = joined(own_scores(table, metric), outcome(table, to))
        except AdaptxferError:
            continue
        if len(matrix) < 2 or len(names) < DESCRIBE_BELOW or own.std() < 1e-12:
            continue
        factors = {"intermediate": names * len(matrix), "target": [str(k) for k in range(len(matrix)) for _ in names]}
        found = mixed_slope(matrix.ravel(), np.tile(own / own.std(), len(matrix)), factors, "intermediate")
        ends = f"[{found.low:+.2f}, {found.high:+.2f}]"
        rows.append([metric, to, f"{found.value:+.2f}", ends, p_text(found.p), found.n_units])
    columns = ["metric", "outcome", *((name, "right") for name in ("slope", "95 %", "p", "intermediates"))]
    caption = "points per standard deviation of the metric; crossed random intermediates and targets (exploratory)"
    return [Table("Mixed model", columns, rows, caption)] if rows else []


def _plots(
    table: RecordTable, metrics: Sequence[str], wanted: Sequence[str], across: Grid, clear: set[tuple[str, str]]
) -> dict[str, Points | HeatMap]:
    own, gains = own_scores(table), mean_gains(table)
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for key in sorted(own.keys() & gains.keys()):
        x, y = groups.setdefault(key[0], ([], []))
        x.append(own[key])
        y.append(float(np.mean(list(gains[key].values()))))
    groups = {name: tuple(map(list, zip(*sorted(zip(*xy, strict=True)), strict=True))) for name, xy in groups.items()}  # type: ignore[misc]
    values = np.array([[across[m, o].value if (m, o) in across else np.nan for o in wanted] for m in metrics])
    marks = [["*" if (m, o) in clear else "" for o in wanted] for m in metrics]
    return {
        "score-and-gain": Points("Own score and gain", "score on the intermediate task itself", "mean gain in points",
                                 groups, joined=any(key[1] for key in own)),
        "correlations": HeatMap("Mean within-target correlation over intermediates", metrics, wanted, values, marks,
                                "Spearman", "* significant after correction", 2, 1.0),
    }  # fmt: skip


def check_names(metrics: Sequence[str], outcomes: Sequence[str], table: RecordTable) -> None:
    """Refuse names the table does not know.

    Raises:
        AdaptxferError: naming the first of them.
    """
    for names, known in ((metrics, [*own_metrics(table), "normalised"]), (outcomes, list(OUTCOMES))):
        for name in names:
            if name not in known:
                raise data_error(f"The records have no {name!r}.", f"Known: {', '.join(known)}.")
