from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from adaptxfer.runs.plan import find_task, plan_evaluation, plan_intermediate, plan_target
from adaptxfer.runs.stage import EvaluateStage, Stage, bundle_identity, data_identity


def test_the_same_request_has_the_same_hash_wherever_data_and_runs_lie(own_ask, world) -> None:
    first = plan_intermediate(["weather"], own_ask, 1).hash
    moved = world.root / "elsewhere"
    shutil.copytree(own_ask.data_dir, moved)
    assert plan_intermediate(["weather"], replace(own_ask, data_dir=moved, runs=moved / "runs"), 1).hash == first
    assert plan_intermediate(["weather"], replace(own_ask, batch_tokens=99, fresh=True), 1).hash == first


@pytest.mark.parametrize("change", ["seed", "option", "method", "task", "train", "dev", "model", "spec"])
def test_whatever_decides_the_result_changes_the_hash(own_ask, world, change: str) -> None:
    first = plan_intermediate(["weather"], own_ask, 1).hash
    ask, name, seed = own_ask, "weather", 1
    if change == "seed":
        seed = 2
    elif change == "option":
        ask = replace(ask, max_steps=7)
    elif change == "method":
        ask = replace(ask, method="lora")
    elif change == "task":
        name = "endings"
    elif change in ("train", "dev"):
        path = world.file("weather", change, "en")
        path.write_text(path.read_text().replace("Much", "Some", 1))
    elif change == "model":
        path = world.root / "tiny" / "config.json"
        path.write_text(path.read_text().replace('"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.2'))
    else:
        path = world.root / "tasks" / "weather.toml"
        path.write_text(path.read_text().replace('"accuracy"', '"acc_f1"'))
    assert plan_intermediate([name], ask, seed).hash != first


def test_targets_that_train_on_the_same_data_share_the_training(ask) -> None:
    weather, seasons, climate = (
        plan_target(find_task(name, ask, "target"), ask, 1, "none", [], False)
        for name in ("weather", "seasons", "climate")
    )
    assert weather.hash == seasons.hash and weather.name == seasons.name == "weather"
    assert climate.hash != weather.hash, "its labels come in another order"
    assert plan_intermediate(["weather"], ask, 1).hash != weather.hash


def test_parents_and_their_use_are_part_of_the_identity(ask, modules) -> None:
    task, bundles = find_task("weather", ask, "target"), modules("bottleneck")
    plans = [
        plan_target(task, ask, 1, *rest)
        for rest in (
            ("none", [], False),
            ("stack", bundles[:1], False),
            ("stack", bundles[1:], False),
            ("continue", bundles[:1], False),
            ("fuse", bundles, False),
            ("fuse", bundles, True),
            ("merge", bundles, False),
        )
    ]
    assert len({plan.hash for plan in plans}) == len(plans)
    assert bundle_identity(bundles[0]) != bundle_identity(bundles[1])


def test_evaluations_differ_by_what_is_scored(own_ask, world) -> None:
    def plan(ask=own_ask, **options) -> str:
        return plan_evaluation(find_task("twins", ask, "target"), ask, 1, "none", (), **{"layer": "1", **options}).hash

    first = plan()
    assert plan() == first
    assert len({first, plan(languages=["sw"]), plan(limit=3), plan(layer="2"), plan(layer="all")}) == 5
    path = world.file("twins", "test", "sw")
    path.write_text(path.read_text().replace("here", "there"))
    assert plan() != first and plan(languages=["de"]) == plan(languages=["de"])


def test_a_pool_and_a_threshold_depend_on_files_that_are_not_scored(own_ask, world) -> None:
    def plan(metric: str, split: str | None) -> EvaluateStage:
        task = find_task("twins", own_ask, "target")
        task = replace(task, metric=replace(task.metric, main=metric))
        return plan_evaluation(task, own_ask, 1, "none", [], languages=["de"], split=split, layer="1")

    def changes(metric: str, split: str, language: str) -> bool:
        stage = plan(metric, "test")
        first = stage.hash
        with world.file("twins", split, language).open("a", encoding="utf-8") as file:
            file.write("\n")
        return stage.hash != first

    assert changes("map20", "test", "sw") and not changes("retrieval_accuracy", "test", "sw")
    assert changes("bucc", "dev", "de") and not changes("retrieval_accuracy", "dev", "de")
    for metric in ("bucc", "retrieval_accuracy"):
        assert plan(metric, "test").hash != plan(metric, None).hash, "without labels only the first is predicted"


def test_data_that_is_not_there_has_no_identity(ask) -> None:
    assert data_identity(find_task("weather", ask, "target"), "dev", "sw", ask.data_dir) is None


def test_a_stage_must_say_what_it_is() -> None:
    with pytest.raises(NotImplementedError):
        Stage("target", "x", 1).identity()
