from __future__ import annotations

import errno
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from adaptxfer.cli import main
from adaptxfer.runs import train as trains
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import RunStore
from tests.world import World, make_world, no_training, open_world, rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory, mini_dir):
    """A world with one intermediate module per method, and one of another base model; not to be changed."""
    with open_world(tmp_path_factory.mktemp("trained"), mini_dir) as made:
        for method in ("bottleneck", "lora"):
            assert main(["train-intermediate", "endings", "--method", method, *made.words(), "--no-progress"]) == 0
        yield made


@pytest.fixture
def world(tmp_path: Path, mini_dir: Path):
    """A world of one's own."""
    with open_world(tmp_path, mini_dir) as made:
        yield made


@pytest.fixture
def say(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def refused(answer: tuple[int, str, str], code: int, *said: str) -> None:
    """A sentence and what to do, no traceback, no result."""
    found, out, err = answer
    assert found == code, err
    assert "Traceback" not in err and "Unexpected" not in err and out == ""
    assert any(line.startswith("error: ") for line in err.splitlines())
    for text in said:
        assert text in err


def module(world: World, method: str = "bottleneck") -> str:
    return str(RunStore(world.root / "runs").find_finished("intermediate", method=method)[0].path)


def test_from_an_intermediate_task_to_gains(world, say, monkeypatch) -> None:
    code, out, _ = say("train-intermediate", "endings", "--seeds", "1,2", *world.words())
    assert code == 0 and out.count("intermediate-endings-") == 3 and "Next: adaptxfer transfer --to TASK" in out
    words = ("--to", "weather", "--seeds", "1,2", *world.words())
    code, out, err = say("transfer", *words)
    assert code == 0 and "Using intermediate-endings-" in err and "No baseline to compare with yet" in out
    assert say("transfer", *words, "--how", "none")[0] == 0
    monkeypatch.setattr(trains, "train", no_training)
    code, out, err = say("transfer", *words)
    assert code == 0 and "baseline" in out and "mean zero-shot" in out and "mean ± standard deviation over 2" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, err = say("transfer", *words, "--json")
    document = json.loads(out)
    assert code == 0 and {run["seed"] for run in document["runs"]} == {1, 2} and document["gain"]["task"] == "weather"


def test_dry_run_changes_nothing(trained, say, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(trains, "load_encoder", no_training)
    before = sorted((trained.root / "runs").iterdir())
    code, out, _ = say("transfer", "--to", "weather", "--dry-run", *trained.words())
    assert code == 0 and "endings  (frozen)" in out and "(from you)" in out and "evaluate-weather" in out
    code, out, _ = say("train-intermediate", "weather", "--dry-run", "--json", *trained.words())
    assert code == 0 and json.loads(out)["stages"][0]["steps"] == 6
    assert sorted((trained.root / "runs").iterdir()) == before


def test_evaluate_shows_the_scores_of_a_bundle(trained, say) -> None:
    code, out, _ = say("evaluate", module(trained), "--on", "twins", "--layer", "1", *trained.words(training=False))
    assert code == 0 and "accuracy" in out and "sw" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train-intermediate", "ending"], 1, ["There is no task 'ending'", "Did you mean 'endings'?"]),
        (["train-intermediate", "endings", "endings"], 1, ["named twice"]),
        (["train-intermediate", "names"], 1, ["names is no intermediate task"]),
        (["train-intermediate", "endings", "--seeds", "a,b"], 1, ["--seeds 'a,b'", "Write --seeds 1,2,3."]),
        (["train-intermediate", "endings", "--seeds", "1,1"], 1, ["different whole numbers"]),
        (["train-intermediate", "endings", "--seeds", "²"], 1, ["--seeds"]),
        (["train-intermediate", "endings", "--method", "lore"], 1, ["--method 'lore'", "bottleneck, lora, full"]),
        (["train-intermediate", "endings", "--method", "lora", "--reduction", "4"], 1, ["--reduction does not belong"]),
        (["train-intermediate", "endings", "--r", "4"], 1, ["--r does not belong to --method bottleneck"]),
        (["train-intermediate", "endings", "--batch-size", "x"], 1, ["--batch-size"]),
        (["train-intermediate", "endings", "--batch-size", "0"], 1, ["--batch-size must be positive"]),
        (["train-intermediate", "endings", "--learning-rate", "-1"], 1, ["--learning-rate must lie between"]),
        (["train-intermediate", "endings", "--precision", "fp8"], 1, ["fp32 or bf16"]),
        (["train-intermediate", "endings", "--sampler", "even"], 1, ["--sampler 'even'"]),
        (["train-intermediate", "endings", "--data-dir", "nowhere"], 1, ["--data-dir nowhere is not a folder"]),
        (["train-intermediate", "endings", "--tasks", "nowhere"], 1, ["The task folder nowhere does not exist"]),
        (["train-intermediate", "endings", "--model", "./nowhere"], 1, ["There is no model folder ./nowhere"]),
        (["transfer", "--to", "names", "--how", "fuse", "--method", "lora"], 1, ["--how fuse does not work"]),
        (["transfer", "--to", "names", "--how", "fuse"], 1, ["--how fuse needs 2 or more"]),
        (["transfer", "--to", "names", "--how", "none", "--from", "MODULE"], 1, ["--how none uses no intermediate"]),
        (["transfer", "--to", "names", "--from", "nothing"], 1, ["There is no run 'nothing'"]),
        (["transfer", "--to", "names", "--from", "DATA"], 2, ["holds no bundle", "Give a finished run that trained"]),
        (["transfer", "--to", "names", "--from", "LORA"], 1, ["--method lora, not bottleneck", "Use --method lora."]),
        (["transfer", "--to", "names", "--languages", "xx"], 1, ["names has no language 'xx'"]),
        (["transfer", "--to", "names", "--languages", ","], 1, ["--languages names no language"]),
        (["transfer", "--to", "names", "--split", "tset"], 1, ["--split dev or --split test"]),
        (["transfer", "--to", "names", "--eval-limit", "0"], 1, ["--eval-limit"]),
        (["transfer", "--to", "endings"], 1, ["endings is no target task"]),
        (["transfer", "--to", "twins"], 1, ["no default layer", "--layer"]),
        (["transfer", "--to", "names", "--method", "full"], 1, ["There is no intermediate bundle", "--how none"]),
        (["transfer"], 1, ["--to"]),
        (["evaluate", "MODULE", "--on", "names"], 1, ["names is of kind tag", "Train for it first"]),
        (["evaluate", "MODULE", "--on", "nmaes"], 1, ["Did you mean 'names'?"]),
    ],
)
def test_wrong_use(trained, say, words: list[str], code: int, said: list[str]) -> None:
    before = sorted((trained.root / "runs").iterdir())
    known = {"MODULE": module(trained), "LORA": module(trained, "lora"), "DATA": str(trained.root / "data")}
    words = [known.get(word, word) for word in words]
    common = trained.words(training=words[0] != "evaluate")
    answer = say(words[0], *_without(common, words), *words[1:])
    refused(answer, code, *said)
    assert sorted((trained.root / "runs").iterdir()) == before


def _without(common: list[str], words: list[str]) -> list[str]:
    """The common options but those that are given."""
    pairs = list(zip(common[::2], common[1::2], strict=True))
    return [part for pair in pairs if pair[0] not in words for part in pair]


WEATHER = rows("weather", 8, "dev")
DAMAGED = {
    "a missing column": ([{"id": "1", "label": "wet"}], "has None as first; expected text"),
    "a label outside the list": ([*WEATHER, {**WEATHER[0], "label": "cold"}], "line 9 has the label 'cold'; expected"),
    "no row at all": ([], "no usable train examples"),
    "truncated JSON": ([*WEATHER, '{"id": "9", "fir'], "line 9"),
    "text that is no text": ([{**WEATHER[0], "first": 7}], "expected text"),
    "no row with a label": ([{k: v for k, v in row.items() if k != "label"} for row in WEATHER], "dropped_unlabelled"),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_damaged_data(world, say, fault: str) -> None:
    made, said = DAMAGED[fault]
    world.write("weather", "train", "en", made)
    refused(say("train-intermediate", "weather", *world.words()), 2, said)
    left = [Run(path).status for path in (world.root / "runs").glob("*")]
    assert left in ([], ["new"]), "nothing is half-written"
    world.write("weather", "train", "en", rows("weather", 24, "train"))
    assert say("train-intermediate", "weather", *world.words())[0] == 0


def test_a_row_without_its_answer_is_left_out_and_told(world, say) -> None:
    made = rows("facts", 24, "train")
    world.write("facts", "train", "en", [{**made[0], "answers": []}, *made[1:]])
    code, _, err = say("transfer", "--to", "facts", "--how", "none", "--languages", "de", *world.words())
    assert code == 0 and "facts: 1 dropped" in err


@pytest.mark.parametrize("damage", ["cut", "no gzip"])
def test_an_unreadable_gzip_file(world, say, damage: str) -> None:
    path = world.file("weather", "train", "en")
    packed = gzip.compress(path.read_bytes())
    path.with_name(f"{path.name}.gz").write_bytes(packed[:-20] if damage == "cut" else b"\x1f\x8b nonsense")
    path.unlink()
    refused(say("train-intermediate", "weather", *world.words()), 2, "damaged gzip")


def test_damaged_test_data_does_not_cost_the_training(world, say, monkeypatch) -> None:
    words = ("transfer", "--to", "weather", "--how", "none", *world.words())
    path = world.file("weather", "test", "sw")
    path.write_text(path.read_text() + '{"id": ')
    refused(say(*words), 2, "line 7")
    assert [run.status for run in RunStore(world.root / "runs").list()] == ["failed", "finished"]
    world.write("weather", "test", "sw", rows("weather", 6, "test"))
    monkeypatch.setattr(trains, "train", no_training)
    code, out, _ = say(*words)
    assert code == 0 and "sw" in out


def test_a_changed_weight_file(world, say) -> None:
    assert say("train-intermediate", "endings", *world.words())[0] == 0
    path = Path(module(world)) / "module" / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    refused(say("transfer", "--to", "names", *world.words()), 2, "is not the file that was saved")


def test_another_base_model(trained, say, tmp_path, mini_dir) -> None:
    other = make_world(tmp_path / "other", mini_dir)
    from tests.tiny import save_tiny

    save_tiny(other.root / "tiny", mini_dir, seed=9)
    words = ("transfer", "--to", "names", "--from", module(trained), *other.words())
    refused(say(*words), 2, "was trained on tiny", "not on tiny")


@pytest.mark.parametrize("flag", [True, False])
def test_no_network(world, say, monkeypatch, flag: bool) -> None:
    if not flag:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    words = _without(world.words(), ["--model"])
    answer = say("train-intermediate", "endings", "--model", "owner/absent", *words, *(["--offline"] if flag else []))
    refused(answer, 2, "owner/absent", "mini")
    assert ("--offline is set" in answer[2]) == flag


def test_a_full_disk(world, say, monkeypatch) -> None:
    """The first write of a checkpoint fails; afterwards the same command does the rest."""
    from adaptxfer import files

    real = files.os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(files.os, "fsync", full)
        return loop(*given, **named)

    loop = trains.train
    with monkeypatch.context() as patch:
        patch.setattr(trains, "train", refuse)
        code, out, err = say("train-intermediate", "endings", *world.words())
    assert code == 2 and "No space left while writing" in err and "Traceback" not in err and out == ""
    monkeypatch.setattr(files.os, "fsync", real)
    (run,) = RunStore(world.root / "runs").list()
    assert run.status in ("failed", "interrupted") and not (run.path / "bundle.json").exists()
    assert not list(run.path.rglob(".*.safetensors.*")), "no half file is left"
    assert say("train-intermediate", "endings", *world.words())[0] == 0


def test_a_run_that_another_process_writes(world, say) -> None:
    _, out, _ = say("train-intermediate", "endings", "--dry-run", "--json", *world.words())
    kind, name, mark = json.loads(out)["stages"][0]["stage"].rsplit("-", 2)
    with RunStore(world.root / "runs").open(kind, name, mark):
        refused(say("train-intermediate", "endings", *world.words()), 2, "is being written by process", "Wait for it")
    assert say("train-intermediate", "endings", *world.words())[0] == 0


def test_ctrl_c_leaves_a_checkpoint(world, say, monkeypatch) -> None:
    import os
    import signal

    loop = trains.train

    def pressed(model, trained, steps, options, folder, score, report, chance):
        def heard(event):
            report(event)
            if event["event"] == "step" and event["step"] == 3:
                os.kill(os.getpid(), signal.SIGINT)

        return loop(model, trained, steps, options, folder, score, heard, chance)

    with monkeypatch.context() as patch:
        patch.setattr(trains, "train", pressed)
        code, out, err = say("train-intermediate", "endings", *world.words())
    assert code == 130 and out == "" and "stopped: Interrupted after step 3; the checkpoint is saved." in err
    code, _, err = say("train-intermediate", "endings", *world.words())
    assert code == 0 and "Continuing after step 3 of 6." in err


def test_errors_are_one_json_document(world, say) -> None:
    code, out, err = say("transfer", "--to", "nothing", "--json", *world.words())
    assert code == 1 and json.loads(out)["error"]["code"] == 1 and "There is no task 'nothing'" in err
