from __future__ import annotations

import json
import sys

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs import track as module
from adaptxfer.runs.run import Run
from adaptxfer.runs.track import numbers, track
from tests.folders import add_run


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(add_run(tmp_path / "runs", "target", "weather", 1))


def test_numbers_carry_task_and_step() -> None:
    entries = [
        {"event": "step", "step": 3, "task": "nli", "loss": 0.5, "learning_rate": None, "tokens_per_s": 9},
        {"event": "evaluation", "step": 3, "score": 40.0, "best": True},
        {"event": "other", "step": 4, "loss": 1.0},
    ]
    assert list(numbers(entries)) == [("nli/loss", 0.5, 3), ("nli/tokens_per_s", 9.0, 3), ("dev/score", 40.0, 3)]


def test_tensorboard_reads_what_the_log_says(run, tmp_path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    count = track(run, "tensorboard", tmp_path / "out")
    found = EventAccumulator(str(tmp_path / "out" / run.name))
    found.Reload()
    losses = [(event.step, event.value) for event in found.Scalars("train/loss")]
    assert losses == [(step, pytest.approx(2.0 / step)) for step in range(1, 201)]
    assert [event.value for event in found.Scalars("dev/score")] == [100.0, 200.0]
    assert count == 202


def test_wandb_stays_offline(run, tmp_path, monkeypatch) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert track(run, "wandb", tmp_path / "out") == 202
    assert list((tmp_path / "out" / "wandb").glob("offline-run-*/*.wandb"))


class Heard:
    """A tracker that remembers."""

    def __init__(self, run, out) -> None:
        self.closed, self.taken = False, []
        Heard.last = self

    def add(self, name, value, step) -> None:
        self.taken.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_following_hands_over_each_number_once(run, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(module.TRACKERS, "heard", (Heard, "heard"))
    states = iter(["running", "running", "finished"])
    monkeypatch.setattr(Run, "status", property(lambda self: next(states)))
    log = run.path / "log.jsonl"
    lines = iter([250, 300])

    def wait(_seconds: float) -> None:
        with log.open("a") as file:
            file.write(json.dumps({"event": "step", "step": next(lines), "loss": 0.1}) + "\n")

    monkeypatch.setattr(module.time, "sleep", wait)
    assert track(run, "heard", tmp_path, follow=True) == 204
    assert Heard.last.closed and [step for _, _, step in Heard.last.taken[-2:]] == [250, 300]


def test_what_cannot_be_tracked_is_refused(run, tmp_path, monkeypatch) -> None:
    with pytest.raises(AdaptxferError, match="no tracker 'tensorbord'") as error:
        track(run, "tensorbord", tmp_path)
    assert "tensorboard" in error.value.hint
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(AdaptxferError, match="not installed") as error:
        track(run, "wandb", tmp_path)
    assert "adaptxfer[wandb]" in error.value.hint
    evaluated = Run(add_run(tmp_path / "runs", "evaluate", "weather", 2))
    with pytest.raises(AdaptxferError, match="no training log"):
        track(evaluated, "tensorboard", tmp_path)
