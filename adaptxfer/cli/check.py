"""``adaptxfer tasks check``: what of each task is there, and whether all of it can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptxfer.cli.options import DataDir, Json, NoProgress, Offline, Tasks, folders
from adaptxfer.console import Cell, Table, console, jsonable
from adaptxfer.errors import DATA, use_error

if TYPE_CHECKING:
    from adaptxfer.tasks.check import Finding
    from adaptxfer.tasks.spec import TaskSpec

MANY = 24
"""More languages than these are counted and not all named (the JSON document names them)."""

Findings = Mapping[str, Sequence["Finding"]]


def check(
    task: Annotated[list[str] | None, typer.Argument(metavar="[TASK...]", help="All tasks if none is named.")] = None,
    data_dir: DataDir = None,
    tasks: Tasks = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Also read what is on the Hub.")] = False,
    offline: Offline = False,
    no_progress: NoProgress = False,
    json: Json = False,
) -> None:
    """Check which data is there, and read all of it.

    Exit code 2 if something cannot be read; what is missing is only listed.
    """
    from adaptxfer.tasks.check import check_task
    from adaptxfer.tasks.find import list_tasks, load_task

    if data_dir is not None and not data_dir.is_dir():
        raise use_error(f"--data-dir {data_dir} is not a folder.", "Give the folder that holds the data.")
    where = folders(tasks)
    specs = [load_task(name, where) for name in dict.fromkeys(task)] if task else list_tasks(where)
    findings = {}
    with console().progress(len(specs), "checking") as bar:
        for spec in specs:
            findings[spec.name] = check_task(spec, data_dir, _is_read(spec, data_dir, fetch))
            bar.update()
    faulty = [(name, item) for name, items in findings.items() for item in items if item.state == "error"]
    document = {"schema": 1, "ok": not faulty, "tasks": {name: _entries(items) for name, items in findings.items()}}
    console().result(document, _table(findings, brief=not task))
    for name, item in faulty:
        console().warn(" ".join(filter(None, (f"{name} {item.split} {item.language}:", item.problem))))
    if faulty:
        raise typer.Exit(DATA)


def _is_read(spec: TaskSpec, data_dir: Path | None, fetch: bool) -> bool:
    """Files are always read; the Hub is asked only if the user says so."""
    return fetch or data_dir is not None or (not spec.hub and not spec.pool)


def _entries(items: Sequence[Finding]) -> list[dict[str, Any]]:
    return [jsonable(item) for item in items]


def _table(findings: Findings, brief: bool) -> Table:
    """One row per task and split, languages that look alike together; ``brief`` leaves out tasks with nothing there."""
    absent = [name for name, items in findings.items() if brief and all(item.state == "missing" for item in items)]
    rows = [row for name, items in findings.items() if name not in absent for row in _rows(name, items)]
    caption = f"Nothing there of {', '.join(absent)}." if absent else ""
    return Table("", ["task", "split", "state", "languages", ("rows", "right"), "notes"], rows, caption)


def _rows(name: str, items: Sequence[Finding]) -> list[list[Cell]]:
    alike: dict[tuple[str, ...], list[str]] = {}
    for item in items:
        notes = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in item.notes.items() if count)
        alike.setdefault((item.split, item.state, item.count, notes), []).append(item.language)
    return [
        [name, split, state, _listed(languages), count, notes]
        for (split, state, count, notes), languages in alike.items()
    ]


def _listed(languages: Sequence[str]) -> str:
    shown = languages if len(languages) <= MANY else [*languages[: MANY - 4], f"… {len(languages)} in all"]
    return ", ".join(shown)
