"""Rows of a data set on the Hub, through ``datasets``; every way this fails has its own sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from adaptxfer.console import console
from adaptxfer.errors import AdaptxferError, data_error
from adaptxfer.files import is_offline
from adaptxfer.tasks.build import expand
from adaptxfer.tasks.readers import Row
from adaptxfer.tasks.spec import HubSource, KnownBad

CONVERTED = "refs/convert/parquet"
"""The branch on which the Hub keeps a parquet copy of data sets that still have a loading script."""
GATED = {"GatedRepoError"}
NO_NETWORK = {
    *("ConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout", "MaxRetryError", "NameResolutionError"),
    *("ProxyError", "SSLError", "OfflineModeIsEnabled", "LocalEntryNotFoundError"),
}
NOT_FOUND = {"FileNotFoundError", "DatasetNotFoundError"}
KNOWN_BAD = (
    (
        "google/xtreme",
        "PAWS-X.*",
        KnownBad("CSV quoting lost rows and merged others", "the data set google-research-datasets/paws-x"),
    ),
    (
        "google/xtreme",
        "bucc18.*",
        KnownBad("it holds the gold pairs only, not the sentences around them", "the archives of BUCC with --data-dir"),
    ),
)
"""Data sets and configurations that no task should use, whatever its file says; task files may name more."""


def hub_rows(source: HubSource, split: str, language: str) -> Iterator[Row]:
    """All rows of a split, numbered from 1; labels that the data set stores as numbers come as its own names.

    Where the two sides of a retrieval task are configurations of their own, queries come first, then candidates.

    Raises:
        AdaptxferError: for a configuration known to be bad, when offline without a cached copy, without network, or
            when the data set has no such configuration or split.
    """
    if not source.candidates:
        yield from _rows(source, source.config, split, language)
        return
    for side, config in (("query", source.config), ("candidate", source.candidates)):
        for number, row in _rows(source, config, split, language):
            key = str(number - 1)
            yield number, {**row, "id": key, "side": side, "gold": [key] if side == "query" else []}


def _rows(source: HubSource, config: str | None, split: str, language: str) -> Iterator[Row]:
    config = config_for(source, language, config)
    if source.caution:
        _warn(source.id, source.caution)
    number = 0
    for name in source.splits[split]:
        table = _load(source, config, expand(name, source, language))
        names = {column: _class_names(feature) for column, feature in (table.features or {}).items()}
        names = {column: found for column, found in names.items() if found}
        for row in table:
            number += 1
            yield number, {**row, **{column: _named(row[column], found) for column, found in names.items()}}


def config_for(source: HubSource, language: str, pattern: str | None) -> str | None:
    """The configuration for a language.

    Raises:
        AdaptxferError: if it is known to be bad, with the reason and what to use instead.
    """
    config = pattern and expand(pattern, source, language)
    if config is not None and (bad := _bad(source, config)):
        raise data_error(f"{source.id} ({config}) is not used: {bad.reason}.", f"Instead: {bad.instead}.")
    return config


def is_bad(source: HubSource, language: str) -> bool:
    """True if the configuration for a language is known to be bad."""
    return source.config is not None and _bad(source, expand(source.config, source, language)) is not None


def _bad(source: HubSource, config: str) -> KnownBad | None:
    known = (bad for name, pattern, bad in KNOWN_BAD if name == source.id and fnmatchcase(config, pattern))
    return source.known_bad.get(config) or next(known, None)


@cache
def _warn(name: str, caution: str) -> None:
    """Say once how a data set differs from the benchmark."""
    console().warn(f"{name} {caution}.")


def _load(source: HubSource, config: str | None, split: str) -> Any:
    """The split as a table; a data set that needs a script is tried again on its converted branch."""
    import datasets

    place = f"{source.id}{f' ({config})' if config else ''}, split {split}"
    try:
        try:
            return datasets.load_dataset(source.id, config, split=split, revision=source.revision)
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            return datasets.load_dataset(source.id, config, split=split, revision=CONVERTED)
    except Exception as error:
        raise _sentence(place, error) from error


def _sentence(place: str, error: Exception) -> AdaptxferError:
    """What went wrong with a data set, told by the kinds of error in the chain of causes."""
    kinds = {type(cause).__name__ for cause in _chain(error)}
    said = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
    if kinds & GATED:
        return data_error(f"{place} is gated.", "Accept its terms on the Hub and set HF_TOKEN, or use --data-dir.")
    if is_offline() and kinds & (NO_NETWORK | NOT_FOUND):
        return data_error(
            f"{place} is not in the cache, and the Hub is off limits (offline).", "Use --data-dir, or run once online."
        )
    if kinds & NO_NETWORK:
        return data_error(f"{place}: no connection to the Hub.", "Check the network, or use --data-dir.")
    return data_error(f"{place} cannot be loaded: {said}.", "Check it with `adaptxfer tasks check`, or use --data-dir.")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _class_names(feature: Any) -> list[str] | None:
    """The label names of a column of numbers (or of lists of them), or None."""
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else feature)
    names = getattr(inner, "names", None)
    return None if names is None or isinstance(inner, Mapping) else list(names)


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
