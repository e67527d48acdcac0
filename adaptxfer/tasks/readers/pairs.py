"""Retrieval data: two line-aligned files, and BUCC's files with ids and a gold list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from adaptxfer.errors import data_error
from adaptxfer.tasks.readers import Row, Upstream
from adaptxfer.tasks.readers.text import read_lines


def read_bitext(up: Upstream) -> Iterator[Row]:
    """Queries from the file, candidates from its companion; line n answers line n. Ids are line numbers from 0."""
    queries = list(read_lines(up.path))
    candidates = list(read_lines(up.beside["candidates"]))
    if len(queries) != len(candidates):
        raise data_error(
            f"{up.path} has {len(queries):,} lines and {up.beside['candidates'].name} {len(candidates):,}.",
            "The two files must be aligned line by line.",
        )
    for side, lines in (("query", queries), ("candidate", candidates)):
        for number, text in lines:
            key = str(number - 1)
            yield number, {"id": key, "side": side, "text": text, "gold": [key] if side == "query" else []}


def read_bucc(up: Upstream) -> Iterator[Row]:
    """Lines ``id TAB sentence`` on both sides, and gold lines ``query id TAB candidate id``."""
    gold: dict[str, list[str]] = defaultdict(list)
    queries = dict(_fields(up.path))
    candidates = dict(_fields(up.beside["candidates"]))
    for query, candidate in _fields(up.beside["gold"]):
        if query not in queries or candidate not in candidates:
            raise data_error(
                f"{up.beside['gold']} pairs {query!r} with {candidate!r}, and one of them has no sentence."
            )
        gold[query].append(candidate)
    for side, sentences in (("query", queries), ("candidate", candidates)):
        for number, (key, text) in enumerate(sentences.items(), 1):
            yield number, {"id": key, "side": side, "text": text, "gold": gold.get(key, []) if side == "query" else []}


def _fields(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in read_lines(path):
        left, tab, right = line.partition("\t")
        if not tab:
            raise data_error(f"{path}, line {number} has no tab; expected two fields.")
        yield left, right
