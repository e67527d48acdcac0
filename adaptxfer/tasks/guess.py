"""Which kind of task a table is, told by the names and the content of its columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from adaptxfer.errors import use_error

LABEL = (
    *("label", "gold_label", "answerKey", "answer_key", "correct", "class", "category", "sentiment", "target"),
    "is_duplicate",
)
CONTEXT = ("context", "premise", "ctx", "question")
PAIRS = (("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"), ("text_a", "text_b"))
NUMBERED = re.compile(r"(?:choice|ending|answer|option|sol)_?(?:[0-9]|[A-E])")
COLUMN = re.compile(r"[A-Za-z0-9_]{1,60}")
MOST_LABELS = 200
Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Guess:
    """A kind with its ``[columns]``, labels, and ``[values]`` of the label column."""

    kind: str
    columns: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    values: dict[str, dict[str, str]] = field(default_factory=dict)


def guess_columns(rows: Rows, kind: str | None, place: str) -> Guess:
    """Kind, ``[columns]`` and labels of a table.

    Args:
        rows: its first rows, at least one.
        kind: the kind, if it is known; then only its columns are looked for.
        place: the file's name, for the error.

    Raises:
        AdaptxferError: if the columns have no names, or no kind (or not the given one) fits them.
    """
    if not all(COLUMN.fullmatch(str(name)) for name in rows[0]):
        hint = "Add a header line, or write the task file by hand with `names`."
        raise use_error(f"{place} does not seem to name its columns in the first line.", hint)
    for name, guess in GUESSES.items():
        if kind in (None, name) and (found := guess(rows)):
            own_id = {"id": "{id}"} if "id" in rows[0] else {}
            return replace(found, columns={**own_id, **found.columns})
    what = f"Columns of a {kind} task" if kind else "The kind of task"
    hint = "Write the task file by hand, or give --kind."
    raise use_error(f"{what} cannot be told from {place} (columns: {', '.join(rows[0])}).", hint)


def _choose(rows: Rows) -> Guess | None:
    label = _label_column(rows)
    choices = _choices(rows)
    texts = [name for name in _texts(rows) if not NUMBERED.fullmatch(name)]
    if label is None or choices is None or not texts:
        return None
    parts = [name for name in texts if name in CONTEXT] or [max(texts, key=lambda name: len(rows[0][name]))]
    context = " ".join(f"{{{name}}}" for name in parts)
    columns = {"context": context, "choices": choices, "label": f"{{{label}?}}"}
    return Guess("choose", columns, (), _numbers(rows, label))


def _choices(rows: Rows) -> str | list[str] | None:
    """A template for the choices: one column of lists, lists inside objects, or numbered columns."""
    lists = [path for path, get in _paths(rows) if all(_is_texts(get(row)) and len(get(row)) > 1 for row in rows)]
    numbered = sorted(name for name in rows[0] if NUMBERED.fullmatch(name))
    if len(numbered) > 1:
        return [f"{{{name}}}" for name in numbered]
    named = [path for path in lists if path.endswith(".text")] or lists
    return f"{{{named[0]}}}" if len(named) == 1 and "tags" not in rows[0] else None


def _paths(rows: Rows) -> Iterator[tuple[str, Callable[[dict[str, Any]], Any]]]:
    """Columns, and what lies one level inside columns of objects, with how to get at it."""
    for name, value in rows[0].items():
        if isinstance(value, dict) and _all(rows, name, lambda found: isinstance(found, dict)):
            for inner in value:
                yield f"{name}.{inner}", lambda row, name=name, inner=inner: row[name].get(inner)
        else:
            yield name, lambda row, name=name: row.get(name)


def _numbers(rows: Rows, label: str) -> dict[str, dict[str, str]]:
    """How a column of letters, or of numbers from 1, becomes numbers from 0."""
    found = sorted({str(row.get(label)) for row in rows} - {"None", "", "-1"})
    if found and all(re.fullmatch("[A-H]", value) for value in found):
        return {label: {letter: str("ABCDEFGH".index(letter)) for letter in found}}
    if found and all(value.isdecimal() for value in found) and "0" not in found:
        return {label: {value: str(int(value) - 1) for value in found}}
    return {}


def _tag(rows: Rows) -> Guess | None:
    words = next((name for name in ("words", "tokens") if _all(rows, name, _is_texts)), None)
    tags = next((name for name in rows[0] if name.endswith("tags") and _all(rows, name, _is_texts)), None)
    if words is None or tags is None:
        return None
    labels = sorted({tag for row in rows for tag in row[tags]}, key=lambda tag: (tag != "O", tag))
    return Guess("tag", {"words": f"{{{words}}}", "tags": f"{{{tags}}}"}, tuple(labels))


def _span(rows: Rows) -> Guess | None:
    named = {"question", "context", "answers"} <= rows[0].keys()
    if named and _all(rows, "answers", lambda value: isinstance(value, dict | list)):
        return Guess("span", {"question": "{question}", "context": "{context}", "answers": "{answers}"})
    return None


def _classify(rows: Rows) -> Guess | None:
    label = _label_column(rows)
    texts = [name for name in _texts(rows) if name != label]
    if label is None or not texts:
        return None
    pair = next((pair for pair in PAIRS if set(pair) <= set(texts)), tuple(texts[:2]))
    labels = sorted({str(row[label]) for row in rows if row.get(label) not in (None, "", "-", -1, "-1")})
    columns = {field: f"{{{name}}}" for field, name in zip(("first", "second"), pair, strict=False)}
    columns["label"] = f"{{{label}?}}"
    return Guess("classify", columns, tuple(labels)) if 2 <= len(labels) <= MOST_LABELS else None


def _retrieve(rows: Rows) -> Guess | None:
    texts = _texts(rows)
    if len(texts) != 2:
        return None
    return Guess("retrieve", {"query": f"{{{texts[0]}}}", "candidate": f"{{{texts[1]}}}"})


def _label_column(rows: Rows) -> str | None:
    """A column with a label's name, or else one of few different short values."""
    named = next((name for name in LABEL if name in rows[0]), None)
    if named is not None:
        return named
    few = [name for name in rows[0] if name != "id" and _all(rows, name, lambda value: isinstance(value, str | int))]
    few = [name for name in few if 2 <= len({row[name] for row in rows}) <= min(20, len(rows) // 4)]
    return few[-1] if few else None


def _texts(rows: Rows) -> list[str]:
    """Columns of text in their order, without ids and labels."""
    named = [name for name in rows[0] if not name.lower().endswith("id") and name not in (*LABEL, "idx")]
    return [name for name in named if _all(rows, name, lambda value: isinstance(value, str))]


def _all(rows: Rows, name: str, fits: Callable[[Any], bool]) -> bool:
    return all(fits(row.get(name)) for row in rows)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


GUESSES: dict[str, Callable[[Rows], Guess | None]] = {
    "choose": _choose,
    "tag": _tag,
    "span": _span,
    "classify": _classify,
    "retrieve": _retrieve,
}
"""In the order in which they are tried."""
