"""Examples of a task in their normal form, from files on disk or from the Hub."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from adaptxfer.errors import DATA, AdaptxferError, data_error
from adaptxfer.files import content_hash, file_hash
from adaptxfer.tasks.build import Builder
from adaptxfer.tasks.examples import Example, TagExample
from adaptxfer.tasks.find import members
from adaptxfer.tasks.hub import hub_rows, is_bad
from adaptxfer.tasks.keep import kept
from adaptxfer.tasks.places import Found, check_request, find_files, hub_for, languages_of, nowhere, splits_of
from adaptxfer.tasks.readers import Row, Upstream, reader_for
from adaptxfer.tasks.readers.text import read_lines
from adaptxfer.tasks.spec import UNSEEN, HubSource, TaskSpec
from adaptxfer.tasks.template import RowError

UNITS = {"squad": "question", "lareqa": "row", "json": "entry", "tags": "sentence at line"}
"""What a reader counts, where it is not lines."""


class NoExamples(AdaptxferError):
    """The place of a split holds nothing in the language asked for, which may share its file with others."""


@dataclass(frozen=True)
class Examples:
    """The examples of one split and language.

    ``source`` says where they come from, ``fingerprint`` is a SHA-256 in hex (of the files' bytes, or of the examples
    of a Hub data set), ``notes`` counts what was mended or dropped on the way: ``realigned`` and ``unaligned``
    answers, ``dropped_unaligned``, ``dropped_unlabelled`` and ``placeholder_labels`` examples.
    """

    items: list[Example]
    source: str
    fingerprint: str
    notes: dict[str, int]


def read_examples(
    spec: TaskSpec, split: str, language: str, data_dir: Path | None = None, limit: int | None = None
) -> Examples:
    """Read one split of a task in one language.

    With ``data_dir`` only files under it are read (and those that come with the package), else the Hub is asked.
    Training examples without a label, or without a place for their answer, are left out and counted. In dev and test
    they are left out if others have labels; if none has, all are kept for prediction. ``limit`` keeps the first ones.

    Raises:
        AdaptxferError: if the split or language does not exist, data is missing or damaged, or a row makes no sense;
            the sentence names the place. NoExamples if all is well but for there being none.
    """
    if spec.pool:
        return _pooled(spec, split, language, data_dir, limit)
    check_request(spec, split, language)
    if split != "train":
        spec = with_labels(spec, data_dir)
    found = find_files(spec, split, language, data_dir)
    if found is not None:
        builder = Builder(spec, found.source, language)
        stream, place = _file_examples(builder, found), ", ".join(str(up.path) for up in found.files)
    elif data_dir is None and (hub := hub_for(spec, split, language)) is not None:
        builder = Builder(spec, hub, language)
        stream, place = _hub_examples(builder, hub, split, language), f"{hub.id} on the Hub"
    else:
        raise nowhere(spec, split, language, data_dir)
    items = kept(stream, split, limit, builder.notes)
    if not items:
        told = f"{spec.name}: no usable {split} examples in {language!r} in {place}{_because(builder.notes)}."
        raise NoExamples(told, code=DATA)
    fingerprint = _files_hash(found) if found else content_hash([spec.digest, *map(_plain, items)], 64)
    return Examples(items, place, fingerprint, dict(+builder.notes))


def _pooled(spec: TaskSpec, split: str, language: str, data_dir: Path | None, limit: int | None) -> Examples:
    """The examples of every member, in the order of the pool; ids start with the member's name."""
    share = None if limit is None else -(-limit // len(spec.pool))
    parts = {part.name: read_examples(part, split, language, data_dir, share) for part in members(spec)}
    items = [replace(item, id=f"{name}/{item.id}") for name, part in parts.items() for item in part.items]
    return Examples(
        items[:limit],
        ", ".join(part.source for part in parts.values()),
        hashlib.sha256("".join(part.fingerprint for part in parts.values()).encode()).hexdigest(),
        dict(sum((Counter(part.notes) for part in parts.values()), Counter())),
    )


def with_labels(spec: TaskSpec, data_dir: Path | None = None) -> TaskSpec:
    """The task itself, or if its labels are open, with those of the training data in its first language.

    Raises:
        AdaptxferError: if the training data cannot be read.
    """
    if not spec.open_labels or spec.labels:
        return spec
    train = read_examples(spec, "train", spec.languages[0], data_dir)
    tags = {tag for item in train.items if isinstance(item, TagExample) for tag in item.tags or ()}
    return replace(spec, labels=(*sorted(tags - {UNSEEN}), UNSEEN))


def available(spec: TaskSpec, data_dir: Path | None = None) -> dict[str, list[str]]:
    """Which languages each split has: files that exist, or (without ``data_dir``) what the Hub entry promises.

    Nothing is read. On the Hub, training data counts as English wherever English is among the languages.
    """
    if spec.pool:
        parts = [available(part, data_dir) for part in members(spec)]
        shared = [split for split in parts[0] if all(split in part for part in parts)]
        return {
            split: [code for code in parts[0][split] if all(code in part[split] for part in parts)] for split in shared
        }
    result = {}
    for split in splits_of(spec):
        offered = languages_of(spec, split)
        languages = [code for code in offered if find_files(spec, split, code, data_dir)]
        if not languages and data_dir is None:
            languages = [code for code in offered if (hub := hub_for(spec, split, code)) and not is_bad(hub, code)]
            languages = ["en"] if split == "train" and "en" in languages else languages
        if languages:
            result[split] = languages
    return result


def _file_examples(builder: Builder, found: Found) -> Iterator[Example]:
    offset = count = 0
    for up in found.files:
        unit = UNITS.get(up.source.reader, "line")
        for count, (number, row) in enumerate(_rows(up), 1):
            yield from _examples(builder, row, offset + count, f"{up.path}, {unit} {number}")
        offset, count = offset + count, 0


def _rows(up: Upstream) -> Iterator[Row]:
    """The rows of a file, with labels from its companion ``labels`` (one a line, in the same order) if it has one."""
    rows = reader_for(up.source.reader)(up)
    if "labels" not in up.beside:
        yield from rows
        return
    path = up.beside["labels"]
    for row, label in zip_longest(rows, read_lines(path)):
        if row is None or label is None:
            raise data_error(f"{up.path} and {path} differ in length.", "There must be one label for each row.")
        yield row[0], {**row[1], "label": label[1]}


def _hub_examples(builder: Builder, source: HubSource, split: str, language: str) -> Iterator[Example]:
    for number, row in hub_rows(source, split, language):
        yield from _examples(builder, row, number, f"{source.id}, row {number}")


def _examples(builder: Builder, row: dict[str, Any], number: int, place: str) -> Iterator[Example]:
    try:
        yield from builder.examples(number, row)
    except RowError as error:
        hint = f"Compare it with the columns and values in {builder.spec.origin}."
        raise data_error(f"{place} {error}.", hint) from error


def _because(notes: Mapping[str, int]) -> str:
    dropped = {name: count for name, count in notes.items() if name.startswith("dropped")}
    return f" ({', '.join(f'{count:,} {name}' for name, count in dropped.items())})" if dropped else ""


def _plain(example: Example) -> list[Any]:
    return [getattr(example, name) for name in example.__slots__]


def _files_hash(found: Found) -> str:
    """SHA-256 over the hashes of all files, in reading order."""
    return hashlib.sha256("".join(file_hash(path) for path in found.paths()).encode()).hexdigest()
