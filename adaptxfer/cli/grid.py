"""``adaptxfer grid``: many intermediates, targets and seeds from one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptxfer.cli.ask import FIRST, TRAINING, parse_seeds, takes
from adaptxfer.console import Cell, Table, console
from adaptxfer.errors import nearest, use_error

if TYPE_CHECKING:
    from adaptxfer.runs.engines.drive import Engine
    from adaptxfer.runs.engines.schedule import Schedule
    from adaptxfer.runs.grid import Grid

ENGINES = ("local", "ray", "slurm")
COMMON = {name: item for name, item in FIRST.items() if name != "fresh"}
SOME = ("epochs", "max_steps", "batch_tokens", "precision", "evaluations", "limit", "dev_limit", "dry_run")
OPTIONS = {name: TRAINING[name] for name in SOME}
"""Options of training that override the plan; the others belong in it."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("grid")(grid)


@takes(COMMON, OPTIONS)
def grid(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="Intermediates, targets, seeds and options.")],
    engine: Annotated[str, typer.Option("--engine", help="Where stages run: local, ray or slurm.")] = "local",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Stages at a time.")] = 1,
    together: Annotated[
        int, typer.Option("--together", min=1, help="Local: trainings at a time that share a worker's encoder.")
    ] = 1,
    retries: Annotated[int, typer.Option("--retries", min=0, help="New attempts after a process died.")] = 2,
    slurm: Annotated[
        list[str] | None, typer.Option("--slurm", help="KEY=VALUE of submitit, e.g. slurm_partition=gpu; repeat.")
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Comma-separated, instead of the plan's.")] = None,
    shard: Annotated[
        str | None, typer.Option("--shard", help="K/N: one of N parts, for machines that share nothing.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show how far it is; something else carries it out.")] = False,
    *,
    options: dict[str, Any],
) -> None:
    """Carry out a whole plan: train every intermediate once, transfer to every target, score everything.

    The same command continues where it stopped; finished stages are never done again, also not after another command.
    With --json each event is one line of JSON; the last one, "end", holds what became of every stage.
    """
    from adaptxfer.runs.engines.budget import Budget
    from adaptxfer.runs.engines.drive import drive
    from adaptxfer.runs.engines.schedule import Schedule
    from adaptxfer.runs.survey import Survey

    dry, runs = options.pop("dry_run"), options["runs"]
    carrier = _engine(engine, workers, runs, slurm or [], together)
    found, limits = _expanded(plan, seeds, shard, options)
    survey, budget = Survey(found), Budget(limits)
    if dry:
        from adaptxfer.runs.outlook import outlook_document, outlook_views

        document = outlook_document(survey, budget)
        console().result(document, *outlook_views(document))
        return
    if watch:
        from adaptxfer.cli.watch import views
        from adaptxfer.cli.watch import watch as look_on

        found = look_on(survey)
        console().result({"schema": 1, **found}, *views(found))
        return
    schedule = Schedule(survey.grid, survey.places(), retries, budget)
    _greet(survey.grid, schedule)
    drive(schedule, carrier)
    console().result(_document(schedule), *_views(schedule))
    if code := schedule.exit_code():
        raise typer.Exit(code)


def _expanded(
    path: Path, seeds: str | None, part: str | None, options: dict[str, Any]
) -> tuple[Grid, Mapping[str, float]]:
    """The plan's stages, with what the command line says in its place, and its budget."""
    from dataclasses import replace

    from adaptxfer import api
    from adaptxfer.runs.grid import expand
    from adaptxfer.runs.gridfile import read_grid
    from adaptxfer.runs.shard import parse_shard, shard

    found = read_grid(path)
    if seeds:
        found = replace(found, seeds=tuple(parse_seeds(seeds)))
    if model := options.pop("model", None):
        found = replace(found, models=(model,))
    overrides = {name: options.pop(name) for name in OPTIONS if name in options}
    grid = expand(found, api.make_ask(**options), overrides)
    return (shard(grid, *parse_shard(part)) if part else grid), found.budget


def _greet(grid: Grid, schedule: Schedule) -> None:
    counts = ", ".join(f"{number:,} {kind}" for kind, number in grid.counts().items())
    console().note(f"Grid {grid.name}: {counts} stages; {schedule.count('finished'):,} are finished already.")
    for left in grid.left_out:
        console().note(f"Left out: {left}.")


def _engine(name: str, workers: int, runs: Path, slurm: list[str], together: int) -> Engine:
    """The engine of that name; what it needs is imported only now."""
    if name not in ENGINES:
        raise use_error(f"--engine {name!r} is unknown.", nearest(name, ENGINES))
    if slurm and name != "slurm":
        raise use_error("--slurm belongs to --engine slurm.", "Leave it out or change the engine.")
    if together > 1 and name != "local":
        raise use_error("--together belongs to --engine local.", "Leave it out or change the engine.")
    if name == "ray":
        from adaptxfer.runs.engines.ray import RayEngine

        return RayEngine(workers)
    if name == "slurm":
        from adaptxfer.runs.engines.slurm import SlurmEngine, parse_options

        return SlurmEngine(workers, runs / ".slurm", parse_options(slurm))
    from adaptxfer.runs.engines.local import LocalEngine, visible_gpus
    from adaptxfer.runs.engines.together import TogetherEngine

    gpus = visible_gpus()
    return LocalEngine(workers, gpus) if together == 1 else TogetherEngine(workers, gpus, together)


def _document(schedule: Schedule) -> dict[str, Any]:
    """What became of the stages, evaluations with their means."""
    document = schedule.document()
    for stage, entry in zip(document["stages"], schedule.entries.values(), strict=True):
        if entry.node.kind == "evaluate" and entry.run:
            stage["scores"] = _means(entry.node.ask.runs / entry.run)
    return document


def _means(folder: Path) -> dict[str, Any]:
    from adaptxfer.runs.run import Run

    scores = Run(folder).read_scores()
    return {key: scores[key] for key in ("metric", "mean", "mean_zero_shot")}


def _views(schedule: Schedule) -> list[Table | str]:
    counts = schedule.document()["counts"]
    finished = f"{counts['finished']:,} stages are finished, {counts['reused']:,} of them were before."
    rows: list[list[Cell]] = [[entry.node.label, entry.state, entry.error] for entry in schedule.failures()]
    if not rows:
        return [finished, "Next: adaptxfer gain"]
    poor = schedule.count("unaffordable") == len(rows)
    again = "A larger budget in the plan lets them run." if poor else "The same command tries them again."
    return [finished, Table("Not finished", ["stage", "state", "why"], rows, again)]
