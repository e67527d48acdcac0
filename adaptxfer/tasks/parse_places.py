"""Where a task's rows come from, read from its file: ``[hub]`` and ``[[files]]``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from adaptxfer.errors import nearest
from adaptxfer.tasks.spec import FileSource, HubSource, KnownBad
from adaptxfer.tasks.table import Table
from adaptxfer.tasks.template import fields_for

LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z][a-z]{3})?(-[a-z]{2,3})?")
READERS = (
    *("jsonl", "json", "csv", "tsv", "squad", "tags", "conllu", "bitext", "bucc", "ccg", "hellaswag"),
    *("lareqa", "mewslix"),
)
OPTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "tags": {"separator": ("tab", "space")},
    "conllu": {"words": (True, False)},
    "tsv": {"split": (["words", "tags"],)},
}
"""Options of a reader with the values they take."""
COMPANIONS = {"bitext": {"candidates"}, "bucc": {"candidates"}}
"""Files that a reader needs beside the main one."""


class Shared(NamedTuple):
    """What the task says once for all its places; a place may override it."""

    kind: str
    columns: dict[str, Any]
    values: dict[str, dict[str, str]]
    codes: dict[str, str]


def places(top: Table, kind: str) -> dict[str, Any]:
    """The Hub and file sources, each with the task's own columns and values underneath its own."""
    shared = Shared(kind, top.free("columns"), top.nested("values"), top.strings("codes"))
    hub = tuple(_hub(table, shared) for table in top.tables("hub"))
    files = tuple(_file(table, shared) for table in top.tables("files"))
    if not hub and not files and not top.data.get("pool"):
        top.fault("hub", "the task has no data; add [[hub]], [[files]] or pool")
    return {"hub": hub, "files": files}


def _rows(table: Table, shared: Shared) -> dict[str, Any]:
    merged = {**shared.columns, **table.free("columns")}
    for name, problem in fields_for(shared.kind, merged):
        table.fault(f"columns.{name}", problem)
    own = table.nested("values")
    return {
        "splits": table.lists("splits"),
        "columns": merged,
        "values": {key: {**shared.values.get(key, {}), **own.get(key, {})} for key in {**shared.values, **own}},
        "where": table.strings("where"),
        "codes": {**shared.codes, **table.strings("codes")},
        "unlabelled": table.texts("unlabelled", ("", "-", "-1")),
        "languages": languages(table, "languages"),
    }


def _hub(table: Table, shared: Shared) -> HubSource:
    bad = {}
    for key, entry in table.table("known_bad").each():
        bad[key] = KnownBad(entry.text("reason"), entry.text("instead"))
        entry.close()
    source = HubSource(
        **_rows(table, shared),
        id=table.text("id"),
        config=table.text("config", "") or None,
        candidates=table.text("candidates", "") or None,
        revision=table.text("revision", "") or None,
        verified=table.flag("verified", False),
        caution=table.text("caution", ""),
        known_bad=bad,
    )
    if not source.splits:
        table.fault("splits", 'missing; name the splits, as in { train = "train", dev = "validation" }')
    table.close()
    return source


def _file(table: Table, shared: Shared) -> FileSource:
    reader = table.text("reader", choices=READERS)
    options, known = table.free("options"), OPTIONS.get(reader, {})
    for key, value in options.items():
        if key not in known:
            table.fault(f"options.{key}", f"the reader {reader!r} has no such option. {nearest(key, known)}")
        elif value not in known[key]:
            table.fault(f"options.{key}", f"{value!r} is not one of {', '.join(map(repr, known[key]))}")
    source = FileSource(
        **_rows(table, shared),
        reader=reader,
        paths=table.texts("paths", least=1),
        names=table.texts("names", ()),
        beside=table.strings("beside"),
        options=options,
        embedded=table.flag("embedded", False),
        here=table.flag("here", False),
    )
    for key in sorted(COMPANIONS.get(reader, set()) - source.beside.keys()):
        table.fault(f"beside.{key}", f"missing; the reader {reader!r} needs it")
    for path in (*source.paths, *source.beside.values()):
        if Path(path).is_absolute() or ".." in Path(path).parts:
            table.fault("paths", f"{path!r} leaves the data folder")
    table.close()
    return source


def languages(table: Table, key: str, least: int = 0) -> tuple[str, ...]:
    """A list of language codes under ``key``; anything else is noted as a fault."""
    codes = table.texts(key, None if least else (), least=least)
    for code in codes:
        if not LANGUAGE.fullmatch(code):
            table.fault(key, f'{code!r} is not a language code such as "sw", "swh_Latn" or, for a pair, "de-en"')
    return codes
