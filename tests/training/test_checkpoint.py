"""Interrupted and resumed equals uninterrupted, bit for bit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adaptxfer.training import train
from adaptxfer.training.checkpoint import Checkpoints, Progress
from tests.tiny import hash_of
from tests.training.toy import OPTIONS, Scores, toy_model, toy_steps

ROOT = Path(__file__).resolve().parents[2]
VALUES = [10, 30, 20, 40, 35]


class PulledPlug(BaseException):
    """A stop nobody could prepare for."""


def unplug(step):
    def report(event):
        if event["event"] == "step" and event["step"] == step:
            raise PulledPlug

    return report


def whole_run(encoder, folder, method="bottleneck", how="none"):
    """An uninterrupted run: hash of the final weights and its result."""
    model, trained = toy_model(encoder, method, how)
    result = train(model, trained, toy_steps(), OPTIONS, folder, Scores(VALUES, trained))
    return hash_of(trained), result


def cut_run(encoder, folder, step, method="bottleneck", how="none", done=0):
    """A run that dies in ``step``; ``done`` evaluations lie before it."""
    model, trained = toy_model(encoder, method, how)
    with pytest.raises(PulledPlug):
        train(model, trained, toy_steps(), OPTIONS, folder, Scores(VALUES[done:], trained), unplug(step))


def resumed_run(encoder, folder, done, method="bottleneck", how="none"):
    """Continue with a fresh model and another random state; hash, result, events."""
    torch.manual_seed(99)
    model, trained = toy_model(encoder, method, how)
    events = []
    result = train(model, trained, toy_steps(), OPTIONS, folder, Scores(VALUES[done:], trained), events.append)
    return hash_of(trained), result, events


def same(one, two):
    """Equal in all but the time it took."""
    return {k: v for k, v in vars(one).items() if k != "seconds"} == {
        k: v for k, v in vars(two).items() if k != "seconds"
    }


@pytest.mark.parametrize(
    ("method", "how"), [("bottleneck", "none"), ("bottleneck", "fuse"), ("lora", "stack"), ("full", "none")]
)
def test_resumed_equals_uninterrupted(tiny_encoder, tmp_path, method, how):
    whole, result = whole_run(tiny_encoder, tmp_path / "whole", method, how)
    cut_run(tiny_encoder, tmp_path / "cut", 6, method, how)  # dies after step 6, before it is saved
    again, resumed, events = resumed_run(tiny_encoder, tmp_path / "cut", 2, method, how)
    assert events[0] == {"event": "resume", "step": 4, "total": 10}
    assert again == whole and same(resumed, result)


def test_killed_process_resumes_bit_for_bit(tiny_encoder, tiny_dir, tmp_path):
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom adaptxfer.encoder import load_encoder\n"
        "from adaptxfer.training import train\nfrom tests.training.toy import *\n"
        "model, trained = toy_model(load_encoder(sys.argv[1]))\n"
        "def report(event):\n"
        "    if event.get('step') == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"train(model, trained, toy_steps(), OPTIONS, Path(sys.argv[2]), Scores({VALUES}, trained), report)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, "-c", script, tiny_dir, tmp_path / "cut"], env=environment, timeout=300)
    assert done.returncode == -signal.SIGKILL
    whole, result = whole_run(tiny_encoder, tmp_path / "whole")
    again, resumed, events = resumed_run(tiny_encoder, tmp_path / "cut", 3)
    assert events[0]["step"] == 6
    assert again == whole and same(resumed, result)


def spoil_cut(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def spoil_bit(folder):
    path = folder / "optimiser.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def spoil_missing(folder):
    (folder / "random.safetensors").unlink()


def spoil_state(folder):
    (folder / "state.json").write_text('{"progress": ')


def spoil_empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def spoil_shape(folder):
    (folder / "state.json").write_text("[]")


@pytest.mark.parametrize("spoil", [spoil_cut, spoil_bit, spoil_missing, spoil_state, spoil_empty, spoil_shape])
def test_a_damaged_newest_checkpoint_falls_back_and_says_so(tiny_encoder, tmp_path, spoil):
    whole, result = whole_run(tiny_encoder, tmp_path / "whole")
    cut_run(tiny_encoder, tmp_path / "cut", 9)
    spoil(tmp_path / "cut" / "step-00000008")
    again, resumed, events = resumed_run(tiny_encoder, tmp_path / "cut", 3)
    assert events[0]["event"] == "note" and "step-00000008 is damaged" in events[0]["text"]
    assert events[1] == {"event": "resume", "step": 6, "total": 10}
    assert again == whole and same(resumed, result)


def test_all_checkpoints_damaged_starts_again(tiny_encoder, tmp_path):
    whole, _ = whole_run(tiny_encoder, tmp_path / "whole")
    cut_run(tiny_encoder, tmp_path / "cut", 5)
    for path in (tmp_path / "cut").glob("step-*"):
        spoil_bit(path)
    again, _, events = resumed_run(tiny_encoder, tmp_path / "cut", 0)
    assert [event["event"] for event in events[:3]] == ["note", "note", "step"]
    assert again == whole


def test_a_missing_best_file_makes_its_checkpoint_unusable(tiny_encoder, tmp_path):
    cut_run(tiny_encoder, tmp_path, 9)
    (tmp_path / "best-00000008.safetensors").unlink()
    _, result, events = resumed_run(tiny_encoder, tmp_path, 3)
    assert "step-00000008 is damaged" in events[0]["text"]
    assert result.best_step == 8


def test_interrupted_again_after_a_damaged_checkpoint(tiny_encoder, tmp_path):
    whole, result = whole_run(tiny_encoder, tmp_path / "whole")
    cut = tmp_path / "cut"
    cut_run(tiny_encoder, cut, 9)
    spoil_state(cut / "step-00000008")
    model, trained = toy_model(tiny_encoder)

    def stop(event):
        if event.get("step") == 7 and event["event"] == "step":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Exception, match="Interrupted after step 7"):
        train(model, trained, toy_steps(), OPTIONS, cut, Scores(VALUES[3:], trained), stop)
    # the damaged one is gone, so that it is not the newest again
    assert sorted(path.name for path in cut.glob("step-*")) == ["step-00000006", "step-00000007"]
    again, resumed, events = resumed_run(tiny_encoder, cut, 3)
    assert events[0] == {"event": "resume", "step": 7, "total": 10}
    assert again == whole and same(resumed, result)


def test_a_finished_run_continues_to_its_result(tiny_encoder, tmp_path):
    whole, result = whole_run(tiny_encoder, tmp_path)
    again, resumed, events = resumed_run(tiny_encoder, tmp_path, 5)
    assert events == [{"event": "resume", "step": 10, "total": 10}]
    assert again == whole and same(resumed, result)


def test_what_is_kept(tiny_encoder, tmp_path):
    (tmp_path / ".step-00000001").mkdir()  # left by a process that was killed while writing
    whole_run(tiny_encoder, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best-00000008.safetensors",
        "step-00000008",
        "step-00000010",
    ]
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.bin"))


def test_losses_of_the_watch_travel_with_the_checkpoint(tiny_encoder, tmp_path):
    cut_run(tiny_encoder, tmp_path, 7)
    _, trained = toy_model(tiny_encoder)
    progress, damaged = Checkpoints(tmp_path, trained, torch.optim.AdamW(trained.values()), 10).load_latest()
    assert not damaged and progress.step == 6 == len(progress.losses)


def test_a_checkpoint_of_a_run_of_another_length_is_not_continued(tiny_encoder, tmp_path):
    cut_run(tiny_encoder, tmp_path, 7)
    _, trained = toy_model(tiny_encoder)
    progress, damaged = Checkpoints(tmp_path, trained, torch.optim.AdamW(trained.values()), 20).load_latest()
    assert progress is None and "a run of 10 steps, this one has 20" in damaged[0]


def test_a_full_disk_keeps_the_checkpoint_before(tiny_encoder, tmp_path, monkeypatch):
    from adaptxfer.errors import AdaptxferError

    _, trained = toy_model(tiny_encoder)
    checkpoints = Checkpoints(tmp_path, trained, torch.optim.AdamW(trained.values()))
    checkpoints.save(Progress(step=1))

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(AdaptxferError, match="No space left"):
            checkpoints.save(Progress(step=2))
    assert checkpoints.load_latest()[0].step == 1
