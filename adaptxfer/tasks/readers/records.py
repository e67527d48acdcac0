"""Rows that carry their columns: JSON lines, JSON, CSV and TSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

from adaptxfer.errors import data_error
from adaptxfer.tasks.readers import Row, Upstream
from adaptxfer.tasks.readers.text import read_lines, read_whole


def read_jsonl(up: Upstream) -> Iterator[Row]:
    """One JSON object a line; empty lines are skipped."""
    for number, line in read_lines(up.path):
        if line.strip():
            yield number, _object(_parse(line, f"{up.path}, line {number}"), f"{up.path}, line {number}")


def read_json(up: Upstream) -> Iterator[Row]:
    """A JSON list of objects, or one object whose values are the rows (its keys become the column ``key``)."""
    data = _parse(read_whole(up.path), str(up.path))
    if isinstance(data, dict):
        items = [{"key": key, **_object(row, f"{up.path}, entry {key!r}")} for key, row in data.items()]
    elif isinstance(data, list):
        items = data
    else:
        raise data_error(f"{up.path} holds {type(data).__name__}; expected a list or an object of rows.")
    for number, row in enumerate(items, 1):
        yield number, _object(row, f"{up.path}, entry {number}")


def parse_json(up: Upstream) -> Any:
    """The whole file as JSON.

    Raises:
        AdaptxferError: if it is not valid JSON.
    """
    return _parse(read_whole(up.path), str(up.path))


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        what = f"line {error.lineno}: {error.msg}" if "\n" in text else error.msg
        raise data_error(f"{place} is not valid JSON ({what}).", "Was the file cut off? Fetch it again.") from error
    except (RecursionError, ValueError) as error:
        raise data_error(f"{place} cannot be read as JSON ({type(error).__name__}).") from error


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise data_error(f"{place} holds {json.dumps(value)[:60]}; expected an object with columns.")
    return value


def read_tsv(up: Upstream) -> Iterator[Row]:
    """Tab-separated fields; a quote is an ordinary character, as in the files of GLUE, XNLI and PAWS-X.

    The option ``split`` names columns whose space-joined words become lists.
    """
    split = up.source.options.get("split", ())
    for number, row in _named(up, ((number, line.split("\t")) for number, line in read_lines(up.path) if line)):
        yield number, {name: value.split(" ") if name in split else value for name, value in row.items()}


def read_csv(up: Upstream) -> Iterator[Row]:
    """Comma-separated fields with double quotes, which may hold line breaks."""
    return _named(up, _csv_fields(up))


def _csv_fields(up: Upstream) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader((f"{line}\n" for _, line in read_lines(up.path)), strict=True)
    try:
        for fields in rows:
            if fields:
                yield rows.line_num, fields
    except csv.Error as error:
        raise data_error(f"{up.path}, line {rows.line_num} is not valid CSV ({error}).", "Is a quote open?") from error


def _named(up: Upstream, rows: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    names = list(up.source.names)
    if not names:
        names = next(rows, (0, []))[1]
        if len(set(names)) < len(names):
            raise data_error(f"{up.path} names a column twice in its first line: {', '.join(names)}.")
    optional = sum(name.endswith("?") for name in names)
    names = [name.removesuffix("?") for name in names]
    for number, fields in rows:
        if not len(names) - optional <= len(fields) <= len(names):
            raise data_error(
                f"{up.path}, line {number} has {len(fields)} fields; expected {len(names)} ({', '.join(names)}).",
                "Is it the right file, and is it whole?",
            )
        yield number, dict(zip(names, fields, strict=False))
