"""Templates turn an upstream row into the fields of a normal form: ``"{premise} {question}"``, ``"{choices.text}"``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from adaptxfer.errors import nearest

FIELDS: dict[str, tuple[str, ...]] = {
    "classify": ("id", "first", "second", "label"),
    "choose": ("id", "context", "choices", "choice", "label"),
    "tag": ("id", "words", "tags"),
    "span": ("id", "question", "context", "answers", "impossible", "title"),
    "retrieve": ("id", "side", "text", "context", "gold", "domain", "query", "candidate"),
}
"""What ``[columns]`` may set for each kind; a field it does not set is the upstream column of the same name."""

Row = Mapping[str, Any]
Values = Mapping[str, Mapping[str, str]]
"""For a column, its values upstream and ours."""
Filler = Callable[[Row], Any]

PIECE = re.compile(r"\{([A-Za-z0-9_.]+)(\?)?\}")


class RowError(Exception):
    """A row that cannot become an example; the caller adds the file and the line."""


def among(names: Sequence[str], most: int = 20) -> str:
    """``one of a, b, c``, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"one of {', '.join(names[:most])}{more}"


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


def filler(template: str | list[str], values: Values) -> Filler:
    """The function from a row to the value of a template.

    A template that is one column gives that column's value as it is, lists included; ``{name?}`` gives None where the
    column is absent. Any other template gives a string. ``values`` translates what a column holds.

    The function raises RowError if a column is absent or holds a value that ``values`` does not know.
    """
    if isinstance(template, list):
        parts = [filler(part, values) for part in template]
        return lambda row: [part(row) for part in parts]
    pieces = _pieces(template)
    if len(pieces) == 1 and pieces[0][0]:
        return _column(pieces[0][1], pieces[0][2], values)
    texts = [_inline(text, _column(text, False, values)) if is_column else text for is_column, text, _ in pieces]
    return lambda row: "".join(text if isinstance(text, str) else text(row) for text in texts)


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


def _inline(name: str, column: Filler) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = column(row)
        if not isinstance(value, str | int | float):
            raise RowError(f"has {value!r} in column {name!r}; expected text")
        return str(value)

    return text


def _column(name: str, optional: bool, values: Values) -> Filler:
    known = values.get(name)
    steps = name.split(".")

    def value(row: Row) -> Any:
        found = row.get(name) if len(steps) == 1 else _lookup(row, steps)
        if found is None and not optional:
            raise RowError(f"has no column {name!r} (columns: {', '.join(map(str, row))})")
        return found if known is None or found is None else _translate(found, name, known)

    return value


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
        raise RowError(f"has {value!r} in column {name!r}; expected {among(tuple(filter(None, known)))}")
    return known[str(value)]
