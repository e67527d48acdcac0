"""Typed access to one TOML table; faults are collected with the key they are in, never raised one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from adaptxfer.errors import nearest


class Table:
    """One table of a file. Every getter notes its key, so that ``close`` can name the unknown ones.

    Args:
        data: the parsed table.
        name: dotted path of the table, empty for the top.
        faults: the list that all tables of a file share.
    """

    def __init__(self, data: dict[str, Any], name: str = "", faults: list[str] | None = None) -> None:
        self.data, self.name = data, name
        self.faults: list[str] = [] if faults is None else faults
        self.used: set[str] = set()

    def fault(self, key: str, problem: str) -> None:
        """Note a problem with ``key``."""
        self.faults.append(f"{self.name}{key}: {problem}")

    def close(self) -> None:
        """Note every key that nobody asked for."""
        for key in self.data.keys() - self.used:
            self.fault(key, f"unknown key. {nearest(key, self.used)}")

    def _get(self, key: str, kind: type | tuple[type, ...], what: str, default: Any) -> Any:
        self.used.add(key)
        if key not in self.data:
            if default is None:
                self.fault(key, "missing")
            return default
        value = self.data[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fault(key, f"expected {what}, found {value!r}")
            return default
        return value

    def text(self, key: str, default: str | None = None, choices: Sequence[str] = ()) -> str:
        """A string; with ``choices``, one of them."""
        value = self._get(key, str, "a string", default)
        if choices and value is not None and value not in choices:
            self.fault(key, f"{value!r} is not known. {nearest(value, choices)}")
        return value or ""

    def texts(
        self, key: str, default: tuple[str, ...] | None = None, choices: Sequence[str] = (), least: int = 0
    ) -> tuple[str, ...]:
        """A list of different strings; a single string stands for a list of one."""
        value = self._get(key, (list, str), "a list of strings", default)
        items = [value] if isinstance(value, str) else list(value or ())
        if any(not isinstance(item, str) for item in items):
            self.fault(key, "expected a list of strings")
            return ()
        for item in items:
            if choices and item not in choices:
                self.fault(key, f"{item!r} is not known. {nearest(item, choices)}")
        if len(set(items)) < len(items):
            self.fault(key, "holds the same entry twice")
        if key in self.data and len(items) < least:
            self.fault(key, "must not be empty")
        return tuple(items)

    def integer(self, key: str, default: int | None = None, least: int = 0) -> int:
        """A whole number of at least ``least``."""
        value = self._get(key, int, "a whole number", default)
        if value is not None and value < least:
            self.fault(key, f"must be at least {least}, found {value}")
        return least if value is None else value

    def number(self, key: str, default: float, most: float = float("inf")) -> float:
        """A number from 0 to ``most``."""
        value = self._get(key, (int, float), "a number", default)
        if not 0 <= value <= most:
            self.fault(key, f"must lie between 0 and {most}, found {value}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        return self._get(key, bool, "true or false", default)

    def free(self, key: str) -> dict[str, Any]:
        """A table that the caller checks itself."""
        return self._get(key, dict, "a table", {})

    def strings(self, key: str) -> dict[str, str]:
        """A table from name to string."""
        value = self.free(key)
        for name, entry in value.items():
            if not isinstance(entry, str):
                self.fault(f"{key}.{name}", f"expected a string, found {entry!r}")
        return {name: entry for name, entry in value.items() if isinstance(entry, str)}

    def lists(self, key: str) -> dict[str, tuple[str, ...]]:
        """A table from name to a list of strings (or one string)."""
        inner = self.table(key)
        return {name: inner.texts(name) for name in inner.data}

    def nested(self, key: str) -> dict[str, dict[str, str]]:
        """A table of tables from name to string."""
        inner = self.table(key)
        return {name: inner.strings(name) for name in inner.data}

    def table(self, key: str) -> Table:
        """A sub-table, empty if the file has none."""
        return Table(self.free(key), f"{self.name}{key}.", self.faults)

    def tables(self, key: str) -> list[Table]:
        """A list of tables; a single table stands for a list of one."""
        value = self._get(key, (list, dict), "a table or a list of tables", [])
        entries = [value] if isinstance(value, dict) else value
        found = []
        for number, entry in enumerate(entries, 1):
            name = key if len(entries) == 1 else f"{key}[{number}]"
            if isinstance(entry, dict):
                found.append(Table(entry, f"{self.name}{name}.", self.faults))
            else:
                self.fault(name, f"expected a table, found {entry!r}")
        return found

    def each(self) -> Iterator[tuple[str, Table]]:
        """Every entry of this table as a sub-table."""
        for key in self.data:
            yield key, self.table(key)
