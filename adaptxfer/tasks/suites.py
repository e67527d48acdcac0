"""Suites: which tasks in which languages make up a benchmark, and how its one number comes about."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptxfer.errors import nearest, use_error
from adaptxfer.files import read_text
from adaptxfer.tasks.find import load_task, task_folders
from adaptxfer.tasks.table import Table


@dataclass(frozen=True)
class SuiteTask:
    """One task of a suite: its languages, and the scores whose mean over languages, then over scores, counts."""

    name: str
    languages: tuple[str, ...]
    scores: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """A benchmark. Its score is the plain mean over its tasks and exists only when all of them are complete."""

    name: str
    about: str
    paper: str
    tasks: Mapping[str, SuiteTask]
    groups: Mapping[str, tuple[str, ...]]
    origin: Path


def list_suites(folders: Sequence[Path | str] = ()) -> list[str]:
    """Names of all suites."""
    return sorted(_files(folders))


def load_suite(name: str, folders: Sequence[Path | str] = ()) -> Suite:
    """The suite called ``name``.

    Raises:
        AdaptxferError: if there is none (with the nearest name), or if its file has faults; all of them are listed.
    """
    found = _files(folders)
    if name not in found:
        raise use_error(f"There is no suite {name!r}.", nearest(name, found))
    path = found[name]
    try:
        top = Table(tomllib.loads(read_text(path, "suite file")))
    except tomllib.TOMLDecodeError as error:
        raise use_error(f"suite file {path} is not valid TOML: {error}.") from error
    tasks = {task: _task(task, table, folders) for task, table in top.table("tasks").each()}
    groups = top.lists("groups")
    for group, members in groups.items():
        for task in members:
            if task not in tasks:
                top.fault(f"groups.{group}", f"{task!r} is not a task of the suite. {nearest(task, tasks)}")
    suite = Suite(top.text("name"), top.text("about", ""), top.text("paper", ""), tasks, groups, path)
    top.close()
    if top.faults:
        raise use_error(f"suite file {path} has faults:" + "".join(f"\n  - {fault}" for fault in top.faults))
    return suite


def _task(name: str, table: Table, folders: Sequence[Path | str]) -> SuiteTask:
    """A task entry; its languages default to those of the task file."""
    known = load_task(name, folders).languages
    languages = table.texts("languages", known, choices=known)
    scores = table.texts("scores", least=1)
    table.close()
    return SuiteTask(name, languages, scores)


def _files(folders: Sequence[Path | str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in task_folders(folders):
        for path in sorted((folder / "suites").glob("*.toml")):
            found.setdefault(path.stem, path)
    return found
