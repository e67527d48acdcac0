"""The command line as a user runs it: real data, the embedded encoder, one process per command."""

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

from tests.world import weights

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SHORT = "--limit 64 --max-steps 6 --batch-size 8 --dev-limit 16 --evaluations 2 --max-length 64".split()


class Shell:
    """A folder to work in; every command runs at width 80 without a terminal."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self.common = ["--model", "mini", "--data-dir", str(data)]
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("ADAPTXFER_")}
        self.environment |= {
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "80",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "ADAPTXFER_CACHE": str(folder / "cache"),
        }

    def start(self, *words: str, runs: str = "runs") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "adaptxfer.cli", *words, *self.common, "--runs", runs]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *words: str, code: int = 0, runs: str = "runs") -> str:
        process = self.start(*words, runs=runs)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, err
        assert "Traceback" not in err
        self.said = err
        return out

    def document(self, *words: str, **options: Any) -> dict[str, Any]:
        return json.loads(self.run(*words, "--json", **options))

    def module(self, task: str, *words: str) -> str:
        """The intermediate module of a task, trained unless it is there."""
        return self.document("train-intermediate", task, *words, *SHORT)["runs"][0]["folder"]

    def scores(self, *words: str, **options: Any) -> dict[str, Any]:
        (run,) = self.document("transfer", *words, "--eval-limit", "6", **options)["runs"]
        return run["scores"]


@pytest.fixture(scope="module")
def shell(tmp_path_factory, data_dir, mini_dir):
    return Shell(tmp_path_factory.mktemp("work"), data_dir)


@pytest.fixture(scope="module")
def hellaswag(shell):
    runs = shell.document("train-intermediate", "hellaswag", "--seeds", "1,2", *SHORT)["runs"]
    assert [run["seed"] for run in runs] == [1, 2]
    return runs[0]["folder"]


@pytest.mark.parametrize(
    ("task", "languages", "metric"),
    [
        ("xnli", "en,sw", "accuracy"),
        ("xquad", "en,de", "squad"),
        ("udpos", "en,ja", "accuracy"),
        ("panx", "en,de", "f1"),
        ("xcopa", "sw,et", "accuracy"),
    ],
)
def test_from_hellaswag_to_a_target(shell, hellaswag, task: str, languages: str, metric: str) -> None:
    scores = shell.scores("--to", task, "--from", hellaswag, "--languages", languages, *SHORT)
    assert (
        scores["task"] == task and set(scores["languages"]) == set(languages.split(",")) and scores["metric"] == metric
    )
    for values in scores["languages"].values():
        assert 0 <= values[metric] <= 100 and values["n"] == 6


def test_retrieval_with_and_without_the_module(shell, hellaswag) -> None:
    where = ("--to", "tatoeba", "--languages", "de,fr,sw", "--layer", "2")
    bare = shell.scores(*where, "--how", "none")
    assert set(bare["languages"]) == {"de", "fr", "sw"}
    (run,) = shell.document("transfer", *where, "--from", hellaswag, "--eval-limit", "6")["runs"]
    assert set(run["scores"]["languages"]) == {"de", "fr", "sw"}


def test_compositions_of_two_modules(shell, hellaswag) -> None:
    both = ("--from", hellaswag, "--from", shell.module("mnli"))
    for how in ("fuse", "merge"):
        scores = shell.scores("--to", "xcopa", *both, "--how", how, "--languages", "sw", *SHORT)
        assert set(scores["languages"]) == {"sw"}


@pytest.mark.parametrize(("method", "how"), [("lora", "stack"), ("full", "continue")])
def test_other_methods(shell, method: str, how: str) -> None:
    module = shell.module("mnli", "--method", method)
    words = ("--to", "xnli", "--from", module, "--method", method, "--how", how, "--languages", "sw")
    assert set(shell.scores(*words, *SHORT)["languages"]) == {"sw"}


def test_two_seeds_then_the_baseline_then_the_gain_at_once(shell, hellaswag) -> None:
    words = ("transfer", "--to", "xcopa", "--languages", "sw,et", "--seeds", "1,2", "--eval-limit", "6", *SHORT)
    first = shell.run(*words)
    assert "over 2 seeds (1, 2)" in first and "No baseline to compare with yet" in first
    assert "Using intermediate-" in shell.said
    shell.run(*words, "--how", "none")
    again = shell.run(*words)
    assert "steps." not in shell.said and shell.said.count("is finished already.") == 2
    assert "baseline" in again and "gain" in again and again.startswith(first.split("\n\n")[0])
    assert max(len(line) for line in again.splitlines()) <= 80


def wait_for(process: subprocess.Popen[str], found: Any) -> Any:
    """What ``found`` gives once it gives something, while the process still runs."""
    for _ in range(2400):
        if value := found():
            return value
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError("it takes too long")


def checkpoint(folder: Path) -> list[Path]:
    return list(folder.glob("intermediate-*/checkpoint/step-*/state.json"))


LONG = "--limit 64 --max-steps 16 --batch-size 8 --dev-limit 8 --evaluations 8 --max-length 64".split()
TRAIN = ("train-intermediate", "hellaswag", *LONG)


@pytest.fixture(scope="module")
def whole(shell) -> dict[str, bytes]:
    """The weights of a training that nothing interrupted."""
    found = weights(shell.folder / shell.document(*TRAIN, runs="whole")["runs"][0]["folder"])
    assert len(found) == 2
    return found


def test_a_killed_training_ends_with_the_same_bytes(shell, whole) -> None:
    process = shell.start(*TRAIN, runs="killed")
    wait_for(process, lambda: checkpoint(shell.folder / "killed"))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (left,) = (shell.folder / "killed").iterdir()
    assert not (left / "bundle.json").exists()
    shell.run(*TRAIN, runs="killed")
    assert "Continuing after step" in shell.said
    assert weights(left) == whole


def test_a_second_process_is_refused_and_ctrl_c_leaves_a_checkpoint(shell) -> None:
    endless = (*TRAIN, "--max-steps", "4000")

    def steps() -> int:
        return sum(len(path.read_text().splitlines()) for path in (shell.folder / "stopped").glob("*/log.jsonl"))

    def interrupt(process: subprocess.Popen[str]) -> str:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 130, err
        assert out == "" and "the checkpoint is saved" in err and "Traceback" not in err
        return err

    first = shell.start(*endless, runs="stopped")
    wait_for(first, steps)
    shell.run(*endless, runs="stopped", code=2)
    assert "is being written by process" in shell.said
    assert "Continuing" not in interrupt(first)
    assert checkpoint(shell.folder / "stopped")
    before = steps()
    again = shell.start(*endless, runs="stopped")
    wait_for(again, lambda: steps() > before)
    assert "Continuing after step" in interrupt(again)


def test_dry_run_needs_neither_weights_nor_runs(shell) -> None:
    out = shell.run("train-intermediate", "mnli", "--dry-run", *SHORT, runs="nowhere")
    assert "mnli  (trains)" in out and "optimiser steps" in out
    assert not (shell.folder / "nowhere").exists()
