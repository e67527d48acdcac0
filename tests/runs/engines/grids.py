from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptxfer.files import file_hash
from adaptxfer.runs.grid import Grid, expand
from adaptxfer.runs.gridfile import read_grid
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.store import RunStore
from tests.world import World, weights

ROOT = Path(__file__).resolve().parents[3]
PLAN = """
name = "tiny"
models = ["MODEL"]
intermediates = ["none", "weather"]
targets = ["seasons", "twins"]
seeds = [1]
[train]
max_steps = STEPS
evaluations = 4
batch_size = 4
on_chance = "warn"
[evaluate]
layer = 1
"""
STAGES = 7  # a module, two trainings, four evaluations


def write_plan(folder: Path, world: World, steps: int = 3) -> Path:
    path = folder / "plan.toml"
    path.write_text(PLAN.replace("MODEL", str(world.root / "tiny")).replace("STEPS", str(steps)))
    return path


def grid_of(plan: Path, ask: Ask) -> Grid:
    return expand(read_grid(plan), replace(ask, max_steps=None))


class Shell:
    """Starts the command line on a plan, in a session of its own as a terminal would."""

    def __init__(self, world: World, plan: Path) -> None:
        self.world, self.plan = world, plan
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}

    def start(self, runs: Path, *words: str) -> subprocess.Popen[str]:
        options = {"data-dir": self.world.root / "data", "tasks": self.world.root / "tasks", "runs": runs}
        given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = [
            sys.executable,
            "-m",
            "adaptxfer.cli",
            "grid",
            str(self.plan),
            "--workers",
            "2",
            "--json",
            *given,
            *words,
        ]
        return subprocess.Popen(
            command, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def run(self, runs: Path, *words: str, code: int = 0) -> dict[str, Any]:
        return self.watch(runs, *words, code=code)[-1]

    def watch(self, runs: Path, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """Every event until the end."""
        process = self.start(runs, *words)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, err
        assert "Traceback" not in err
        return [json.loads(line) for line in out.splitlines()]


def results(runs: Path) -> dict[str, Any]:
    """Everything that a grid is for, by run: hashes of weights, predictions and scores."""
    found = {}
    for run in RunStore(runs).list():
        assert run.status == "finished", run.name
        files = [*run.path.glob("predictions/[!.]*"), *run.path.glob("scores.json")]  # no torn temporary ones
        found[run.name] = weights(run.path) | {path.name: file_hash(path) for path in files}
    return found


def ends(runs: Path) -> dict[str, str]:
    """When each finished run was finished."""
    return {run.name: run.manifest["finished"] for run in RunStore(runs).list() if run.status == "finished"}


def changes(runs: Path, process: subprocess.Popen[str]) -> Iterator[int]:
    """Counts the stages that were begun, as they are; ends when the process does."""
    while process.poll() is None:
        yield sum(path.joinpath("manifest.json").exists() for path in runs.glob("*-*"))
        time.sleep(0.01)


def wait_for(runs: Path, process: subprocess.Popen[str], more: int) -> None:
    """Until ``more`` further stages were begun, or the process ended."""
    first = None
    for count in changes(runs, process):
        first = count if first is None else first
        if count >= min(first + more, STAGES):
            return


OWN = ("max_steps", "evaluations", "batch_size", "learning_rate")
"""What the world's own requests set and these plans set themselves."""
