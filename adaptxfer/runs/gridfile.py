"""A grid's plan file: which intermediates, targets, seeds and options, read from TOML with all faults at once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from adaptxfer.errors import nearest, use_error
from adaptxfer.files import NAME, read_text
from adaptxfer.modules.composition import HOWS, METHODS
from adaptxfer.runs.engines.budget import UNITS
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.stage import Mixture
from adaptxfer.tasks.table import Table

NONE = "none"
"""The intermediate that stands for the baseline."""

GIVEN = {"model", "revision", "method", "data_dir", "tasks", "runs", "fresh"}
OPTIONS = {item.name: str(item.type).split(" | ")[0] for item in fields(Ask) if item.name not in GIVEN}
"""What `[train]` and its kin may set, with the type."""

TYPES: dict[str, tuple[Any, str]] = {
    "float": ((int, float), "a number"),
    "int": (int, "a whole number"),
    "str": (str, "a string"),
    "tuple[str, ...]": (list, "a list of strings"),
}


@dataclass(frozen=True)
class Joint:
    """An intermediate that is not one task in English: several tasks, translations, masked words, sham labels."""

    tasks: tuple[str, ...]
    mixture: Mixture


@dataclass(frozen=True)
class Together:
    """Several intermediates, trained apart, in one target."""

    intermediates: tuple[str, ...]
    compositions: tuple[str, ...]
    own_module: bool


@dataclass(frozen=True)
class GridPlan:
    """What a plan file says.

    Attributes:
        models: base models, each an id (``owner/name@revision`` pins one), a folder or "mini".
        intermediates: names of tasks or of entries in ``joint``, and "none" for the baseline.
        compositions: how a single intermediate is used; empty for the usual way of the method.
        options: overrides by table: train (every training), intermediate, target, and by name of a method.
        evaluate: languages, split, layer, limit of the scoring.
        budget: the most optimiser steps, training tokens and stage hours; what is not named has no limit.
        checkpoints: optimiser steps of shorter trainings of each intermediate, every one a module of its own.
    """

    name: str
    about: str
    models: tuple[str, ...]
    methods: tuple[str, ...]
    intermediates: tuple[str, ...]
    compositions: tuple[str, ...]
    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    joint: Mapping[str, Joint]
    together: Mapping[str, Together]
    options: Mapping[str, Mapping[str, Any]]
    evaluate: Mapping[str, Any]
    budget: Mapping[str, float]
    checkpoints: tuple[int, ...] = ()


def read_grid(path: Path) -> GridPlan:
    """Read a plan file.

    Raises:
        AdaptxferError: if it is missing, no TOML, or has faults; all of them are listed.
    """
    try:
        top = Table(tomllib.loads(read_text(path, "plan file")))
    except tomllib.TOMLDecodeError as error:
        raise use_error(f"plan file {path} is not valid TOML: {error}.") from error
    joint = {name: _joint(table, path.parent) for name, table in top.table("joint").each()}
    plan = GridPlan(
        top.text("name", path.stem), top.text("about", ""), top.texts("models", least=1),
        top.texts("methods", ("bottleneck",), METHODS, least=1), top.texts("intermediates", least=1),
        top.texts("compositions", (), ("stack", "continue")), top.texts("targets", least=1),
        _numbers(top, "seeds", (1,), 0), joint,
        {name: _together(table) for name, table in top.table("together").each()},
        {name: _options(top.table(name)) for name in ("train", "intermediate", "target")} | _by_method(top),
        _evaluate(top.table("evaluate")), _budget(top.table("budget")), _numbers(top, "checkpoints", (), 1),
    )  # fmt: skip
    _check_names(plan, top)
    top.close()
    if top.faults:
        raise use_error(f"plan file {path} has faults:" + "".join(f"\n  - {fault}" for fault in top.faults))
    return plan


def _joint(table: Table, folder: Path) -> Joint:
    tasks, usual = table.texts("tasks", least=1), Mixture()
    mixture = Mixture(
        table.text("sampler", usual.sampler),
        table.texts("languages", usual.languages, least=1),
        tuple(folder / name for name in table.texts("mlm", ())),
        table.number("mlm_weight", usual.mlm_weight, most=1),
        table.flag("sham", usual.sham),
    )
    table.close()
    return Joint(tasks, mixture)


def _together(table: Table) -> Together:
    intermediates = table.texts("intermediates", least=2)
    ways = tuple(how for how in HOWS if how in ("fuse", "merge"))
    found = Together(intermediates, table.texts("compositions", choices=ways, least=1), table.flag("own_module", False))
    table.close()
    return found


def _by_method(top: Table) -> dict[str, dict[str, Any]]:
    tables = top.table("method")
    for name in tables.data.keys() - set(METHODS):
        tables.fault(name, f"no such method. {nearest(name, METHODS)}")
    return {name: _options(tables.table(name)) for name in METHODS if name in tables.data}


def _options(table: Table) -> dict[str, Any]:
    """Overrides of training options, each of its type."""
    for key, value in table.data.items():
        kind, what = TYPES.get(OPTIONS.get(key, ""), (None, ""))
        table.used.add(key)
        if kind is None:
            table.fault(key, f"no such option. {nearest(key, OPTIONS)}")
        elif not isinstance(value, kind) or isinstance(value, bool):
            table.fault(key, f"expected {what}, found {value!r}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.data.items()}


def _evaluate(table: Table) -> dict[str, Any]:
    found = {
        "languages": table.texts("languages", (), least=1) or None,
        "split": table.text("split", "", ("dev", "test", "")) or None,
        "layer": str(table.data["layer"]) if "layer" in table.data else None,
        "limit": table.integer("limit", 1, least=1) if "limit" in table.data else None,
    }
    table.used |= {"layer", "limit"}
    table.close()
    return found


def _budget(table: Table) -> dict[str, float]:
    found = {name: table.number(name, 0.0) for name in UNITS if name in table.data}
    table.used |= set(UNITS)
    table.close()
    return found


def _numbers(top: Table, name: str, usual: tuple[int, ...], least: int) -> tuple[int, ...]:
    top.used.add(name)
    found = top.data.get(name, list(usual))
    whole = isinstance(found, list) and all(type(number) is int and number >= least for number in found)
    if not whole or len(set(found)) < len(found) or not (found or not usual):
        top.fault(name, f"expected a list of different whole numbers, {least} or more, found {found!r}")
        return usual
    return tuple(found)


def _check_names(plan: GridPlan, top: Table) -> None:
    """Names that the file itself gives must be usable, and none may mean two things."""
    for kind in ("joint", "together"):
        for name in getattr(plan, kind):
            if not NAME.fullmatch(name) or name == NONE:
                top.fault(f"{kind}.{name}", "use letters, digits, dash and underscore, and not none")
    for name in plan.joint.keys() - _used(plan):
        top.fault(f"joint.{name}", "is not used: name it among the intermediates")
    for name, together in plan.together.items():
        if NONE in together.intermediates:
            top.fault(f"together.{name}", "none is no module")


def _used(plan: GridPlan) -> set[str]:
    return {*plan.intermediates, *(name for item in plan.together.values() for name in item.intermediates)}
