"""``adaptxfer suite``: what a suite consists of, and its scores from runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptxfer.cli.options import RUNS, Json, Runs, Tasks, folders
from adaptxfer.console import Cell, Table, console
from adaptxfer.errors import AdaptxferError, data_error, nearest, use_error

if TYPE_CHECKING:
    from adaptxfer.evaluation.suites import SuiteScores
    from adaptxfer.runs.run import Run
    from adaptxfer.tasks.suites import Suite

EvaluateRuns = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN...]", help="Evaluate runs by name or hash; else the newest of each task."),
]
Split = Annotated[str, typer.Option("--split", help="The split that counts: test or dev.")]


def suite(
    name: Annotated[str, typer.Argument(metavar="NAME", help="xtreme, xtreme-r, or one of yours.")],
    run: EvaluateRuns = None,
    runs: Runs = RUNS,
    split: Split = "test",
    tasks: Tasks = None,
    json: Json = False,
) -> None:
    """Show the tasks of a suite and, as far as there are runs, its scores.

    A task has a score when all its languages have one on the whole split, the suite when all its tasks have.
    """
    check_split(split)
    from adaptxfer.evaluation.suites import expected_rows, score_suite
    from adaptxfer.tasks.suites import load_suite

    where = folders(tasks)
    found = load_suite(name, where)
    chosen = choose_runs(tuple(found.tasks), run or (), runs, ("languages",), split)
    documents = {task: item.read_scores() for task, item in chosen.items()}
    scores = score_suite(found, documents, split, expected_rows(found, split, where))
    console().result(_document(found, scores, chosen), *_views(found, scores, chosen))


def check_split(split: str) -> None:
    """Refuse a split that nothing is scored on.

    Raises:
        AdaptxferError: unless it is dev or test.
    """
    if split not in ("dev", "test"):
        raise use_error(f"--split {split!r} is not known.", nearest(split, ("dev", "test")))


def choose_runs(
    tasks: Sequence[str], names: Sequence[str], root: Path, parts: Sequence[str], split: str
) -> dict[str, Run]:
    """One finished evaluate run for each task: those named, or the newest of each that has something of the split.

    What counts are the entries in ``parts`` of its scores document, ``languages`` for scored ones and ``unscored``.

    Raises:
        AdaptxferError: if a named run is unknown, not finished, no evaluate run, of another task, or not the only one.
    """
    from adaptxfer.runs.store import RunStore

    store = RunStore(root)
    if not names:
        newest = sorted(store.find_finished("evaluate"), key=lambda run: not _is_of(run, parts, split))
        latest = {str(run.asked("task")): run for run in reversed(newest)}
        return {task: latest[task] for task in tasks if task in latest}
    found: dict[str, Run] = {}
    for run in {run.path: run for run in map(store.find, names)}.values():
        task = _task_of(run)
        if task not in tasks:
            raise use_error(f"{run.name} is a run of {task}, which is not in the suite.", nearest(task, tasks))
        if task in found:
            raise use_error(f"{found[task].name} and {run.name} are both runs of {task}.", "Give one for each task.")
        found[task] = run
    return {task: found[task] for task in tasks if task in found}


def _is_of(run: Run, parts: Sequence[str], split: str) -> bool:
    """Whether a run has a language of this split; scores that are damaged are told of when they are used."""
    try:
        scores = run.read_scores()
    except AdaptxferError:
        return False
    entries = [entry for part in parts for entry in scores.get(part, {}).values()]
    return any(entry.get("split", scores["split"]) == split for entry in entries)


def _task_of(run: Run) -> str:
    kind = run.manifest.get("kind")
    if kind not in (None, "evaluate"):
        raise use_error(f"{run.name} is a run that trains; it holds no test scores.", "Give the evaluate run.")
    if run.status != "finished":
        reason = run.problem or f"it is {run.status}"
        raise data_error(f"Run {run.name} has no result: {reason}.", "The same command again continues it.")
    return str(run.asked("task"))


def settings_note(runs: Mapping[str, Run]) -> str:
    """A sentence if runs of one result differ in base model, method or composition, else nothing."""
    facts: dict[str, set[str]] = {"base model": set(), "method": set(), "composition": set()}
    for run in runs.values():
        facts["base model"].add(str(run.manifest["base_model"].get("id") or run.asked("model")))
        facts["method"].add(str(run.asked("method")))
        facts["composition"].add(str(run.asked("how")))
    mixed = [f"{name} ({', '.join(sorted(values))})" for name, values in facts.items() if len(values) > 1]
    return f"The runs differ in {', '.join(mixed)}." if mixed else ""


def _document(suite: Suite, scores: SuiteScores, runs: Mapping[str, Run]) -> dict[str, object]:
    tasks = {
        name: {
            "score": task.score,
            "so_far": task.so_far,
            "metrics": {key: task.parts.get(key) for key in suite.tasks[name].scores},
            "languages": list(suite.tasks[name].languages),
            "missing": dict(task.missing),
            "run": runs[name].name if name in runs else None,
        }
        for name, task in scores.tasks.items()
    }
    return {
        "schema": 1,
        "suite": suite.name,
        "about": suite.about,
        "paper": suite.paper,
        "split": scores.split,
        "overall": scores.overall,
        "groups": dict(scores.groups),
        "tasks": tasks,
        "missing": scores.missing(),
        "note": settings_note(runs),
    }


def _views(suite: Suite, scores: SuiteScores, runs: Mapping[str, Run]) -> list[Table | str]:
    rows: list[list[Cell]] = []
    for group, members in suite.groups.items():
        rows += [_row(name, suite, scores, runs) for name in members]
        rows.append([f"= {group}", scores.groups[group], None, None, None, None])
    grouped = {name for members in suite.groups.values() for name in members}
    rows += [_row(name, suite, scores, runs) for name in suite.tasks if name not in grouped]
    rows.append(["= overall", scores.overall, None, None, None, None])
    columns = ["task", ("score", "right"), ("so far", "right"), "metric", ("languages", "right"), "run"]
    title = f"{suite.name} on {scores.split}"
    caption = "points (0-100); so far: mean over the languages that count"
    lacking = [f"{name}: {gaps}" for name, gaps in scores.missing().items() if name in runs]
    absent = [name for name in suite.tasks if name not in runs]
    lacking += [f"No run of {', '.join(absent)}."] if absent else []
    views = (suite.about, Table(title, columns, rows, caption), "\n".join(lacking), settings_note(runs))
    return [view for view in views if view]


def _row(name: str, suite: Suite, scores: SuiteScores, runs: Mapping[str, Run]) -> list[Cell]:
    task, entry = scores.tasks[name], suite.tasks[name]
    counted = f"{len(task.counted)}/{len(task.counted) + len(task.missing)}"
    return [name, task.score, task.so_far, ", ".join(entry.scores), counted, runs[name].name if name in runs else None]
