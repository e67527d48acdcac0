"""``tasks new``: a first task file, written from what a data file looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from adaptxfer.errors import AdaptxferError, nearest, use_error
from adaptxfer.files import check_name
from adaptxfer.tasks.examples import KINDS
from adaptxfer.tasks.guess import Guess, guess_columns
from adaptxfer.tasks.readers import Row, Upstream, reader_for
from adaptxfer.tasks.readers.text import read_lines
from adaptxfer.tasks.spec import FileSource

LOOKED_AT = 2000
"""Rows that are looked at."""
SPLITS = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "val": "dev", "test": "test"}
"""What a split may be called in a file's name."""
LENGTHS = {"span": 384, "retrieve": 512}
METRICS = {"span": "squad", "retrieve": "retrieval_accuracy", "tag": "pos"}


@dataclass(frozen=True)
class Draft:
    """What was found out about a data file."""

    reader: str
    guess: Guess
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where the files lie: a pattern, our splits and theirs, and the languages."""

    pattern: str
    splits: dict[str, str]
    languages: tuple[str, ...]


def new_task(name: str, data: Path, kind: str | None = None, role: str = "target", language: str = "en") -> str:
    """The text of a task file for ``data`` (jsonl, json, csv, tsv, SQuAD JSON or token-and-tag lines; gzip or not).

    The folder of ``data`` is meant as the data folder. Kind, columns and labels are guessed from the first rows and
    are to be checked by a person; comments say so.

    Raises:
        AdaptxferError: if the name cannot be used, the file cannot be read, or its kind cannot be told.
    """
    check_name(name, "task name")
    if kind is not None and kind not in KINDS:
        raise use_error(f"The kind {kind!r} is not known.", nearest(kind, KINDS))
    draft = _draft(data, kind)
    if kind not in (None, draft.guess.kind):
        raise use_error(f"{data} holds a {draft.guess.kind} task, not a {kind} task.", "Leave --kind out.")
    return "\n".join(_text(name, data, draft, role, language))


def _draft(data: Path, kind: str | None) -> Draft:
    suffix = Path(data.name.removesuffix(".gz")).suffix
    if suffix == ".conllu":
        return Draft("conllu", Guess("tag", labels=_tags(_rows("conllu", data))))
    if suffix == ".json" and _is_squad(data):
        return Draft("squad", Guess("span"))
    if suffix in (".tsv", ".txt", ".conll") and (separator := _separator(data)):
        options = {"separator": separator} if separator == "space" else {}
        return Draft("tags", Guess("tag", labels=_tags(_rows("tags", data, options))), options)
    reader = suffix.removeprefix(".")
    if reader not in ("jsonl", "json", "csv", "tsv"):
        known = ".jsonl, .json, .csv, .tsv, .txt, .conll, .conllu, each also .gz"
        raise use_error(f"The form of {data} is not known.", f"Known: {known}.")
    return Draft(reader, guess_columns(_rows(reader, data), kind, str(data)))


def _rows(reader: str, data: Path, options: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    source = FileSource(reader=reader, paths=(data.name,), options=dict(options or {}))
    rows: Iterator[Row] = reader_for(reader)(Upstream(data, source))
    found = [row for _, row in islice(rows, LOOKED_AT)]
    if not found:
        raise use_error(f"{data} has no rows.")
    return found


def _is_squad(data: Path) -> bool:
    try:
        next(iter(reader_for("squad")(Upstream(data, FileSource(reader="squad")))))
    except (AdaptxferError, StopIteration):
        return False
    return True


def _separator(data: Path) -> str | None:
    """How tokens and tags are separated, or None if the file does not have a token and a tag a line."""
    lines = [line for _, line in islice(read_lines(data), 200)]
    if not any(not line.strip() for line in lines[:-1]):
        return None  # without empty lines between sentences it is a table
    for name, mark in (("tab", "\t"), ("space", " ")):
        if all(line.count(mark) == 1 for line in lines if line.strip()):
            return name
    return None


def _tags(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    tags = sorted({tag for row in rows for tag in row["tags"] or ()})
    return tuple(sorted(tags, key=lambda tag: tag != "O"))


def _text(name: str, data: Path, draft: Draft, role: str, language: str) -> Iterator[str]:
    guess = draft.guess
    yield from (f"name = {_quoted(name)}", "version = 1 # goes up when scores may change")
    yield from (
        f"kind = {_quoted(guess.kind)}",
        f"role = [{_quoted(role)}]",
        'about = "" # one sentence',
        'licence = ""',
    )
    if guess.labels:
        yield f"labels = {_quoted(list(guess.labels))} # those in the file"
    place = _place_of(data, language)
    yield from (f"languages = {_quoted(list(place.languages))}", "")
    if guess.columns:
        yield "[columns] # field of the example = upstream column in braces, or text around several"
        yield from (*(f"{key} = {_quoted(value)}" for key, value in guess.columns.items()), "")
    for column, known in guess.values.items():
        yield f"[values.{_quoted(column)}] # its values there = ours"
        yield from (*(f"{_quoted(key)} = {_quoted(value)}" for key, value in known.items()), "")
    yield from _place(data, draft, place)
    yield from ("[text]", f"max_length = {LENGTHS.get(guess.kind, 256)}")
    if guess.kind == "choose":
        yield 'side = "left" # cut the start of the context, never the choice'
    entities = any(label.startswith("B-") for label in guess.labels)
    metric = "entity_f1" if entities else METRICS.get(guess.kind, "accuracy")
    yield from ("", "[metric]", f"main = {_quoted(metric)}", "")


def _place(data: Path, draft: Draft, place: Place) -> Iterator[str]:
    yield f"[[files]] # found with --data-dir {data.parent}"
    yield f"reader = {_quoted(draft.reader)}"
    yield f"paths = [{_quoted(place.pattern)}] # {{split}} and {{lang}} may stand in it; .gz is found too"
    yield f"splits = {_inline(place.splits)} # ours = theirs"
    if draft.options:
        yield f"options = {_inline(draft.options)}"
    yield ""


def _inline(table: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = {_quoted(value)}" for key, value in table.items()) + " }"


def _place_of(data: Path, language: str) -> Place:
    """The file's name with ``{split}`` and ``{lang}`` for what they are there, and what lies beside it."""
    plain = data.name.removesuffix(".gz")
    pattern = _part("|".join(SPLITS)).sub("{split}", plain, count=1)
    own = _part(re.escape(language))
    if own.search(pattern):
        pattern = own.sub("{lang}", pattern, count=1)
    named = re.escape(pattern).replace(r"\{split\}", f"(?P<split>{'|'.join(SPLITS)})")
    file = re.compile(named.replace(r"\{lang\}", "(?P<lang>[a-z]{2,3})") + r"(\.gz)?")
    beside = [match.groupdict() for path in data.parent.iterdir() if (match := file.fullmatch(path.name))]
    languages = sorted({found["lang"] for found in beside if "lang" in found} - {language})
    splits = {SPLITS[name]: name for name in reversed(SPLITS) if any(found.get("split") == name for found in beside)}
    ordered = {split: splits[split] for split in dict.fromkeys(SPLITS.values()) if split in splits}
    return Place(pattern, ordered or {"train": "train"}, (language, *languages))


def _part(names: str) -> re.Pattern[str]:
    """A word of a file's name."""
    return re.compile(rf"(?<![A-Za-z])({names})(?![A-Za-z])")


def _quoted(value: str | list[str]) -> str:
    """A TOML string or list of strings; JSON's escapes are TOML's but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
