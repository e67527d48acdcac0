"""The paper's question in miniature: what intermediate tasks in English bring small encoders, on real data.

    python -m benchmarks.mini.stilts FOLDER... --data-dir DATA --runs RUNS --out OUT

Four plans, the headline first: retrieval after natural language inference and question answering; trained targets of
four kinds after a few intermediate tasks; retrieval after every intermediate task and method; all trained targets,
methods and compositions. Whatever is finished is written to OUT at the end, after Ctrl-C too; the same command goes on
with what is left.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adaptxfer.api import make_ask
from adaptxfer.cli.ask import parse_seeds
from adaptxfer.console import Cell, Table, console
from adaptxfer.encoder.load import locate
from adaptxfer.errors import INTERRUPTED, AdaptxferError, use_error
from adaptxfer.files import write_text
from adaptxfer.report.gather import gains_of, gather
from adaptxfer.report.write import write_report
from adaptxfer.runs.engines.drive import drive
from adaptxfer.runs.engines.local import LocalEngine, visible_gpus
from adaptxfer.runs.engines.schedule import Schedule
from adaptxfer.runs.grid import Grid, expand
from adaptxfer.runs.gridfile import GridPlan, read_grid
from adaptxfer.runs.run import Run
from adaptxfer.runs.survey import Survey
from benchmarks.mini.page import headline, page

PLANS = tuple(
    Path(__file__).parents[1] / "plans" / f"stilts-{name}.toml"
    for name in ("1-headline", "2-kinds", "3-retrieval", "4-targets")
)
QUICK = {"max_steps": 2, "limit": 32, "evaluations": 1, "dev_limit": 8}
"""What every training is cut down to with ``--quick``, which tries everything out and measures nothing."""
QUICK_EVALUATION = 6


@dataclass(frozen=True)
class Wanted:
    """What is to be done, and where.

    Attributes:
        models: base models, as for ``--model``.
        plans: in the order of work.
        seeds: instead of those of the plans; empty for theirs.
        quick: cut everything down.
        resamples: bootstrap draws of the analysis.

    Raises:
        AdaptxferError: for an encoder that is not there, or two of one name.
    """

    models: tuple[str, ...]
    data_dir: Path | None
    runs: Path
    plans: tuple[Path, ...] = PLANS
    tasks: tuple[Path, ...] = ()
    seeds: tuple[int, ...] = ()
    workers: int = 1
    quick: bool = False
    resamples: int = 10_000

    def __post_init__(self) -> None:
        if len({locate(model)[1] for model in self.models}) < len(self.models):
            raise use_error("Two of the encoders have one name.", "Give folders of different names.")

    def grid(self, path: Path) -> Grid:
        """The stages of a plan for these encoders."""
        found: GridPlan = replace(read_grid(path), models=self.models)
        if self.seeds:
            found = replace(found, seeds=self.seeds)
        if self.quick:
            found = replace(found, evaluate={**found.evaluate, "limit": QUICK_EVALUATION})
        ask = make_ask(data_dir=self.data_dir, runs=self.runs, tasks=self.tasks)
        return expand(found, ask, QUICK if self.quick else {})


def carry_out(wanted: Wanted) -> int:
    """Train and score all that is left of the plans; a failed stage is told and the others go on.

    Returns:
        0, or the code of the gravest failure.

    Raises:
        AdaptxferError: on Ctrl-C, after checkpoints are saved.
    """
    code = 0
    for path in wanted.plans:
        survey = Survey(wanted.grid(path))
        schedule = Schedule(survey.grid, survey.places(), retries=1)
        drive(schedule, LocalEngine(wanted.workers, visible_gpus()))
        for entry in schedule.failures():
            console().warn(f"{entry.node.label}: {entry.error}")
        code = max(code, schedule.exit_code())
    return code


def analyse(wanted: Wanted, out: Path) -> Table:
    """Write ``stilts.md``, the full report and its tables; the headline as a table.

    The headline is of the first plan with finished runs, and of those alone: the variance between seeds is pooled over
    all cells, so runs of other plans would move its intervals.

    Raises:
        AdaptxferError: if nothing is scored yet.
    """
    report, runs = gather([wanted.runs], wanted.resamples), dict[str, Run]()
    plans: list[list[Cell]] = []
    first = set[str]()
    for path in wanted.plans:
        states = Survey(wanted.grid(path)).states.values()
        done = [state.run for state in states if state.finished]
        plans.append([path.stem, len(states), len(done)])
        runs |= {name: Run(wanted.runs / name) for name in done}
        first = first or set(done)
    left = Table("Plans", ["plan", ("stages", "right"), ("finished", "right")], plans)
    told = "Cut down to try it out: the numbers mean nothing." if wanted.quick else ""
    table = headline(gains_of(report.records.where(lambda row: row.run in first), wanted.resamples)[0])
    write_text(out / "stilts.md", page(table, report, runs, left, wanted.resamples, told))
    write_report(report, out, ("html", "csv"))
    return table


def main() -> None:
    """Parse the command line, carry out the plans, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="mini, or folders with different names")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("stilts"))
    parser.add_argument("--plans", type=Path, nargs="+", default=PLANS, help="instead of all four")
    parser.add_argument("--seeds", help="instead of the plans', such as 1,2")
    parser.add_argument("--workers", type=int, default=1, help="stages at a time")
    parser.add_argument("--quick", action="store_true", help="two steps for every training: to try it out")
    parser.add_argument("--analyse", action="store_true", help="train nothing, write what is there")
    given: dict[str, Any] = vars(parser.parse_args())
    out, only = given.pop("out"), given.pop("analyse")
    try:
        given["seeds"] = tuple(parse_seeds(given["seeds"])) if given["seeds"] else ()
        wanted = Wanted(**dict[str, Any](given, models=tuple(given["models"]), plans=tuple(given["plans"])))
        code = 0 if only else _until_stopped(wanted)
        table = analyse(wanted, out)
    except AdaptxferError as error:
        parser.exit(error.code, f"{error}\n")
    console().result({"schema": 1, "out": out, "headline": table.to_json()}, table, f"Written: {out / 'stilts.md'}")
    parser.exit(code)


def _until_stopped(wanted: Wanted) -> int:
    try:
        return carry_out(wanted)
    except AdaptxferError as error:
        if error.code != INTERRUPTED:
            raise
        console().error(error)
        return error.code


if __name__ == "__main__":
    main()
