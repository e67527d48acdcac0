"""Stages trained at once leave what each leaves by itself, and one failure stops no other."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from adaptxfer.api import make_ask, train_separately, transfer
from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.bundle import Bundle
from adaptxfer.runs import together, train
from adaptxfer.runs.data import DevScore
from adaptxfer.runs.plan import plan_intermediate, plan_separately
from adaptxfer.runs.records import read_record
from adaptxfer.runs.run import Run
from adaptxfer.runs.stage import Mixture
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.together import bundles_of, run_together
from adaptxfer.runs.train import run_training
from adaptxfer.studies.collect import collect
from tests.world import no_training

APART = {"together", "started", "finished", "duration_s", "training"}
"""What a manifest says of one training and not of another of the same stage."""


def assert_same(one: Bundle, other: Bundle) -> None:
    """Two bundles of one stage are equal but for rounding."""
    assert one.folder.name == other.folder.name and one.heads == other.heads and one.tree == other.tree
    assert set(one.files) == set(other.files)
    for name in one.files:
        if name.endswith(".safetensors"):
            found, expected = load_file(one.folder / name), load_file(other.folder / name)
            assert found.keys() == expected.keys()
            for key in found.keys() - {"endings.out.bias"}:  # no gradient but rounding
                torch.testing.assert_close(found[key], expected[key], atol=1e-6, rtol=0)
    first, second = (Run(bundle.folder).manifest for bundle in (one, other))
    assert {k: v for k, v in first.items() if k not in APART} == {k: v for k, v in second.items() if k not in APART}
    for key in ("steps", "best_step", "best_score", "tokens", "evaluations"):
        assert first["training"][key] == second["training"][key]


@pytest.fixture
def apart(ask, tmp_path):
    """The same request with another folder of runs."""
    return replace(ask, runs=tmp_path / "apart")


@pytest.mark.parametrize("method", ["bottleneck", "lora"])
def test_each_is_what_it_is_alone(ask, apart, method) -> None:
    stages = plan_separately(["weather", "endings"], replace(ask, method=method), [1, 2])
    found = bundles_of(stages, run_together(stages))
    for stage, bundle in zip(stages, found, strict=True):
        assert_same(bundle, run_training(replace(stage, ask=replace(stage.ask, runs=apart.runs))))
        run = Run(bundle.folder)
        others = {other.folder.name for other in found if other is not bundle}
        assert set(run.manifest["together"]["with"]) == others and len(others) == 3
        assert [e["step"] for e in run.read_log() if e["event"] == "step"] == [1, 2, 3, 4, 5, 6]
        assert run.status == "finished" and not (bundle.folder / "checkpoint").exists()


def test_finished_ones_are_reused_both_ways(ask, monkeypatch, capsys) -> None:
    alone = run_training(plan_intermediate(["weather"], ask, 1))
    stages = plan_separately(["weather", "endings"], ask, [1])
    one, two = bundles_of(stages, run_together(stages))
    assert one.files == alone.files and "together" not in Run(one.folder).manifest
    assert "together" not in Run(two.folder).manifest, "it was alone in the end"
    monkeypatch.setattr(train, "train", no_training)
    monkeypatch.setattr(together, "load_encoder", no_training)
    assert run_training(stages[1]).files == two.files
    assert [bundle.files for bundle in run_together(stages)] == [one.files, two.files]
    assert f"{two.folder.name} is finished already." in capsys.readouterr().err


def test_stopped_ones_regroup(ask, apart, monkeypatch, capsys) -> None:
    stages = plan_separately(["weather", "endings"], ask, [1, 2])
    score, seen = DevScore.__call__, []

    def interrupting(self, model):
        seen.append(self)
        if len(seen) == 6:  # two runs have scored their second time
            os.kill(os.getpid(), signal.SIGINT)
        return score(self, model)

    with monkeypatch.context() as patch:
        patch.setattr(DevScore, "__call__", interrupting)
        with pytest.raises(AdaptxferError) as caught:
            run_together(stages)
    assert caught.value.code == 130
    assert {run.status for run in RunStore(ask.runs).list()} == {"interrupted"}
    first = run_training(stages[3])
    assert "Continuing after step 4 of 6." in capsys.readouterr().err
    rest = bundles_of(stages[:3], run_together(stages[:3]))
    for stage, bundle in zip(stages, [*rest, first], strict=True):
        assert_same(bundle, run_training(replace(stage, ask=apart)))


def test_one_failure_stops_no_other(world, own_ask, capsys) -> None:
    world.file("weather", "train", "en").write_text("")
    stages = plan_separately(["endings", "weather"], own_ask, [1, 2])
    found = run_together(stages)
    assert [isinstance(outcome, Bundle) for outcome in found] == [True, False, True, False]
    assert "intermediate weather, seed 2 failed" in capsys.readouterr().err
    with pytest.raises(AdaptxferError, match="2 of 4 modules failed, the others are finished") as caught:
        bundles_of(stages, found)
    assert caught.value.code == found[1].code and "weather, seed 2" in str(caught.value)
    assert [run.manifest["name"] for run in RunStore(own_ask.runs).find_finished()] == ["endings", "endings"]


def test_one_that_cannot_be_saved_stops_no_other(ask, monkeypatch) -> None:
    finish = together.finish

    def full_disk(ready, result):
        if ready.stage.name == "weather":
            raise AdaptxferError("The disk is full.", "", 2)
        return finish(ready, result)

    monkeypatch.setattr(together, "finish", full_disk)
    stages = plan_separately(["weather", "endings"], ask, [1])
    failed, fine = run_together(stages)
    assert isinstance(failed, AdaptxferError) and isinstance(fine, Bundle)
    (run,) = [run for run in RunStore(ask.runs).list() if run.manifest["name"] == "weather"]
    assert run.status == "failed" and run.manifest["error"] == "The disk is full."
    monkeypatch.undo()
    assert run_training(stages[0]).folder == run.path, "its checkpoint is there"


def test_one_in_other_hands_stops_no_other(ask) -> None:
    stages = plan_separately(["weather", "endings"], ask, [1])
    first = stages[0]
    with RunStore(ask.runs).open(first.kind, first.name, first.hash):
        busy, fine = run_together(stages)
    assert "is being written" in str(busy) and isinstance(fine, Bundle)


def test_refused(ask) -> None:
    with pytest.raises(AdaptxferError, match="cannot share one"):
        run_together(plan_separately(["weather", "endings"], replace(ask, method="full"), [1]))
    with pytest.raises(AdaptxferError, match="one base model, method and precision"):
        run_together([plan_intermediate(["weather"], replace(ask, method=m), 1) for m in ("bottleneck", "lora")])
    with pytest.raises(AdaptxferError, match="steps of any shape"):
        run_together(plan_separately(["weather"], replace(ask, graphs="on"), [1, 2]))
    with pytest.raises(AdaptxferError, match="asked for twice"):
        run_together(plan_separately(["weather"], ask, [1, 1]))
    with pytest.raises(AdaptxferError, match="named twice"):
        plan_separately(["weather", "weather"], ask, [1])
    with pytest.raises(AdaptxferError, match="No task was named"):
        train_separately()


def test_from_python(shared_world, tmp_path, capsys) -> None:
    options = {**shared_world.training, "runs": tmp_path / "runs", "max_steps": 2}
    found = train_separately("weather", "endings", seeds=[1, 2], **options)
    names = [(bundle.single(), Run(bundle.folder).manifest["seed"]) for bundle in found]
    assert names == [("weather", 1), ("endings", 1), ("weather", 2), ("endings", 2)]


def test_sham_labels_are_another_stage_of_another_name(ask) -> None:
    ask = replace(ask, on_chance="stop", dev_limit=2)
    sham, real = (plan_intermediate(["weather"], ask, 1, mixture) for mixture in (Mixture(sham=True), None))
    assert sham.hash != real.hash and sham.name == sham.module == "weather_sham"
    bundle = run_training(sham)
    run = Run(bundle.folder)
    assert run.name.startswith("intermediate-weather_sham-") and run.asked("sham") is True
    assert run.manifest["training"]["best_step"] == run.manifest["training"]["steps"], "the last weights are kept"
    assert RunStore(ask.runs).newest_intermediate("tiny", "bottleneck") is None, "nobody takes it by accident"


def test_sham_labels_are_shuffled_in_training_alone(ask, monkeypatch) -> None:
    seen = {}
    real = train.prepare_data

    def watched(stage, encoder, options):
        steps, dev, prints = real(stage, encoder, options)
        seen[stage.name] = (steps.tasks[0].features, dev.devs[0].features)
        return steps, dev, prints

    monkeypatch.setattr(train, "prepare_data", watched)
    for mixture in (Mixture(sham=True), Mixture()):
        run_training(plan_intermediate(["weather"], ask, 1, mixture))
    (sham, sham_dev), (plain, dev) = seen["weather_sham"], seen["weather"]
    assert (sham.ids == plain.ids).all() and (sham_dev.targets["label"] == dev.targets["label"]).all()
    assert sorted(sham.targets["label"]) == sorted(plain.targets["label"])
    assert 4 < (sham.targets["label"] == plain.targets["label"]).sum() < 20


def test_tables_name_the_sham(shared_world, tmp_path) -> None:
    options = {**shared_world.training, "runs": tmp_path / "runs", "max_steps": 2}
    (bundle,) = train_separately("endings", sham=True, **options)
    (run,) = transfer("weather", [bundle], "stack", **options).runs
    assert read_record(run).intermediates == ("endings_sham",)
    table = collect(make_ask(**options).runs)
    assert {row.intermediate for row in table.rows} == {"endings_sham"}


def test_a_base_model_in_bf16_is_held_once(ask, apart) -> None:
    stages = plan_separately(["weather", "endings"], replace(ask, base_precision="bf16"), [1])
    for stage, bundle in zip(stages, bundles_of(stages, run_together(stages)), strict=True):
        alone = run_training(replace(stage, ask=replace(stage.ask, runs=apart.runs)))
        found, expected = (load_file(next(b.folder.glob("module/*.safetensors"))) for b in (bundle, alone))
        assert all(float((found[key] - expected[key]).abs().max()) < 1e-4 for key in expected)
