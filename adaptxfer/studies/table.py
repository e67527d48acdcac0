"""The long record table: one row per score, the only input that studies need."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from adaptxfer.errors import data_error, nearest, use_error
from adaptxfer.files import csv_rows, read_text, write_text

STATUSES = ("measured", "simulated", "imported")
NONE = "none"
"""The intermediate of a baseline: none is an intermediate like the others."""

WHOLE = "all"
"""The slice that holds every item."""


@dataclass(frozen=True, slots=True)
class Row:
    """One score.

    Args:
        target_task: what was scored; for a score on the intermediate task itself, its name.
        language: language code.
        metric: name of the metric.
        value: points (0-100 for all metrics of target tasks).
        target_seed: seed of the target training; gains are paired on it.
        intermediate: names joined with ``+``, or ``none``.
        status: where the number is from, one of ``STATUSES``.
        settings: hash of everything else that was asked for, so that only like is compared with like.
        n_params: weights of the base model outside its embeddings.
        items: file with the scores of single items; relative to the table's folder in a CSV.
    """

    target_task: str
    language: str
    metric: str
    value: float
    target_seed: int
    intermediate: str = NONE
    status: str = "imported"
    study: str = ""
    backbone: str = ""
    n_params: int | None = None
    method: str = ""
    how: str = ""
    intermediate_checkpoint: str = ""
    intermediate_seed: int | None = None
    slice: str = WHOLE
    split: str = ""
    n_items: int | None = None
    settings: str = ""
    run: str = ""
    items: str = ""

    def cell(self) -> tuple[Any, ...]:
        """What the score is of: everything but the number, where it is from and which run holds it."""
        return tuple(getattr(self, name) for name in IDENTITY)


COLUMNS = tuple(field.name for field in fields(Row))
REQUIRED = COLUMNS[:5]
IDENTITY = tuple(name for name in COLUMNS if name not in ("value", "status", "n_items", "n_params", "run", "items"))


@dataclass(frozen=True)
class RecordTable:
    """Rows of one origin and what should be said about them.

    Raises:
        AdaptxferError: if there is no row, a value is not finite, simulated rows stand beside others, or a cell is
            filled twice.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.rows:
            raise data_error("The record table has no rows.", "Score something first, or give another table.")
        if "simulated" in self.statuses() and len(self.statuses()) > 1:
            raise use_error("Simulated rows stand beside real ones.", "Give tables of one origin.")
        seen: dict[tuple[Any, ...], Row] = {}
        for row in self.rows:
            other = seen.setdefault(row.cell(), row)
            if other is not row:
                both = f" ({other.run} and {row.run})" if row.run else ""
                raise data_error(f"{told(row)} has two values{both}.", "Keep one row for each cell.")

    def statuses(self) -> tuple[str, ...]:
        """Where the rows are from, in the order of ``STATUSES``."""
        found = {row.status for row in self.rows}
        return tuple(status for status in STATUSES if status in found)

    def banner(self) -> str:
        """A sentence every report on this table begins with if its rows are not all measured, else nothing."""
        if self.statuses() == ("simulated",):
            return "SIMULATED: these numbers come from a simulated world, not from any model."
        counts = {status: sum(row.status == status for row in self.rows) for status in self.statuses()}
        if "imported" not in counts:
            return ""
        return "Rows by origin: " + ", ".join(f"{count:,} {status}" for status, count in counts.items()) + "."

    def where(self, keep: Callable[[Row], bool]) -> RecordTable:
        """The table of the rows that ``keep`` accepts.

        Raises:
            AdaptxferError: if none is left.
        """
        return RecordTable(tuple(filter(keep, self.rows)), self.notes)

    def values(self, column: str) -> list[Any]:
        """The different values of a column in order of appearance."""
        return list(dict.fromkeys(getattr(row, column) for row in self.rows))


def told(row: Row) -> str:
    """A cell in words."""
    return f"{row.intermediate} -> {row.target_task} in {row.language}, seed {row.target_seed}, {row.metric}"


def join_tables(tables: Iterable[RecordTable]) -> RecordTable:
    """All rows in one table.

    Raises:
        AdaptxferError: as ``RecordTable``.
    """
    tables = list(tables)
    notes = dict.fromkeys(note for table in tables for note in table.notes)
    return RecordTable(tuple(row for table in tables for row in table.rows), tuple(notes))


def read_csv(path: Path) -> RecordTable:
    """A table from a CSV file with the columns of ``Row``; rows without a status count as imported.

    Args:
        path: comma-separated, UTF-8, gzip or not; paths in ``items`` are relative to its folder.

    Raises:
        AdaptxferError: naming the line, for a missing or unknown column or a value that cannot be read.
    """
    names, lines = csv_rows(read_text(path, "record table"), str(path))
    if missing := [name for name in REQUIRED if name not in names]:
        raise data_error(f"{path} lacks the column {', '.join(missing)}.", f"Needed: {', '.join(REQUIRED)}.")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise data_error(f"{path} has the unknown column {unknown[0]!r}.", nearest(unknown[0], COLUMNS))
    rows = []
    for number, cells in lines:
        try:
            rows.append(_row(cells, path.parent))
        except (ValueError, TypeError) as error:
            raise data_error(f"{path}, line {number}: {error}.", "Mend the line.") from error
    return RecordTable(tuple(rows))


def write_csv(path: Path, table: RecordTable) -> None:
    """Write a table so that ``read_csv`` reads it back, whole or not at all."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in table.rows:
        cells = [getattr(row, name) for name in COLUMNS]
        writer.writerow(["" if cell is None else repr(cell) if isinstance(cell, float) else cell for cell in cells])
    write_text(path, stream.getvalue())


def _row(cells: Mapping[str | None, Any], folder: Path) -> Row:
    if None in cells or None in cells.values():
        raise ValueError("expected as many cells as columns")
    given = {str(name): text.strip() for name, text in cells.items() if text.strip()}
    if missing := [name for name in REQUIRED if name not in given]:
        raise ValueError(f"{missing[0]} is empty")
    for name in ("target_seed", "intermediate_seed", "n_params", "n_items"):
        if name in given:
            given[name] = int(given[name])
    given["value"] = float(given["value"])
    if not math.isfinite(given["value"]):
        raise ValueError(f"value is {given['value']}, expected a finite number")
    if given.get("status", "imported") not in STATUSES:
        raise ValueError(f"status {given['status']!r} is none of {', '.join(STATUSES)}")
    if "items" in given:
        given["items"] = str(folder / given["items"])
    return Row(**given)


def only_value(table: RecordTable, column: str, option: str) -> Any:
    """The one value of a column.

    Raises:
        AdaptxferError: if there are several; ``option`` is offered as the way to choose.
    """
    values: Sequence[Any] = table.values(column)
    if len(values) > 1:
        named = ", ".join(str(value) or "(none)" for value in values)
        raise use_error(f"The records hold several values of {column}: {named}.", f"Choose one with {option}.")
    return values[0]
