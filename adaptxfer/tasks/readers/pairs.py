"""Retrieval data: two line-aligned files, and BUCC's files with ids and, if it is public, a gold list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from adaptxfer.errors import data_error
from adaptxfer.tasks.readers import Row, Upstream
from adaptxfer.tasks.readers.text import read_lines


def read_bitext(up: Upstream) -> Iterator[Row]:
    """Queries from the file, candidates from its companion; line n answers line n. Ids are line numbers from 0.

    A companion ``domains``, a table with a column ``domain``, says of each line which domain it is from.
    """
    queries = list(read_lines(up.path))
    candidates = list(read_lines(up.beside["candidates"]))
    if len(queries) != len(candidates):
        raise data_error(
            f"{up.path} has {len(queries):,} lines and {up.beside['candidates'].name} {len(candidates):,}.",
            "The two files must be aligned line by line.",
        )
    domains = _domains(up, len(queries)) if "domains" in up.beside else [""] * len(queries)
    for side, lines in (("query", queries), ("candidate", candidates)):
        for (number, text), domain in zip(lines, domains, strict=True):
            key = str(number - 1)
            gold = [key] if side == "query" else []
            yield number, {"id": key, "side": side, "text": text, "gold": gold, "domain": domain}


def _domains(up: Upstream, lines: int) -> list[str]:
    """The column ``domain`` of FLORES-200's metadata, one row a line of text."""
    path = up.beside["domains"]
    rows = [line.split("\t") for _, line in read_lines(path) if line]
    if not rows or "domain" not in rows[0]:
        raise data_error(f"{path} has no column named domain.", "Its first line must name the columns, tab-separated.")
    column = rows[0].index("domain")
    if len(rows) - 1 != lines:
        raise data_error(f"{path} has {len(rows) - 1:,} rows and {up.path.name} {lines:,} lines.", "They must agree.")
    if short := next((number for number, row in enumerate(rows, 1) if len(row) <= column), None):
        raise data_error(f"{path}, line {short} has too few fields.", "Was the file cut off? Fetch it again.")
    return [row[column] for row in rows[1:]]


def read_bucc(up: Upstream) -> Iterator[Row]:
    """Lines ``id TAB sentence`` on both sides, and gold lines ``query id TAB candidate id``."""
    gold: dict[str, list[str]] = defaultdict(list)
    queries = dict(_fields(up.path))
    candidates = dict(_fields(up.beside["candidates"]))
    for query, candidate in _fields(up.beside["gold"]) if "gold" in up.beside else ():
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
