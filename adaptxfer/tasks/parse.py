"""From a TOML file to a ``TaskSpec``; every fault of the file is found and reported at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from adaptxfer.errors import AdaptxferError, use_error
from adaptxfer.files import check_name, content_hash, read_text
from adaptxfer.tasks.examples import KINDS
from adaptxfer.tasks.parse_places import languages, places
from adaptxfer.tasks.spec import (
    METHODS,
    ROLES,
    MetricOptions,
    RetrieveOptions,
    TaskSpec,
    TextOptions,
    TrainOptions,
)
from adaptxfer.tasks.table import Table


def parse_task(path: Path) -> TaskSpec:
    """Read one task file.

    Raises:
        AdaptxferError: if it is not TOML or has faults; the sentence lists every fault with the key it is in.
    """
    data = _merged(path)
    top = Table(data)
    spec = _task(top, path, content_hash(data, 16))
    if top.faults:
        count = f"{len(top.faults)} fault{'s' if len(top.faults) > 1 else ''}"
        listing = "".join(f"\n  - {fault}" for fault in top.faults)
        raise use_error(f"task file {path} has {count}:{listing}")
    return spec


def _merged(path: Path) -> dict[str, Any]:
    """The file's content, laid over that of the file it extends (``extends = "name"``, same folder, one level)."""
    data = _content(path)
    if "extends" not in data:
        return data
    name = check_name(str(data.pop("extends")), f"{path}: extends")
    base = _content(path.with_name(f"{name}.toml"))
    if "extends" in base or base.get("kind") != data.get("kind", base.get("kind")):
        raise use_error(f"task file {path} extends {name}, which extends another or is of another kind.")
    return _over(base, data)


def _over(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """``own`` laid over ``base``: tables are merged, everything else is replaced."""
    inner = {key: _over(base[key], own[key]) for key in base.keys() & own.keys() if _are_tables(base[key], own[key])}
    return {**base, **own, **inner}


def _are_tables(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _content(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, "task file"))
    except tomllib.TOMLDecodeError as error:
        raise use_error(f"task file {path} is not valid TOML: {error}.") from error
    except RecursionError as error:
        raise use_error(f"task file {path} is nested too deeply.") from error


def _task(top: Table, path: Path, digest: str) -> TaskSpec:
    if "code" in top.data:
        top.fault("code", "task files hold no code; turn the rows into one of the known layouts first")
        top.used.add("code")
    kind = top.text("kind", choices=KINDS)
    spec = TaskSpec(
        name=_name(top, "name"),
        kind=kind,
        role=top.texts("role", choices=ROLES, least=1),
        languages=languages(top, "languages", least=1),
        origin=path,
        digest=digest,
        version=top.integer("version", 1, least=1),
        about=top.text("about", ""),
        paper=top.text("paper", ""),
        licence=top.text("licence", ""),
        labels=_labels(top, kind),
        open_labels=top.flag("open_labels", False),
        pool=top.texts("pool", ()),
        text=_text(top.table("text")),
        train=_train(top.table("train")),
        metric=_metric(top.table("metric")),
        retrieve=_retrieve(top.table("retrieve")),
        **places(top, kind),
        export=top.free("export"),
        expect=top.free("expect"),
    )
    _expect(top, spec)
    top.close()
    return spec


def _name(table: Table, key: str) -> str:
    name = table.text(key)
    try:
        return check_name(name, key) if name else name
    except AdaptxferError as error:
        table.fault(key, str(error))
        return name


def _labels(top: Table, kind: str) -> tuple[str, ...]:
    labels = top.texts("labels", ())
    if top.data.get("open_labels"):
        if kind != "tag" or labels:
            top.fault("open_labels", "is for tag tasks without labels, whose tags are those of the training data")
    elif kind in ("classify", "tag") and len(labels) < 2:
        top.fault("labels", f"a {kind} task needs at least two label names")
    if kind not in ("classify", "tag", "") and labels:
        top.fault("labels", f"a {kind} task has no labels")
    return labels


def _text(table: Table) -> TextOptions:
    options = TextOptions(
        max_length=table.integer("max_length", 256, least=8),
        truncation=table.text("truncation", "longest_first", choices=("longest_first",)),
        side=table.text("side", "right", choices=("right", "left")),
        stride=table.integer("stride", 128, least=1),
        max_question=table.integer("max_question", 64, least=1),
        max_answer=table.integer("max_answer", 30, least=1),
        n_best=table.integer("n_best", 20, least=1),
    )
    table.close()
    return options


def _train(table: Table) -> TrainOptions:
    default = TrainOptions()
    rates = table.table("learning_rate")
    known = {method: rates.number(method, 0.0) for method in METHODS if method in rates.data}
    rates.close()
    options = TrainOptions(
        task=_name(table, "task") if "task" in table.data else None,
        epochs=table.integer("epochs", default.epochs, least=1),
        batch_size=table.integer("batch_size", default.batch_size, least=1),
        learning_rate={**default.learning_rate, **known},
        warmup=table.number("warmup", default.warmup, most=1.0),
        weight_decay=table.number("weight_decay", default.weight_decay),
        clip=table.number("clip", default.clip),
        sources=table.strings("sources"),
    )
    table.close()
    return options


def _metric(table: Table) -> MetricOptions:
    options = MetricOptions(
        main=table.text("main", "accuracy"),
        others=table.texts("others", ()),
        average=table.text("average", "mean", choices=("mean",)),
        normaliser=table.text("normaliser", "", choices=("", "squad", "mlqa")) or None,
    )
    table.close()
    return options


def _retrieve(table: Table) -> RetrieveOptions:
    default = RetrieveOptions()
    layers = table.table("layer")
    found = {key: layers.integer(key, 0) for key in layers.data}
    options = RetrieveOptions(table.text("pooling", "mean", choices=("mean", "first")), found or default.layer)
    table.close()
    return options


def _expect(top: Table, spec: TaskSpec) -> None:
    for split, rows in spec.expect.items():
        counts = rows if isinstance(rows, dict) else {"": rows}
        for language, count in counts.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                top.fault(f"expect.{split}", f"{count!r} is not a number of rows")
            if language and language not in spec.languages and language != "en":
                top.fault(f"expect.{split}", f"{language!r} is not in languages")
