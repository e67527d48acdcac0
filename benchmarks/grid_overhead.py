"""What a grid costs beyond training: planning 10 to 1,000 stages, and start, loading and records of each stage.

python -m benchmarks.grid_overhead --data-dir DATA [--runs FOLDER_OF_A_FINISHED_GRID]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

from adaptxfer.api import make_ask
from adaptxfer.console import Table, console
from adaptxfer.runs.grid import expand
from adaptxfer.runs.gridfile import GridPlan, read_grid
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.survey import Survey

PLAN = Path(__file__).parent / "plans" / "mini.toml"
SIZES = ((("none",), ("xnli", "tatoeba"), 3), ((), (), 1), ((), (), 3), ((), (), 12), ((), (), 23))
"""Intermediates, targets (the plan's own if empty) and number of seeds."""


def planning(data: Path, runs: Path) -> Table:
    """Seconds of processor time from the plan file to the first stage that could start."""
    plan, rows = read_grid(PLAN), []
    for intermediates, targets, seeds in SIZES:
        found = replace(
            plan, intermediates=intermediates or plan.intermediates, targets=targets or plan.targets,
            seeds=tuple(range(1, seeds + 1)),
        )  # fmt: skip
        rows.append(_planned(found, data, runs))
    return Table("Planning", ["stages", ("expand s", "right"), ("look up s", "right"), ("in all s", "right")], rows)


def _planned(plan: GridPlan, data: Path, runs: Path) -> list[int | float]:
    begun = time.process_time()
    grid = expand(plan, make_ask(data_dir=data, runs=runs))
    expanded = time.process_time()
    survey = Survey(grid)
    assert survey.states is not None
    ended = time.process_time()
    return [len(grid.nodes), *(round(s, 2) for s in (expanded - begun, ended - expanded, ended - begun))]


def overhead(runs: Path) -> Table:
    """Seconds of each finished training that were not spent in the training loop."""
    extra: dict[str, list[float]] = {}
    for run in RunStore(runs).find_finished():
        if seconds := (run.manifest.get("training") or {}).get("seconds"):
            extra.setdefault(run.manifest["kind"], []).append(run.manifest["duration_s"] - seconds)
    rows = [
        [kind, len(found), round(statistics.median(found), 2), round(max(found), 2)] for kind, found in extra.items()
    ]
    return Table("Beyond the training loop", ["kind", "stages", ("median s", "right"), ("most s", "right")], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--runs", type=Path)
    arguments = parser.parse_args()
    planning(arguments.data_dir, Path("nowhere"))  # imports and file hashes once
    console().table(planning(arguments.data_dir, Path("nowhere")))
    if arguments.runs:
        console().table(overhead(arguments.runs))


if __name__ == "__main__":
    main()
