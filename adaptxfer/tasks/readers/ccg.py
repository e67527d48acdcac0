"""CCGbank's ``.auto`` files: two lines a sentence, an ``ID=`` line and the derivation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from adaptxfer.errors import data_error
from adaptxfer.tasks.readers import Row, Upstream
from adaptxfer.tasks.readers.text import read_lines

LEAF = re.compile(r"<L (\S+) \S+ \S+ (\S+) \S+>")
"""A word of the derivation: supertag, two part-of-speech tags, the word, the supertag with its indices."""


def read_ccg(up: Upstream) -> Iterator[Row]:
    """One row per derivation: words and their supertags."""
    key = None
    for number, line in read_lines(up.path):
        if line.startswith("ID="):
            key = line.split()[0].removeprefix("ID=")
        elif line.strip():
            leaves = LEAF.findall(line)
            if key is None or not leaves or line.count("<L ") != len(leaves):
                raise data_error(f"{up.path}, line {number} is not a CCGbank derivation.", "Expected an .auto file.")
            yield number, {"id": key, "words": [word for _, word in leaves], "tags": [tag for tag, _ in leaves]}
            key = None
