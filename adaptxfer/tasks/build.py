"""From a row to an example of the task's kind: text is checked, labels become names, answers find their place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from adaptxfer.tasks.examples import (
    Answer,
    ChooseExample,
    ClassifyExample,
    Example,
    RetrieveExample,
    SpanExample,
    TagExample,
)
from adaptxfer.tasks.spec import UNSEEN, Rows, TaskSpec
from adaptxfer.tasks.template import FIELDS, RowError, among, filler


class Builder:
    """Builds the examples of one place; ``notes`` counts what was mended.

    Args:
        spec: the task.
        source: the place in the task file that says how rows become examples.
        language: the language asked for, used by ``where``.
    """

    def __init__(self, spec: TaskSpec, source: Rows, language: str) -> None:
        self.spec, self.source, self.notes = spec, source, Counter()
        values = {
            column: {same: same for same in (*source.unlabelled, *known.values())} | dict(known)
            for column, known in source.values.items()
        }
        templates = {name: f"{{{name}?}}" for name in FIELDS[spec.kind]} | dict(source.columns)
        self.fields = {name: filler(template, values) for name, template in templates.items()}
        self.where = {key: expand(pattern, source, language) for key, pattern in source.where.items()}
        self.labels = frozenset(spec.labels)
        kind = "pair" if "query" in source.columns else spec.kind
        self.make: Callable[[str, Mapping[str, Any]], Example | list[Example]] = getattr(self, f"_{kind}")

    def wanted(self, row: Mapping[str, Any]) -> bool:
        """False if the row belongs to another language or part (``where``)."""
        for key, pattern in self.where.items():
            if key not in row:
                raise RowError(f"has no column {key!r}, by which rows are chosen")
            if not fnmatchcase(str(row[key]), pattern):
                return False
        return True

    def examples(self, number: int, row: Mapping[str, Any]) -> list[Example]:
        """What one row becomes: one example, two for a retrieval pair, none if ``where`` leaves it out.

        ``number`` (from 1) gives an id where the row has none.

        Raises:
            RowError: if something of the row is missing or out of range.
        """
        if not self.wanted(row):
            return []
        given = self.fields["id"](row)
        made = self.make(str(number - 1) if given in (None, "") else sound(str(given)), row)
        return made if isinstance(made, list) else [made]

    def _text(self, field: str, row: Mapping[str, Any]) -> str:
        value = self.fields[field](row)
        if not isinstance(value, str):
            raise RowError(f"has {value!r} as {field}; expected text")
        return sound(value)

    def _classify(self, key: str, row: Mapping[str, Any]) -> ClassifyExample:
        second = None if self.fields["second"](row) is None else self._text("second", row)
        return ClassifyExample(key, self._text("first", row), second, self._label(self.fields["label"](row)))

    def _label(self, value: Any) -> str | None:
        if value is None or str(value) in self.source.unlabelled:
            return None
        name = str(value)
        if name not in self.labels:
            raise RowError(f"has the label {value!r}; expected {among(self.spec.labels)}")
        return name

    def _choose(self, key: str, row: Mapping[str, Any]) -> ChooseExample:
        choices = self.fields["choices"](row)
        if not isinstance(choices, (list, tuple)) or len(choices) < 2:
            raise RowError(f"has {choices!r} as choices; expected a list of at least two")
        if "choice" in self.source.columns:
            choices = [self.fields["choice"]({**row, "choice": choice}) for choice in choices]
        texts = tuple(sound(choice) if isinstance(choice, str) else _no_text("choice", choice) for choice in choices)
        return ChooseExample(key, self._text("context", row), texts, self._index(self.fields["label"](row), len(texts)))

    def _index(self, value: Any, count: int) -> int | None:
        if value is None or str(value) in self.source.unlabelled:
            return None
        index = int(value) if str(value).isdecimal() and len(str(value)) < 9 else -1
        if not 0 <= index < count:
            raise RowError(f"has the label {value!r}; expected the number of a choice, 0 to {count - 1}")
        return index

    def _tag(self, key: str, row: Mapping[str, Any]) -> TagExample:
        words, tags = self.fields["words"](row), self.fields["tags"](row)
        if not isinstance(words, list) or not words or any(not isinstance(word, str) for word in words):
            raise RowError(f"has {str(words)[:60]!r} as words; expected a list of words")
        if tags is None:
            return TagExample(key, tuple(map(sound, words)), None)
        if not isinstance(tags, list) or len(tags) != len(words):
            raise RowError(f"has {len(words)} words; expected as many tags")
        return TagExample(key, tuple(map(sound, words)), tuple(map(self._tag_name, tags)))

    def _tag_name(self, tag: Any) -> str:
        if not isinstance(tag, str | int):
            raise RowError(f"has the tag {tag!r}; expected text")
        tag = str(tag)
        if tag in self.labels or (self.spec.open_labels and not self.labels):
            return tag
        if self.spec.open_labels:
            return UNSEEN
        raise RowError(f"has the tag {tag!r}; expected {among(self.spec.labels)}")

    def _span(self, key: str, row: Mapping[str, Any]) -> SpanExample:
        context = self._text("context", row)
        answers = tuple(self._place(context, text, start) for text, start in pairs(self.fields["answers"](row)) if text)
        impossible = self.fields["impossible"](row)
        if impossible is None:  # tables leave the flag out: an empty list of answers then means the same
            impossible = "impossible" in self.source.columns
        title = self.fields["title"](row)
        return SpanExample(
            key, self._text("question", row), context, answers, bool(impossible) and not answers,
            sound(title) if isinstance(title, str) else "",
        )  # fmt: skip

    def _place(self, context: str, text: str, start: int) -> Answer:
        sound(text)
        if context.startswith(text, start) and start >= 0:
            return Answer(text, start)
        found = nearest_occurrence(context, text, start)
        self.notes["realigned" if found >= 0 else "unaligned"] += 1
        return Answer(text, found)

    def _retrieve(self, key: str, row: Mapping[str, Any]) -> RetrieveExample:
        side, context, gold = self.fields["side"](row), self.fields["context"](row), self.fields["gold"](row)
        if side not in ("query", "candidate"):
            raise RowError(f"has {side!r} as side; expected query or candidate")
        if not isinstance(gold, list | None) or not isinstance(context, str | None):
            raise RowError(f"has {gold!r} as gold; expected a list of ids, and a context of text or none")
        domain = self.fields["domain"](row)
        return RetrieveExample(
            key, side, self._text("text", row), context, tuple(map(str, gold or ())),
            sound(domain) if isinstance(domain, str) else "",
        )  # fmt: skip

    def _pair(self, key: str, row: Mapping[str, Any]) -> list[Example]:
        """A row that holds both sides; tables keep the line end of the text file they were made from."""
        query, candidate = (self._text(side, row).rstrip("\r\n") for side in ("query", "candidate"))
        return [RetrieveExample(key, "query", query, None, (key,)), RetrieveExample(key, "candidate", candidate)]


def expand(pattern: str, source: Rows, language: str, split: str = "") -> str:
    """Put language and split into a pattern: ``{lang}``, ``{split}``, for a pair ``{lang1}`` and ``{lang2}``.

    A single language is both parts of itself. ``codes`` translates to upstream's names.
    """
    one, _, two = language.partition("-")
    for name, code in (("lang", language), ("lang1", one), ("lang2", two or one)):
        pattern = pattern.replace(f"{{{name}}}", source.codes.get(code, code))
    return pattern.replace("{split}", split)


def sound(text: str) -> str:
    """``text`` if it can be encoded.

    Raises:
        RowError: if it holds half of a surrogate pair, which no tokenizer accepts.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError(f"holds a broken character at position {error.start}") from error
    return text


def _no_text(field: str, value: Any) -> str:
    raise RowError(f"has {value!r} as {field}; expected text")


def pairs(answers: Any) -> list[tuple[str, int]]:
    """Answers as (text, start), from SQuAD's list of objects or from a table's object of lists; none gives []."""
    if answers is None:
        return []
    if isinstance(answers, Mapping):
        texts, starts = answers.get("text"), answers.get("answer_start")
    elif isinstance(answers, list) and all(isinstance(answer, Mapping) for answer in answers):
        texts = [answer.get("text") for answer in answers]
        starts = [answer.get("answer_start", -1) for answer in answers]
    else:
        texts = starts = None
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise RowError("has answers in an unknown form; expected text and answer_start")
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
            raise RowError(f"has the answer {text!r} at {start!r}; expected a text and a whole number")
    return list(zip(texts, starts, strict=True))


def nearest_occurrence(context: str, text: str, start: int) -> int:
    """Where ``text`` occurs in ``context`` closest to ``start`` (the earlier one of two as close), or -1.

    Copies that strip a context without moving its answers shift them by a few characters, never far.
    """
    before = context.rfind(text, 0, max(start, 0) + len(text))
    after = context.find(text, max(start, 0))
    found = [place for place in (before, after) if place >= 0]
    return min(found, key=lambda place: (abs(place - start), place), default=-1)
