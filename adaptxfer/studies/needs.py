"""What a study lacks before it is run: missing runs as a plan for a grid, units against the fewest, expected power."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from adaptxfer.console import Cell, Table
from adaptxfer.runs.gridfile import OPTIONS, GridPlan
from adaptxfer.runs.store import RunStore
from adaptxfer.studies.outcomes import own_scores
from adaptxfer.studies.pairs import APART
from adaptxfer.studies.power import QUESTIONS, Power, power
from adaptxfer.studies.table import NONE, RecordTable
from adaptxfer.studies.worlds import changed

ORIGINS = {"default", "task file", "this device", "base model", "command"}
"""Origins of an option that nobody asked for."""

POWERED = {"metric": ("metric", "within"), "scale": ("scale",), "domain": ("domain",), "generalise": ("generalise",),
           "diversity": ("diversity",)}  # fmt: skip


@dataclass(frozen=True)
class Design:
    """Which runs a study is made of.

    Args:
        models: base models.
        methods: bottleneck, lora or full.
        intermediates: names, none left out.
        targets: target tasks.
        seeds: of the target training.
        languages: how many the targets have on average.
    """

    models: tuple[str, ...]
    methods: tuple[str, ...]
    intermediates: tuple[str, ...]
    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    languages: int = 1


def design_of(table: RecordTable) -> Design:
    """All combinations of what the records hold."""
    rows = [row for row in table.rows if row.study not in APART]

    def different(column: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(getattr(row, column) for row in rows))

    names = tuple(name for name in different("intermediate") if name != NONE)
    spoken = {
        target: {row.language for row in rows if row.target_task == target} for target in different("target_task")
    }
    mean = round(sum(map(len, spoken.values())) / max(1, len(spoken)))
    seeds = tuple(sorted(different("target_seed")))
    return Design(different("backbone"), different("method"), names, different("target_task"), seeds, max(1, mean))


def design_from(plan: GridPlan, languages: int = 1) -> Design:
    """What a grid's plan file asks for."""
    names = tuple(name for name in (*plan.intermediates, *plan.joint) if name != NONE)
    return Design(plan.models, plan.methods, tuple(dict.fromkeys(names)), plan.targets, plan.seeds, languages)


def missing_runs(design: Design, table: RecordTable | None) -> list[tuple[str, str, str, str, int]]:
    """Model, method, intermediate, target and seed of every run of the design that the records lack."""
    rows = [row for row in table.rows if row.study not in APART] if table else []
    there = {(r.backbone, r.method, r.intermediate, r.target_task, r.target_seed) for r in rows}
    wanted = product(design.models, design.methods, (NONE, *design.intermediates), design.targets, design.seeds)
    return [cell for cell in wanted if cell not in there]


def coverage(design: Design, table: RecordTable | None) -> Table:
    """How many seeds of each cell are there, out of those of the design."""
    lacking = missing_runs(design, table)
    rows: list[list[Cell]] = []
    for name in (NONE, *design.intermediates):
        counts: list[Cell] = []
        for target in design.targets:
            total = len(design.models) * len(design.methods) * len(design.seeds)
            absent = sum(cell[2:4] == (name, target) for cell in lacking)
            counts.append(f"{total - absent}/{total}")
        rows.append([name, *counts])
    seeds = ", ".join(map(str, design.seeds))
    return Table("Runs that are there", ["intermediate", *((t, "right") for t in design.targets)], rows,
                 f"of the seeds {seeds}; a gain needs {NONE} and the intermediate of one seed")  # fmt: skip


def units(study: str, design: Design, table: RecordTable | None, new: Sequence[str] = (), low: int = 0) -> Table:
    """Units of replication of the design against the fewest for a test and for a confirmation.

    Args:
        study: its name.
        design: the runs.
        table: the records, if there are any.
        new: held-out tasks (generalise).
        low: low-resource languages (diversity).
    """
    own = len({key[0] for key in own_scores(table)}) if table else 0
    sized = {row.backbone for row in table.rows if row.n_params} if table else set()
    names = len(design.intermediates)
    known: dict[str, list[tuple[str, int, int | None, int | None]]] = {
        "metric": [("intermediates", names, 7, 20), ("intermediates with an own score", own, 7, 20)],
        "scale": [("model sizes", len(design.models), 4, 9), ("models with a known size", len(sized), 4, 9)],
        "domain": [("intermediates", names, 1, None), ("seeds", len(design.seeds), 2, None)],
        "generalise": [("intermediates", names, 7, 20), ("held-out tasks", len(new), 3, 5)],
        "diversity": [("intermediates", names, 2, None), ("target tasks", len(design.targets), 2, None),
                      ("low-resource languages", low, 10, None)],
    }  # fmt: skip
    rows = [
        [name, here, least, sure, "yes" if here >= (least or 0) else "no"] for name, here, least, sure in known[study]
    ]
    columns = ["unit", ("here", "right"), ("for a test", "right"), ("to be sure", "right"), "enough"]
    return Table("Units of replication", columns, rows, "below the fewest a verdict is descriptive or underpowered")


def expected_power(
    study: str, design: Design, repetitions: int = 100, seed: int = 0, checkpoints: bool = False
) -> list[Power]:
    """How often a study of this size would find what the simulated worlds plant; ``checkpoints`` if there are any."""
    found = []
    names = POWERED[study] if checkpoints else POWERED[study][:1]
    for name in names if repetitions else ():
        question = QUESTIONS[name]
        size = {"intermediates": max(3, len(design.intermediates)), "seeds": len(design.seeds)}
        size |= {"languages": min(design.languages, 40)} if study in ("diversity", "generalise") else {}
        if study != "scale":
            size["targets"] = max(1, len(design.targets))
        if study == "domain":
            size |= {"intermediates": 1, "targets": 1, "languages": min(design.languages, 5)}
        if study == "diversity":
            size |= {"targets": min(6, size["targets"]), "languages": max(4, size["languages"])}
        world = changed(question.world, **size)
        if study == "generalise":
            world = replace(world, held_out=max(1, min(3, len(design.targets) - 1)), languages=1)
        found.append(power(name, world, repetitions, seed))
    return found


def power_table(found: Sequence[Power]) -> Table:
    """Expected power as a table."""
    rows: list[list[Cell]] = [
        [p.study, f"{p.planted:g}", f"{p.found:.2f} [{p.low:.2f}, {p.high:.2f}]", f"{p.false_alarms:.2f}", p.n_units,
         p.unit]
        for p in found
    ]  # fmt: skip
    numbers = [(name, "right") for name in ("planted", "found", "false alarms", "n")]
    caption = (
        "SIMULATED: share of studies of this size that find what is planted; spreads are guesses (`adaptxfer power`)"
    )
    return Table("Expected power", ["question", *numbers, "units"], rows, caption)


def plan_text(design: Design, runs: Path | None = None) -> str:
    """A plan file for a grid that holds every run of the design; what is finished is not done again.

    Args:
        design: the runs.
        runs: their folder; options that were asked for in all of them alike are taken over.
    """
    trained, scored = _asked(runs, "target", set(OPTIONS)), _asked(runs, "evaluate", {"limit", "split", "languages"})
    single = [name for name in design.intermediates if "+" not in name]
    joint = {name: tasks for name, tasks in _tasks(runs).items() if name in single and len(tasks) > 1}
    lines = [
        'name = "missing"',
        f"models = {json.dumps(list(design.models))}",
        f"methods = {json.dumps(list(design.methods))}",
        f"intermediates = {json.dumps([NONE, *single])}",
        f"targets = {json.dumps(list(design.targets))}",
        f"seeds = {json.dumps(list(design.seeds))}",
    ]
    tables = {f"joint.{name}": {"tasks": tasks} for name, tasks in joint.items()}
    for name, options in {**tables, "train": trained, "evaluate": scored}.items():
        if options:
            lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in sorted(options.items()))]
    return "\n".join(lines) + "\n"


def _tasks(runs: Path | None) -> dict[str, list[str]]:
    """The tasks of each intermediate run by its name."""
    found = RunStore(runs).find_finished("intermediate") if runs and runs.is_dir() else []
    return {str(run.manifest["name"]): list(run.asked("tasks") or ()) for run in found}


def _asked(runs: Path | None, kind: str, names: set[str]) -> Mapping[str, Any]:
    """Options that every finished run of a kind was asked for alike, by somebody."""
    if runs is None or not runs.is_dir():
        return {}
    found: dict[str, list[str]] = {}
    finished = RunStore(runs).find_finished(kind)
    for run in finished:
        for key, entry in run.manifest["request"].items():
            asked = kind == "evaluate" or entry.get("from") not in ORIGINS
            if key in names and asked and entry.get("value") is not None:
                found.setdefault(key, []).append(json.dumps(entry["value"]))
    same = {key: values[0] for key, values in found.items() if len(values) == len(finished) and len(set(values)) == 1}
    return {key: json.loads(value) for key, value in same.items()}
