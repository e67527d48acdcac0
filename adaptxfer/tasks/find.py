"""Where task files live: a folder given by the user, ``ADAPTXFER_TASKS``, ``./tasks``, and those that come along."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from adaptxfer.errors import nearest, use_error
from adaptxfer.tasks.parse import parse_task
from adaptxfer.tasks.spec import TaskSpec

HERE = Path("tasks")
"""The folder of the project one works in."""


def bundled_folder() -> Path:
    """The task files that come with the package: inside an installed one, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def task_folders(extra: Sequence[Path | str] = ()) -> list[Path]:
    """Every folder that is searched, the winning one first; a folder that does not exist is left out."""
    named = [Path(folder) for folder in extra]
    if own := os.environ.get("ADAPTXFER_TASKS"):
        named += [Path(folder) for folder in own.split(os.pathsep) if folder]
    for folder in named:
        if not folder.is_dir():
            raise use_error(f"The task folder {folder} does not exist.", "Check --tasks and ADAPTXFER_TASKS.")
    folders = [*named, HERE, bundled_folder()]
    return list({folder.resolve(): folder for folder in folders if folder.is_dir()}.values())


def load_task(name: str, folders: Sequence[Path | str] = ()) -> TaskSpec:
    """The task called ``name``, from the first folder that has it.

    Raises:
        AdaptxferError: if no folder has it (with the nearest name), or if its file has faults.
    """
    found = _files(folders)
    if name not in found:
        raise use_error(f"There is no task {name!r}.", nearest(name, found))
    return _load(found[name])


def list_tasks(folders: Sequence[Path | str] = ()) -> list[TaskSpec]:
    """All tasks by name; of two files with one name the first folder's wins.

    Raises:
        AdaptxferError: if a file has faults.
    """
    return [_load(path) for _, path in sorted(_files(folders).items())]


def _load(path: Path) -> TaskSpec:
    spec = parse_task(path)
    if spec.name != path.stem:
        raise use_error(f"{path} holds the task {spec.name!r}.", "Give the file the name of its task.")
    return spec


def _files(folders: Sequence[Path | str]) -> dict[str, Path]:
    """Task name to file. The file's name is the task's name, so that only the wanted file is parsed."""
    found: dict[str, Path] = {}
    for folder in task_folders(folders):
        paths = [path for path in sorted(folder.rglob("*.toml")) if "suites" not in path.relative_to(folder).parts]
        for path in filter(_is_task, paths) if folder == HERE else paths:
            found.setdefault(path.stem, path)
    return found


def _is_task(path: Path) -> bool:
    """False for a foreign file: ``./tasks`` may be another program's folder."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"^\s*(kind|extends)\s*=", text, re.M) is not None


def members(spec: TaskSpec) -> list[TaskSpec]:
    """The tasks that a pooled task joins; they are looked for beside its own file first.

    Raises:
        AdaptxferError: if one is missing, pooled itself, of another kind, or has other labels.
    """
    parts = [load_task(name, (spec.origin.parent,)) for name in spec.pool]
    for part in parts:
        if part.pool or part.kind != spec.kind or set(part.labels) != set(spec.labels):
            raise use_error(
                f"{spec.origin}: {part.name!r} in the pool is not a plain {spec.kind} task with the same labels.",
                f"Labels of {spec.name}: {', '.join(spec.labels)}; of {part.name}: {', '.join(part.labels)}.",
            )
    return parts
