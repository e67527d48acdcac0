"""Putting words of strangers into Markdown: nothing in them is markup, HTML or a new line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"([\\`*_{}\[\]|~$@]|:(?=//)|(?<=www)\.)")
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def one_line(text: object) -> str:
    """``text`` without line breaks, control characters and marks that change its direction."""
    return " ".join(_INVISIBLE.sub(" ", str(text)).split())


def md(text: object) -> str:
    """``text`` as plain words inside a line of Markdown (not at its start) or a cell of a table."""
    line = one_line(text)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", line)


def code(text: object) -> str:
    """``text`` as inline code; table bars and backticks in it are replaced."""
    line = one_line(text)
    return f"`{line.replace('`', chr(39)).replace('|', '/') or ' '}`"


def block(text: str, language: str = "") -> str:
    """A fenced block whose fence is longer than any in ``text``."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def command(words: Iterable[object]) -> str:
    """A command line that a shell reads back as these words."""
    return " ".join(shlex.quote(_INVISIBLE.sub(" ", str(word))) for word in words)
