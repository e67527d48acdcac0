"""One small reader per upstream format. A reader yields (line or row number, row) and knows nothing of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from adaptxfer.tasks.spec import FileSource

Row = tuple[int, dict[str, Any]]
"""Where a row stands in its file (from 1), and its columns."""


@dataclass(frozen=True)
class Upstream:
    """One file to read: the task file's entry that describes it, the language asked for, its companion files."""

    path: Path
    source: FileSource
    language: str = "en"
    beside: dict[str, Path] = field(default_factory=dict)


Reader = Callable[[Upstream], Iterator[Row]]

_HOME = {"jsonl": "records", "json": "records", "csv": "records", "tsv": "records", "bitext": "pairs", "bucc": "pairs"}


def reader_for(name: str) -> Reader:
    """The reader with this name; its module is imported on first use."""
    module = import_module(f"adaptxfer.tasks.readers.{_HOME.get(name, name)}")
    return getattr(module, f"read_{name}")
