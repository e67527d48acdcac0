"""One token and its tag a line, an empty line between sentences (PAN-X, UDPOS, MasakhaNER)."""

from __future__ import annotations

from collections.abc import Iterator

from adaptxfer.errors import data_error
from adaptxfer.tasks.readers import Row, Upstream
from adaptxfer.tasks.readers.text import read_lines

SEPARATORS = {"tab": "\t", "space": " "}


def read_tags(up: Upstream) -> Iterator[Row]:
    """One row per sentence: words, and tags unless the sentence has none. Numbered by the sentence's first line."""
    separator = SEPARATORS[up.source.options.get("separator", "tab")]
    words: list[str] = []
    tags: list[str] = []
    start = 1
    for number, line in read_lines(up.path):
        if not line.strip(" \t"):
            if words:
                yield _sentence(up, start, words, tags)
            words, tags, start = [], [], number + 1
            continue
        fields = line.rstrip(separator).split(separator)
        if len(fields) > 2:
            name = up.source.options.get("separator", "tab")
            raise data_error(f"{up.path}, line {number} has {len(fields)} fields; expected a token, a {name}, a tag.")
        words.append(fields[0])
        tags += fields[1:]
    if words:
        yield _sentence(up, start, words, tags)


def _sentence(up: Upstream, start: int, words: list[str], tags: list[str]) -> Row:
    if tags and len(tags) != len(words):
        raise data_error(f"{up.path}, sentence at line {start} has {len(words)} tokens and {len(tags)} tags.")
    return start, {"words": words, "tags": tags or None}
