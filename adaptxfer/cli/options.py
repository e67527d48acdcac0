"""Options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptxfer.console import console
from adaptxfer.files import set_offline


def _json(value: bool) -> bool:
    if value:
        console().mode = "json"
    return value


def _no_progress(value: bool) -> bool:
    if value and console().mode == "rich":
        console().mode = "plain"
    return value


def _offline(value: bool) -> bool:
    if value:
        set_offline()
    return value


Json = Annotated[bool, typer.Option("--json", callback=_json, is_eager=True, help="Print one JSON document.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", callback=_no_progress, is_eager=True, help="Plain lines.")]
Offline = Annotated[bool, typer.Option("--offline", callback=_offline, is_eager=True, help="Never ask the Hub.")]
Runs = Annotated[Path, typer.Option("--runs", envvar="ADAPTXFER_RUNS", help="Folder of the runs.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder with upstream files, read instead of asking the Hub.")
]
Tasks = Annotated[list[Path] | None, typer.Option("--tasks", help="Folder of task files, searched first.")]

RUNS = Path("runs")
"""Default of ``--runs``."""


def folders(tasks: list[Path] | None) -> list[Path]:
    """The folders given by ``--tasks``."""
    return list(tasks or ())
