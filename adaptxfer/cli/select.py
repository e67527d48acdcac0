"""``adaptxfer select``: which intermediate task, or none, for a target task."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptxfer.cli.ask import FIRST, TRAINING, takes
from adaptxfer.console import Cell, Table, console
from adaptxfer.errors import AdaptxferError, use_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptxfer.modules.bundle import Bundle
    from adaptxfer.runs.settings import Ask
    from adaptxfer.studies.probes import Fit
    from adaptxfer.studies.select.predict import Prediction
    from adaptxfer.studies.select.search import Search, Tried
    from adaptxfer.studies.table import RecordTable

OPTIONS = ("method", "batch_size", "learning_rate", "max_length", "dev_limit")
SHOWN = ("logme", "h_score", "tokens", "text", "task", "alignment", "overlap", "variety")

RISK = 0.1
"""Probability of harm from which on advice names it."""

From = Annotated[
    list[str] | None,
    typer.Option("--from", help="Bundle or run; repeat. Default: all of model and method, but no shams."),
]
Budget = Annotated[
    float | None, typer.Option(help="Try candidates in short trainings of so many tokens in all, e.g. 2e6.", min=1)
]
Layers = Annotated[str, typer.Option(help="LogME and H-score: of the last layer, or best or mean over four depths.")]
Evaluate = Annotated[
    list[Path] | None, typer.Option(help="Evaluate selectors on these runs or tables instead; repeat.")
]


@takes(FIRST, {name: TRAINING[name] for name in OPTIONS})
def select(
    to: Annotated[str | None, typer.Option("--to", help="Target task to choose an intermediate task for.")] = None,
    from_: From = None,
    lang: Annotated[str | None, typer.Option("--lang", help="Choose for this language (default: all).")] = None,
    limit: Annotated[int, typer.Option(help="Examples and sentences to look at.", min=20)] = 500,
    parallel: Annotated[
        str | None, typer.Option(help="Retrieval task with translations (default: flores200 or tatoeba).")
    ] = None,
    records: Annotated[
        list[Path] | None, typer.Option(help="Runs or tables to learn gains from; repeat (default: --runs).")
    ] = None,
    layers: Layers = "last",
    save: Annotated[Path | None, typer.Option(help="Write what is found as a record table (CSV).")] = None,
    budget: Budget = None,
    seed: Annotated[int, typer.Option(help="With --budget: seed of the trainings.", min=0)] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --budget: show the rounds, train nothing.")] = False,
    evaluate: Evaluate = None,
    always: Annotated[str, typer.Option(help="With --evaluate: the intermediate that is always taken.")] = "mnli",
    *,
    options: dict[str, Any],
) -> None:
    """Choose an intermediate task, or none, for a target task before training on it.

    Forward passes over English training data tell how well each module's features fit the labels, how alike the tasks
    are, and what the module does to translations. With records of gains on other targets: predicted gains.
    --budget tries the candidates instead, in rounds that halve them. --evaluate tells what following each selector
    would have cost, target by target.
    """
    if evaluate:
        _evaluate_selectors(evaluate, always, lang, options.get("model"), options.get("method"))
        return
    if to is None:
        raise use_error("There is no target task.", "Give --to TASK, or --evaluate RECORDS.")
    if budget is None and dry_run:
        raise use_error("--dry-run belongs to --budget.", "Give --budget TOKENS; looking at modules trains nothing.")
    from adaptxfer.api import make_ask
    from adaptxfer.runs.plan import find_task

    ask = make_ask(**options)
    task, bundles = find_task(to, ask, "target"), _bundles(from_, ask)
    if budget is not None:
        from adaptxfer.studies.select.search import plan_search

        _search(plan_search(task, bundles, ask, seed, budget), dry_run)
        return
    from adaptxfer.studies.probes import fit_modules
    from adaptxfer.studies.table import RecordTable, write_csv

    fits = fit_modules(task, bundles, ask, limit, [lang] if lang else None, parallel, layers)
    if save:
        rows = [row for fit in fits for row in fit.rows(to, ask.model, ask.method)]
        write_csv(save, RecordTable(tuple(rows)))
    found, why = _predicted(to, fits, ask, records, lang)
    document = {"schema": 1, "task": to, "language": lang, "limit": limit, "layers": layers,
                "modules": [vars(fit) for fit in fits],
                "predictions": [_known(vars(item)) for item in found], "advice": why}  # fmt: skip
    console().result(document, _fit_table(to, fits), *([_prediction_table(to, found)] if found else []), why)


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in values.items()}


def _fit_table(to: str, fits: Sequence[Fit]) -> Table:
    shown = [name for name in SHOWN if any(name in fit.values for fit in fits)]
    rows: list[list[Cell]] = [
        [fit.intermediate, fit.seed, *(_number(name, fit.values.get(name)) for name in shown)] for fit in fits
    ]
    columns = ["intermediate", ("seed", "right"), *((name, "right") for name in shown)]
    caption = f"{fits[0].vectors:,} labelled vectors; higher is better; these numbers rank, they are no points"
    return Table(f"Modules for {to}, best LogME first", columns, rows, caption)  # type: ignore[arg-type]


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if name == "tokens" else f"{value:+.1f}" if name == "alignment" else f"{value:.3f}"


def _predicted(
    to: str, fits: Sequence[Fit], ask: Ask, sources: list[Path] | None, lang: str | None
) -> tuple[list[Prediction], str]:
    """Predicted gains where records allow them, and what to do in a sentence."""
    from adaptxfer.studies.select.predict import NEEDED, predict

    values: dict[str, dict[str, list[float]]] = {}
    for fit in fits:
        for name, value in fit.values.items():
            values.setdefault(name, {}).setdefault(fit.intermediate, []).append(value)
    means = {name: {who: sum(v) / len(v) for who, v in by.items()} for name, by in values.items()}
    try:
        found = predict(_records(sources or [ask.runs], ask), to, means, lang)
    except AdaptxferError as error:
        if sources:
            raise
        return [], f"No gains are predicted: {error.message} --records names other runs."
    if not found:
        return [], "There is nothing but none to predict for."
    best, few = found[0], f" Only {found[0].n_units} targets, {NEEDED} are needed: this describes, it does not tell."
    told = f"Take {best.intermediate}" if best.gain > 0 else "Take none: no intermediate is expected to gain anything"
    if best.gain > 0 and len(found) > 1 and best.gain - found[-1].gain < 0.005:
        told = "No candidate stands out"
    told += f" ({best.gain:+.1f} points expected for {best.intermediate})."
    if best.gain > 0 and best.p_harm > RISK:
        told += f" It may do harm as well (P = {best.p_harm:.2f})."
    return found, told + ("" if best.reliable else few)


def _records(sources: list[Path], ask: Ask) -> RecordTable:
    from adaptxfer.runs.settings import model_name
    from adaptxfer.studies.collect import read_table
    from adaptxfer.studies.pairs import one_composition
    from adaptxfer.studies.table import join_tables

    table = join_tables([read_table(source) for source in sources])
    alike = (model_name(ask.model), "")
    fits = table.where(lambda row: row.backbone in (*alike, ask.model) and row.method in (ask.method, ""))
    return one_composition(fits)


def _prediction_table(to: str, found: Sequence[Prediction]) -> Table:
    rows: list[list[Cell]] = [
        [item.intermediate, f"{item.gain:+.2f}",
         f"[{item.low:+.2f}, {item.high:+.2f}]" if isfinite(item.low) else "–",
         f"{item.p_harm:.2f}" if isfinite(item.p_harm) else "–", item.n_units]
        for item in found
    ]  # fmt: skip
    columns = ["intermediate", ("gain", "right"), ("95 %", "right"), ("P(harm)", "right"), ("targets", "right")]
    return Table(f"Predicted gains on {to}, points", columns, rows, "targets: other target tasks these rest on")


def _search(search: Search, dry_run: bool) -> None:
    plan = [vars(item) for item in search.rounds]
    if dry_run:
        rows = [[n, item.candidates, f"{item.steps:,}", f"{item.tokens:,}"] for n, item in enumerate(search.rounds, 1)]
        columns: list[Any] = ["round", *((name, "right") for name in ("candidates", "steps each", "tokens"))]
        caption = f"{sum(item.tokens for item in search.rounds):,} tokens in all, estimated from the first examples"
        console().result({"schema": 1, "task": search.task.name, "rounds": plan},
                         Table(f"Search for {search.task.name}", columns, rows, caption))  # fmt: skip
        return
    tried = list(search.run())
    best = next(item for item in tried if item.round == len(search.rounds))
    told = (
        f"Take {best.intermediate} ({best.bundle})."
        if best.bundle
        else "Take none: no candidate did better without help."
    )
    spent = sum(item.tokens for item in tried)
    document = {"schema": 1, "task": search.task.name, "rounds": plan, "tried": [vars(item) for item in tried],
                "tokens": spent, "choice": best.intermediate, "bundle": best.bundle or None}  # fmt: skip
    console().result(document, _tried_table(search.task.name, tried, spent), told)


def _tried_table(to: str, tried: Sequence[Tried], spent: int) -> Table:
    rows: list[list[Cell]] = [
        [item.round, item.intermediate, item.bundle, "failed" if item.score is None else f"{item.score:.1f}",
         f"{item.steps:,}", f"{item.tokens:,}", "yes" if item.stays else ""]
        for item in tried
    ]  # fmt: skip
    columns: list[Any] = [
        "round",
        "intermediate",
        "bundle",
        *((n, "right") for n in ("English dev", "steps", "tokens")),
    ]
    return Table(f"Search for {to}", [*columns, "stays"], rows, f"{spent:,} training tokens; one seed")


def _bundles(source: list[str] | None, ask: Ask) -> list[Bundle]:
    from adaptxfer.modules.bundle import read_bundle
    from adaptxfer.runs.plan import bundle_folder
    from adaptxfer.runs.settings import model_name
    from adaptxfer.runs.store import RunStore
    from adaptxfer.studies.collect import checkpoints

    found = RunStore(ask.runs).find_finished("intermediate", method=ask.method)
    shorter = checkpoints(found)  # trainings of the same module to fewer steps
    base = model_name(ask.model)
    mine = [
        run.path
        for run in found
        if run.manifest["base_model"].get("id") == base and run.name not in shorter and not run.asked("sham")
    ]
    paths = [bundle_folder(text, ask.runs) for text in source] if source else mine
    if not paths:
        told = f"There is no intermediate bundle for {ask.model} and --method {ask.method} in {ask.runs}."
        raise use_error(told, "Train some: adaptxfer train-intermediate TASK.")
    return [read_bundle(path) for path in paths]


def _evaluate_selectors(
    sources: list[Path], always: str, language: str | None, model: str | None, method: str | None
) -> None:
    from adaptxfer.runs.settings import model_name
    from adaptxfer.studies.collect import read_table
    from adaptxfer.studies.pairs import one_kind
    from adaptxfer.studies.selection import FEW, evaluate_selectors
    from adaptxfer.studies.table import join_tables

    table = join_tables([read_table(source) for source in sources])
    table = one_kind(table, model and model_name(model), method)
    scores = evaluate_selectors(table, always, language)
    if not any(score.name == f"always {always}" for score in scores):
        console().note(f"Not every target has a gain of {always}: taking it always is not judged (--always NAME).")
    columns: list[Any] = ["selector", *((n, "right") for n in ("regret", "worst", "harm", "NDCG@3", "targets"))]
    rows: list[list[Cell]] = [
        [s.name, f"{s.regret:.2f}", f"{s.worst:.2f}", f"{s.harm:.2f}", "–" if s.ndcg is None else f"{s.ndcg:.3f}",
         s.n_units]
        for s in scores
    ]  # fmt: skip
    caption = "regret in points; harm: share of targets on which the choice is worse than none; targets: the units"
    document = {"schema": 1, "origin": list(table.statuses()), "banner": table.banner(), "language": language,
                "selectors": list(map(vars, scores))}  # fmt: skip
    few = f"Fewer than {FEW} targets: this describes these records and tells nothing of others."
    views = (table.banner(), Table("Selectors", columns, rows, caption), few if scores[0].n_units < FEW else "")
    console().result(document, *filter(None, views))
