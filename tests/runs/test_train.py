from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adaptxfer.encoder.load import load_encoder
from adaptxfer.errors import AdaptxferError, training_error
from adaptxfer.files import file_hash
from adaptxfer.modules.bundle import load_bundle, read_bundle
from adaptxfer.runs import train as trains
from adaptxfer.runs.plan import find_task, plan_intermediate, plan_target
from adaptxfer.runs.run import Run
from adaptxfer.runs.stage import Mixture
from adaptxfer.runs.train import run_training
from tests.world import no_training, weights


def stopping(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException) -> None:
    """Make training end with ``error`` after ``step``."""
    loop = trains.train

    def stopped(model, trained, steps, options, folder, score, report, chance):
        def heard(event):
            report(event)
            if event["event"] == "step" and event["step"] == step:
                raise error

        return loop(model, trained, steps, options, folder, score, heard, chance)

    monkeypatch.setattr(trains, "train", stopped)


def test_a_finished_training_leaves_a_bundle_and_its_story(ask) -> None:
    before = file_hash(next((ask.data_dir.parent / "tiny").glob("*.safetensors")))
    bundle = run_training(plan_intermediate(["weather"], ask, 3))
    run = Run(bundle.folder)
    assert run.status == "finished" and run.manifest["seed"] == 3 and run.name.startswith("intermediate-weather-")
    assert run.manifest["request"]["tasks"] == {"value": ["weather"], "from": "command"}
    assert run.manifest["request"]["max_steps"] == {"value": 6, "from": "you"}
    assert run.manifest["request"]["warmup"]["from"] == "task file"
    assert set(run.manifest["data"]) == {"weather/train", "weather/dev"}
    assert run.manifest["base_model"]["id"] == "tiny" and len(run.manifest["base_model"]["fingerprint"]) == 32
    assert str(ask.data_dir.parent) not in json.dumps(run.manifest), "no path of this machine"
    facts = run.manifest["training"]
    assert facts["steps"] == 6 and [e["step"] for e in facts["evaluations"]] == [2, 4, 6] and facts["tokens"] > 0
    assert facts["best_score"] == max(e["score"] for e in facts["evaluations"])
    assert run.manifest["dev"]["weather"]["accuracy"] == pytest.approx(facts["best_score"]), "the best is what is kept"
    log = run.read_log()
    assert [entry["step"] for entry in log if entry["event"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert not (bundle.folder / "checkpoint").exists()
    assert file_hash(next((ask.data_dir.parent / "tiny").glob("*.safetensors"))) == before
    model = load_bundle(read_bundle(bundle.folder), load_encoder(ask.model))
    assert list(model.heads) == ["weather"]


def test_the_same_again_does_not_train(ask, monkeypatch, capsys) -> None:
    stage = plan_intermediate(["weather"], ask, 1)
    first = run_training(stage)
    monkeypatch.setattr(trains, "train", no_training)
    monkeypatch.setattr(trains, "load_encoder", no_training)
    assert run_training(stage).files == first.files
    assert f"{first.folder.name} is finished already." in capsys.readouterr().err


def test_fresh_trains_again_and_gives_the_same(ask) -> None:
    first = run_training(plan_intermediate(["weather"], ask, 1))
    started = Run(first.folder).manifest["started"]
    again = run_training(plan_intermediate(["weather"], replace(ask, fresh=True), 1))
    assert again.files == first.files and Run(again.folder).manifest["started"] > started


@pytest.mark.parametrize("step", [1, 5])
def test_an_interrupted_run_continues_to_the_same_bytes(ask, tmp_path, monkeypatch, capsys, step: int) -> None:
    whole = run_training(plan_intermediate(["weather"], replace(ask, runs=tmp_path / "other"), 1))
    stage = plan_intermediate(["weather"], ask, 1)
    with monkeypatch.context() as patch:
        stopping(patch, step, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run_training(stage)
    stopped = next(ask.runs.iterdir())
    assert Run(stopped).status == "interrupted"
    with pytest.raises(AdaptxferError, match=r"bundle\.json"):
        read_bundle(stopped)
    bundle = run_training(stage)
    assert weights(bundle.folder) == weights(whole.folder) and len(weights(whole.folder)) == 2
    steps = [entry["step"] for entry in Run(bundle.folder).read_log() if entry["event"] == "step"]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert ("Continuing after step 4 of 6." in capsys.readouterr().err) == (step == 5)


def test_a_failed_run_says_why_and_may_be_tried_again(ask, monkeypatch) -> None:
    stage = plan_intermediate(["weather"], ask, 1)
    with monkeypatch.context() as patch:
        stopping(patch, 3, training_error("It diverged.", "Lower the rate."))
        with pytest.raises(AdaptxferError):
            run_training(stage)
    run = Run(next(ask.runs.iterdir()))
    assert run.status == "failed" and "It diverged." in run.manifest["error"]
    assert Run(run_training(stage).folder).status == "finished"


def test_one_module_for_several_tasks(ask) -> None:
    bundle = run_training(plan_intermediate(["weather", "endings"], replace(ask, max_steps=8), 1, Mixture("uniform")))
    run = Run(bundle.folder)
    assert set(bundle.heads) == {"weather", "endings"} == set(run.manifest["dev"])
    assert run.asked("sampler") == "uniform" and bundle.single() == "weather-endings"
    assert {entry["task"] for entry in run.read_log() if entry["event"] == "step"} == {"weather", "endings"}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_seeds_and_methods(ask, method: str) -> None:
    ask = replace(ask, method=method, max_steps=2)
    one, two = (run_training(plan_intermediate(["endings"], ask, seed)) for seed in (1, 2))
    assert one.folder != two.folder and weights(one.folder) != weights(two.folder)


def test_frozen_intermediate_weights_stay_as_they_were(ask, modules) -> None:
    parent = modules("bottleneck")[0]
    bundle = run_training(plan_target(find_task("weather", ask, "target"), ask, 1, "stack", [parent], False))
    below = bundle.module_folder("endings") / "adapter.safetensors"
    assert below.read_bytes() == (parent.folder / "module" / "adapter.safetensors").read_bytes()
    assert Run(bundle.folder).manifest["parents"] == [parent.folder.name]


def test_a_bundle_of_another_base_model_is_refused(own_ask, modules, world, mini_dir) -> None:
    from tests.tiny import save_tiny

    other = save_tiny(world.root / "other", mini_dir, seed=5)
    ask = replace(own_ask, model=str(other))
    stage = plan_target(find_task("weather", ask, "target"), ask, 1, "stack", modules("bottleneck")[:1], False)
    with pytest.raises(AdaptxferError, match=r"was trained on tiny .* not on other") as caught:
        run_training(stage)
    assert caught.value.code == 2
