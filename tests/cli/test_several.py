"""One command on two processes: stopped, killed, continued, and what it prints."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from adaptxfer.runs.run import Run
from tests.processes import finish, start
from tests.world import World, open_world

LONG = ("--max-steps", "240", "--evaluations", "40")


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    with open_world(tmp_path_factory.mktemp("several"), mini_dir) as made:
        yield made


def begin(world: World, *words: str) -> list[subprocess.Popen[str]]:
    given = world.words()
    for option in (word for word in words if word.startswith("--")):  # the last one counts
        if option in given:
            place = given.index(option)
            del given[place : place + 2]
    return start(["-m", "adaptxfer", *words, *given, "--no-progress"])


def wait_for_step(folder: Path, step: int, processes: list[subprocess.Popen[str]]) -> None:
    """Until the log has a later step than ``step``."""
    until = time.monotonic() + 240
    while time.monotonic() < until and all(process.poll() is None for process in processes):
        runs = [Run(path) for path in folder.glob("intermediate-*")]
        if runs and any(entry["step"] > step for entry in runs[0].read_log()):
            return
        time.sleep(0.05)
    raise AssertionError([process.communicate() for process in processes if process.poll() is not None])


def test_stopped_and_killed_it_ends_whole_and_continues(world: World) -> None:
    words = ("train-intermediate", "weather", *LONG)
    processes = begin(world, *words)
    wait_for_step(world.root / "runs", 5, processes)
    processes[1].send_signal(signal.SIGTERM)  # one of them is enough
    (code, _, said), (other, _, nothing) = finish(processes)
    assert (code, other) == (130, 130)
    assert "stopped: Interrupted after step" in said and "Traceback" not in said + nothing
    (folder,) = (world.root / "runs").glob("intermediate-weather-*")
    run = Run(folder)
    assert run.status == "interrupted" and list((folder / "checkpoint").glob("step-*"))
    reached = run.read_log()[-1]["step"]

    processes = begin(world, *words)
    wait_for_step(world.root / "runs", reached + 5, processes)
    processes[1].kill()
    (code, _, said), _ = finish(processes)
    assert code == 3 and "Another of the 2 processes ended" in said and "Traceback" not in said
    assert f"Continuing after step {reached} of 240" in said
    assert Run(folder).status == "failed" and not (folder / "bundle.json").exists()

    (code, shown, said), (other, silent, nothing) = finish(begin(world, *words, "--json"))
    assert (code, other) == (0, 0), said + nothing
    assert silent == "" and '"steps": 240' in shown and "Continuing after step" in said
    run = Run(folder)
    assert run.status == "finished" and run.manifest["training"]["processes"] == 2
    steps = [entry["step"] for entry in run.read_log() if entry["event"] == "step"]
    assert steps == list(range(1, 241))
    assert not list(folder.rglob(".*"))


def test_other_commands_say_that_they_need_one_process(monkeypatch, capsys) -> None:
    from adaptxfer.cli import main

    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    assert main(["tasks", "list"]) == 1
    assert "tasks runs in one process, but 2 were started" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    assert main(["tasks", "list"]) == 1
    assert capsys.readouterr().err == ""
