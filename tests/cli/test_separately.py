"""Modules trained at once, and sham labels, on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from adaptxfer.cli import main
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import RunStore
from tests.world import World, open_world


@pytest.fixture
def world(tmp_path: Path, mini_dir: Path):
    """A world of one's own."""
    with open_world(tmp_path, mini_dir) as made:
        yield made


@pytest.fixture
def say(capsys):
    def run(*words: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def names(world: World) -> set[str]:
    return {run.name for run in RunStore(world.root / "runs").find_finished()}


def test_a_module_for_each_task_and_seed(world, say) -> None:
    words = ("train-intermediate", "weather", "endings", "--seeds", "1,2", *world.words())
    code, out, _ = say(*words, "--separately", "--dry-run")
    assert code == 0 and "4 modules are trained together" in out and not names(world)
    code, out, err = say(*words, "--separately")
    assert code == 0 and out.count("intermediate-weather-") == 2 and "4 modules  100%  24/24" in err
    assert len(names(world)) == 4
    code, out, err = say("train-intermediate", "weather", "--seeds", "1,2", *world.words())
    assert code == 0 and err.count("is finished already.") == 2 and len(names(world)) == 4
    code, out, err = say(*words, "--separately", "--json")
    assert code == 0 and len(json.loads(out)["runs"]) == 4 and err.count("is finished already.") == 4


def test_what_cannot_be(world, say) -> None:
    words = ("train-intermediate", "weather", "endings", "--separately", *world.words())
    code, out, err = say(*words, "--method", "full")
    assert code == 1 and out == "" and "cannot share one" in err
    code, out, err = say(*words, "--method", "full", "--dry-run")
    assert code == 1 and out == ""
    world.file("weather", "train", "en").unlink()
    code, out, err = say(*words)
    assert code == 2 and "1 of 2 modules failed, the others are finished" in err and "Traceback" not in err
    assert len(names(world)) == 1
    code, out, err = say(*words, "--skip-missing")
    assert code == 0 and "No training data here for weather: left out." in err


def test_sham_labels(world, say) -> None:
    code, out, _ = say("train-intermediate", "weather", "--sham", *world.words())
    assert code == 0 and "intermediate-weather_sham-" in out
    code, out, err = say("transfer", "--to", "weather", *world.words())
    assert code == 1 and "There is no intermediate bundle" in err
    (sham,) = names(world)
    code, out, _ = say("transfer", "--to", "weather", "--from", sham, *world.words())
    assert code == 0 and "stack on weather_sham" in out


def test_killed_without_warning_all_go_on(world, say) -> None:
    words = ["train-intermediate", "weather", "endings", "--separately", *world.words(), "--max-steps", "40"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-m", "adaptxfer.cli", *words, "--evaluations", "40"], env=environment,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    runs, deadline = world.root / "runs", time.monotonic() + 120
    while len(list(runs.glob("*/checkpoint/step-*"))) < 3 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert {Run(path).status for path in runs.iterdir()} == {"interrupted"}
    code, _, err = say(*words, "--evaluations", "40")
    assert code == 0 and err.count("Continuing after step") == 2
    for name in names(world):
        steps = [entry["step"] for entry in Run(runs / name).read_log() if entry["event"] == "step"]
        assert steps == list(range(1, 41))
