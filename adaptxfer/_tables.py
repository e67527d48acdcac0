"""The table of the console: one object that is drawn on a terminal, written as Markdown or given as JSON."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that steer a terminal; names and manifests from elsewhere may hold them."""

MARKDOWN_ALIGN = {"left": "---", "right": "---:", "center": ":---:"}
TEXT_COLUMN = 12
"""A column of text is wrapped, but never below this many columns of the terminal."""

TOGETHER = 24
"""A name and its value are not parted by the end of a line if they are no longer than this."""
GLUE = "\ue000"
"""Stands for a space at which no line ends, while a table is drawn."""

Cell = str | int | float | bool | None


def clean(text: str) -> str:
    """``text`` without characters that steer a terminal (line breaks and tabs stay)."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def wrapped(line: str, width: int, indented: bool = False) -> str:
    """``line`` broken between words where it is wider than ``width``; longer words stay whole.

    Lines that begin with a space, such as commands to copy, are broken only if ``indented`` says so.
    """
    words = line.lstrip(" ")
    indent = line[: len(line) - len(words)]
    if len(line) <= width or not words or (indent and not indented):
        return line
    lines = textwrap.wrap(words, max(1, width - len(indent)), break_long_words=False, break_on_hyphens=False)
    return "\n".join(indent + line for line in lines)


def cell_text(cell: Cell) -> str:
    """One value as a table shows it: floats are points with one decimal, nothing is a dash."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.1f}"
    return f"{cell:,}" if isinstance(cell, int) else clean(str(cell))


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        title: one line above the table, may be empty.
        columns: names, or (name, alignment) pairs; alignment is left, right or center.
        rows: one sequence per row; floats are points and show one decimal, ``None`` shows as a dash.
        caption: a sentence below the table, may be empty.
    """

    title: str
    columns: Sequence[str | tuple[str, str]]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def names(self) -> list[str]:
        """The column names in order."""
        return [column if isinstance(column, str) else column[0] for column in self.columns]

    def aligns(self) -> list[str]:
        """The alignment of each column; without a wish, columns of numbers go right and the rest left."""
        return [self._align(index, column) for index, column in enumerate(self.columns)]

    def _align(self, index: int, column: str | tuple[str, str]) -> str:
        if not isinstance(column, str):
            return column[1]
        cells = [row[index] for row in self.rows if row[index] is not None]
        numeric = all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)
        return "right" if cells and numeric else "left"

    def texts(self) -> list[list[str]]:
        """The cells as they are shown."""
        return [[cell_text(cell) for cell in row] for row in self.rows]

    def to_markdown(self) -> str:
        """A Markdown table under a bold title, the caption below."""
        lines = [self.names(), [MARKDOWN_ALIGN[align] for align in self.aligns()], *self.texts()]
        body = "\n".join(f"| {' | '.join(map(_markdown_cell, line))} |" for line in lines)
        return "\n\n".join(part for part in (self.title and f"**{self.title}**", body, self.caption) if part) + "\n"

    def to_json(self) -> dict[str, Any]:
        """The raw values: schema, title, caption and one object per row."""
        rows = [dict(zip(self.names(), row, strict=True)) for row in self.rows]
        return {"schema": 1, "title": self.title, "rows": rows, "caption": self.caption}


def _markdown_cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text).replace("|", r"\|")


def draw(table: Table, width: int, colour: bool = False, ascii_only: bool = False) -> str:
    """The table as lines of at most ``width`` columns; a table too wide for that is drawn as one block per row."""
    from rich.console import Console, Group
    from rich.text import Text

    screen = Console(
        file=StringIO(), width=width, force_terminal=colour, no_color=not colour, highlight=False, markup=False
    )
    body = _grid(table, ascii_only) if _least_width(table) <= width else _blocks(table)
    parts = [Text(clean(table.title), style="bold")] if table.title else []
    screen.print(Group(*parts, body, *([Text(clean(table.caption), style="dim")] if table.caption else [])))
    drawn = screen.file.getvalue().replace(GLUE, " ")  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in drawn.splitlines())


def _least_width(table: Table) -> int:
    from rich.cells import cell_len

    shown = [table.names(), *table.texts()]
    widths = [
        max(cell_len(part) for line in shown for part in line[index].split("\n")) for index in range(len(shown[0]))
    ]
    least = [
        width if align == "right" else min(width, TEXT_COLUMN)
        for width, align in zip(widths, table.aligns(), strict=True)
    ]
    return sum(least) + 2 * len(least)


def _grid(table: Table, ascii_only: bool) -> Any:
    from rich.box import SIMPLE_HEAD, Box
    from rich.table import Table as Grid
    from rich.text import Text

    box = Box("    \n    \n -- \n" + "    \n" * 5, ascii=True) if ascii_only else SIMPLE_HEAD
    grid = Grid(box=box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name, align in zip(table.names(), table.aligns(), strict=True):
        fixed = align == "right"
        grid.add_column(Text(name), justify=align, no_wrap=fixed, overflow="fold", min_width=None if fixed else 4)  # type: ignore[arg-type]
    for row in table.texts():
        grid.add_row(*map(Text, row))
    return grid


def _blocks(table: Table) -> Any:
    """A heading and an indented paragraph for each row: every value with its column's name, empty ones left out."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts = []
    for row in table.texts():
        named = [_named(name, cell) for name, cell in zip(table.names(), row, strict=True) if cell]
        parts.append(Text(named[0] if named else "", overflow="fold"))
        if rest := "; ".join(item.replace(" ", GLUE) if len(item) <= TOGETHER else item for item in named[1:]):
            parts.append(Padding(Text(rest, overflow="fold"), (0, 0, 0, 2)))
    return Group(*parts)


def _named(name: str, cell: str) -> str:
    return " ".join(f"{name}: {cell}".split() if name else cell.split())
