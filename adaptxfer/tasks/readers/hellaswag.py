"""HellaSwag as plain text, six lines a row: ``activity: context``, the label from 0, four endings."""

from __future__ import annotations

from collections.abc import Iterator

from adaptxfer.errors import data_error
from adaptxfer.tasks.readers import Row, Upstream
from adaptxfer.tasks.readers.text import read_lines


def read_hellaswag(up: Upstream) -> Iterator[Row]:
    """One row per six lines: activity_label, ctx, label, endings."""
    lines: list[str] = []
    number = 0
    for number, line in read_lines(up.path):
        lines.append(line)
        if len(lines) == 6:
            yield number - 5, _row(up, number - 5, lines)
            lines = []
    if any(lines):
        raise data_error(f"{up.path} ends at line {number} within a row; every row has six lines.", "Was it cut off?")


def _row(up: Upstream, start: int, lines: list[str]) -> dict[str, object]:
    activity, colon, context = lines[0].partition(": ")
    if not colon or not lines[1].isdecimal():
        raise data_error(f"{up.path}, line {start} does not start a row: expected `activity: context` and a label.")
    return {"activity_label": activity, "ctx": context, "label": lines[1], "endings": lines[2:]}
