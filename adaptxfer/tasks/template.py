"""Templates turn an upstream row into the fields of a normal form: ``"{premise} {question}"``, ``"{choices.text}"``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from adaptxfer.errors import nearest

FIELDS: dict[str, tuple[str, ...]] = {
    "classify": ("id", "first", "second", "label"),
    "choose": ("id", "context", "choices", "choice", "label"),
    "tag": ("id", "words", "tags"),
    "span": ("id", "question", "context", "answers", "impossible"),
    "retrieve": ("id", "side", "text", "context", "gold", "query", "candidate"),
}
"""What ``[columns]`` may set for each kind; a field it does not set is the upstream column of the same name."""

PIECE = re.compile(r"\{([A-Za-z0-9_.]+)(\?)?\}")


class RowError(Exception):
    """A row that cannot become an example; the caller adds the file and the line."""


def fields_for(kind: str, columns: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every fault of a ``[columns]`` table as (field, problem)."""
    for name, template in columns.items():
        parts = template if isinstance(template, list) else [template]
        if kind in FIELDS and name not in FIELDS[kind]:
            yield name, f"a {kind} task has no such field. {nearest(name, FIELDS[kind])}"
        if not parts or any(not isinstance(part, str) for part in parts):
            yield name, f"expected a template or a list of templates, found {template!r}"
        elif any(brace in PIECE.sub("", part) for part in parts for brace in "{}"):
            yield name, f'{template!r} has a brace that is not part of a "{{column}}"'


def fill(template: str | list[str], row: Mapping[str, Any], values: Mapping[str, Mapping[str, str]]) -> Any:
    """The value of a template for one row.

    A template that is one column gives that column's value as it is, lists included; ``{name?}`` gives None where the
    column is absent. Any other template gives a string.

    Raises:
        RowError: if a column is absent or holds a value that the task file does not know.
    """
    if isinstance(template, list):
        return [fill(part, row, values) for part in template]
    pieces = _pieces(template)
    if len(pieces) == 1 and pieces[0][0]:
        return _value(pieces[0][1], pieces[0][2], row, values)
    return "".join(_inline(text, row, values) if is_column else text for is_column, text, _ in pieces)


@lru_cache(maxsize=1024)
def _pieces(template: str) -> tuple[tuple[bool, str, bool], ...]:
    """A template as (is a column, its name or the literal text, may be absent)."""
    pieces, end = [], 0
    for match in PIECE.finditer(template):
        if match.start() > end:
            pieces.append((False, template[end : match.start()], False))
        pieces.append((True, match[1], bool(match[2])))
        end = match.end()
    if end < len(template) or not pieces:
        pieces.append((False, template[end:], False))
    return tuple(pieces)


def _inline(name: str, row: Mapping[str, Any], values: Mapping[str, Mapping[str, str]]) -> str:
    value = _value(name, False, row, values)
    if not isinstance(value, str | int | float):
        raise RowError(f"has {value!r} in column {name!r}; expected text")
    return str(value)


def _value(name: str, optional: bool, row: Mapping[str, Any], values: Mapping[str, Mapping[str, str]]) -> Any:
    found = _lookup(row, name.split("."))
    if found is None:
        if optional:
            return None
        raise RowError(f"has no column {name!r} (columns: {', '.join(map(str, row))})")
    known = values.get(name)
    return found if known is None else _translate(found, name, known)


def _lookup(value: Any, steps: list[str]) -> Any:
    for number, step in enumerate(steps):
        if isinstance(value, list):
            return [_lookup(item, steps[number:]) for item in value]
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _translate(value: Any, name: str, known: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_translate(item, name, known) for item in value]
    if str(value) not in known:
        raise RowError(f"has {value!r} in column {name!r}. {nearest(str(value), known)}")
    return known[str(value)]
