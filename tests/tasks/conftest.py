"""Small task files and data files, written by the tests themselves."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from adaptxfer.tasks.parse import parse_task

CLASSIFY = """
name = "toy"
kind = "classify"
role = ["target"]
labels = ["yes", "no"]
languages = ["en", "sw"]

[columns]
first = "{text}"

[[files]]
reader = "jsonl"
paths = ["{split}.{lang}.jsonl"]
"""


@pytest.fixture(scope="session")
def plain() -> str:
    """The text of a task file without faults."""
    return CLASSIFY


@pytest.fixture
def task(tmp_path):
    """Write a task file and parse it."""

    def make(text: str = CLASSIFY, name: str = "toy"):
        folder = tmp_path / "taskfiles"
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return parse_task(path)

    return make


@pytest.fixture
def write(tmp_path):
    """Write a data file below the data folder of the test; names that end in .gz are packed."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return make


@pytest.fixture
def here(tmp_path) -> Path:
    """The data folder of the test."""
    (tmp_path / "data").mkdir(exist_ok=True)
    return tmp_path / "data"
