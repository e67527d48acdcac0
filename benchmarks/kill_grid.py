"""Kills workers and drivers of a grid at random instants until it is done, and compares it with one left in peace.

    python -m benchmarks.kill_grid PLAN.toml --data-dir DATA --out FOLDER [--engine ray] [--kills 10]

FOLDER/whole holds the undisturbed grid (made with two local workers if it is not there), FOLDER/killed-ENGINE the
other one. Equal means: the same runs, and in each the same weights, predictions and scores, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from adaptxfer.runs.run import Run
from adaptxfer.runs.store import RunStore

VICTIMS = ("worker", "driver", "both")


class Victim:
    """A grid under way, and the work that killing it costs."""

    def __init__(self, arguments: argparse.Namespace, runs: Path, engine: str) -> None:
        self.runs, self.engine = runs, engine
        self.command = [
            sys.executable, "-m", "adaptxfer.cli", "grid", str(arguments.plan), "--data-dir", str(arguments.data_dir),
            "--runs", str(runs), "--workers", "2", "--engine", engine, "--retries", "20", "--json", *arguments.more,
        ]  # fmt: skip
        self.lost_steps = self.kills = self.repeated = 0
        self._ended: dict[str, str] = {}
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.log = (self.runs.parent / f"{self.runs.name}.jsonl").open("a")
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=subprocess.DEVNULL, text=True,
                                        env=environment, start_new_session=True)  # fmt: skip

    def check(self) -> None:
        """Count stages whose record is another one than at the last look, or gone."""
        now = ends(self.runs)
        self.repeated += sum(now.get(name) != ended for name, ended in self._ended.items())
        self._ended = now

    def workers(self) -> list[psutil.Process]:
        """Those at work: children of the driver, or tasks of Ray."""
        assert self.process is not None
        mark = {"local": "spawn_main", "ray": "ray::attempt"}[self.engine]
        everyone = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        return [child for child in everyone if child.is_running() and mark in " ".join(_words(child))]

    def strike(self, victim: str, chance: random.Random) -> str:
        """Kill; says whom."""
        assert self.process is not None
        workers = self.workers()
        before = unfinished_steps(self.runs)
        if victim != "driver" and workers:
            for worker in workers if victim == "both" else [chance.choice(workers)]:
                worker.kill()
        if victim != "worker" or not workers:
            self.process.kill()
            self.process.wait()
            victim = victim if workers else "driver"
        self.kills += 1
        self.lost_steps += sum(steps for steps in before.values())
        return victim


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def unfinished_steps(runs: Path) -> dict[str, int]:
    """Steps since the last checkpoint of every training under way: what a kill now makes to be done again."""
    found = {}
    for run in map(Run, runs.glob("*-*")):
        if run.status == "running" and (log := [entry["step"] for entry in run.read_log() if "step" in entry]):
            saved = [int(path.name.partition("-")[2]) for path in run.path.glob("checkpoint/step-*")]
            found[run.name] = max(0, log[-1] - max(saved, default=0))
    return found


def ends(runs: Path) -> dict[str, str]:
    """When each finished run was finished."""
    return {run.name: run.manifest["finished"] for run in RunStore(runs).list() if run.status == "finished"}


def contents(runs: Path) -> dict[str, dict[str, bytes]]:
    """Weights, predictions and scores of every run."""
    found = {}
    for run in RunStore(runs).list():
        files = [*run.path.rglob("*.safetensors"), *run.path.glob("predictions/[!.]*"), *run.path.glob("scores.json")]
        found[run.name] = {str(path.relative_to(run.path)): path.read_bytes() for path in sorted(files)}
    return found


def disturb(grid: Victim, kills: int, pause: float, chance: random.Random) -> Counter[str]:
    """Start, kill and start again ``kills`` times, then let it end."""
    done: Counter[str] = Counter()
    grid.start()
    assert grid.process is not None
    while grid.kills < kills:
        time.sleep(pause * (0.2 + 1.6 * chance.random()))
        if grid.process.poll() is not None:
            break
        done[grid.strike(chance.choice(VICTIMS), chance)] += 1
        grid.check()
        if grid.process.poll() is not None:
            grid.start()
    assert grid.process.wait() == 0, f"the grid ended with {grid.process.returncode}"
    grid.check()
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--pause", type=float, default=15.0, help="seconds between two kills, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("more", nargs="*", help="further options of the grid command, after --")
    arguments = parser.parse_args()
    whole, runs = arguments.out / "whole", arguments.out / f"killed-{arguments.engine}"
    arguments.out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(runs, ignore_errors=True)
    begun = time.monotonic()
    calm = Victim(arguments, whole, "local")
    calm.start()
    assert calm.process is not None and calm.process.wait() == 0, "the undisturbed grid failed"
    peace = time.monotonic() - begun
    grid = Victim(arguments, runs, arguments.engine)
    done = disturb(grid, arguments.kills, arguments.pause, random.Random(arguments.seed))
    one, two = contents(whole), contents(runs)
    steps = sum((run.manifest.get("training") or {}).get("steps", 0) for run in RunStore(runs).list())
    print(json.dumps({
        "engine": arguments.engine, "stages": len(one), "killed": dict(done), "finished_stages_repeated": grid.repeated,
        "steps": steps, "steps_repeated_at_most": grid.lost_steps, "equal": one == two,
        "differ": sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name)),
        "seconds_in_peace": round(peace), "seconds_in_all": round(time.monotonic() - begun),
    }))  # fmt: skip
    sys.exit(one != two or grid.repeated > 0)


if __name__ == "__main__":
    main()
