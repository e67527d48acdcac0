from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.composition import Leaf, to_json
from adaptxfer.runs.plan import (
    bundle_folder,
    check_head,
    check_parents,
    find_task,
    model_hints,
    module_names,
    plan_evaluation,
    plan_intermediate,
    plan_target,
)
from adaptxfer.runs.stage import Mixture


def refused(said: str, call, *given, **named) -> None:
    with pytest.raises(AdaptxferError) as caught:
        call(*given, **named)
    assert said in str(caught.value)
    assert caught.value.code in (1, 2)


def test_tasks_are_checked_before_anything_is_loaded(ask) -> None:
    refused("Did you mean 'weather'?", plan_intermediate, ["wether"], ask, 1)
    refused("named twice", plan_intermediate, ["weather", "weather"], ask, 1)
    refused("names is no intermediate task", plan_intermediate, ["names"], ask, 1)
    refused("endings is no target task", find_task, "endings", ask, "target")
    refused("Did you mean 'uniform'?", plan_intermediate, ["weather", "endings"], ask, 1, Mixture("unifrom"))


def test_an_intermediate_stage(ask) -> None:
    one, two = (
        plan_intermediate(["weather"], ask, 1),
        plan_intermediate(["weather", "endings"], ask, 1, Mixture("sqrt")),
    )
    assert (one.kind, one.name, one.how, one.tree) == ("intermediate", "weather", "none", Leaf("weather"))
    assert two.name == "weather-endings" and [task.name for task in two.tasks] == ["weather", "endings"]
    other = plan_intermediate(["weather", "endings"], ask, 1, Mixture("uniform"))
    assert two.mixture.sampler == "sqrt" and two.hash != other.hash


def test_trees_of_target_stages(ask, modules) -> None:
    task, bundles = find_task("seasons", ask, "target"), modules("bottleneck")
    given = {"none": [], "stack": bundles[1:], "continue": bundles[:1], "fuse": bundles, "merge": bundles}
    trees = {how: plan_target(task, ask, 1, how, parents, False).tree for how, parents in given.items()}
    assert to_json(trees["none"]) == "weather"
    assert to_json(trees["stack"]) == {"stack": ["weather", "weather_target"]}, "two modules need two names"
    assert to_json(trees["fuse"]) == {"fuse": ["endings", "weather"]}
    assert isinstance(trees["continue"], Leaf) and isinstance(trees["merge"], Leaf)


def test_modules_of_one_name_are_numbered(modules) -> None:
    endings, weather = modules("bottleneck")
    assert module_names([endings, weather, endings, endings]) == ["endings", "weather", "endings_2", "endings_3"]


def test_compositions_that_do_not_go(ask, modules) -> None:
    task, twins = find_task("weather", ask, "target"), find_task("twins", ask, "target")
    bundles, lora = modules("bottleneck"), replace(ask, method="lora")
    refused("--how fuse does not work with --method lora", check_parents, task, lora, "fuse", bundles)
    refused("--how fuse needs 2 or more intermediate bundles, got 1", check_parents, task, ask, "fuse", bundles[:1])
    refused("was trained with --method bottleneck, not lora", check_parents, task, lora, "stack", bundles[:1])
    refused("--own-module belongs to --how fuse", check_parents, task, ask, "stack", bundles[:1], True)
    refused("needs training, and twins is not trained", check_parents, twins, ask, "fuse", bundles)
    refused("is retrieval and is not trained", plan_target, twins, ask, 1, "none", [], False)


def test_a_task_cannot_train_on_other_labels(own_ask, world) -> None:
    path = world.root / "tasks" / "seasons.toml"
    path.write_text(path.read_text().replace('["dry", "wet"]', '["dry", "cold"]'))
    refused("seasons cannot train on weather", plan_target, find_task("seasons", own_ask, "target"), own_ask, 1, "none",
            [], False)  # fmt: skip


def test_layers(ask) -> None:
    twins = find_task("twins", ask, "target")

    def layers(asked):
        return plan_evaluation(twins, ask, 1, "none", (), layer=asked).layers

    assert layers("1") == (1,) and layers("0") == (0,)
    for asked, said in (("3", "does not exist"), ("-1", "is not a layer"), ("²", "is not a layer"), ("x", "0 to 2")):
        refused(said, layers, asked)
    refused("no default layer for an encoder of 2 layers", layers, None)
    task = replace(twins, retrieve=replace(twins.retrieve, layer={"2": 1}))
    assert layers("all") == (2, 0, 1), "the last one comes first where none is usual"
    assert plan_evaluation(task, ask, 1, "none", (), layer="all").layers == (1, 0, 2)


def test_a_head_fits_its_own_kind_and_labels(ask, modules) -> None:
    endings, weather = modules("bottleneck")
    check_head(weather, find_task("climate", ask, "target"))
    refused("endings", check_head, endings, find_task("weather", ask, "target"))
    refused("adaptxfer transfer --to names", check_head, weather, find_task("names", ask, "target"))
    task = find_task("weather", ask, "target")
    refused("predicts dry, wet, but", check_head, weather, replace(task, labels=("a", "b")))


def test_a_bundle_is_named_by_path_run_or_hash(modules) -> None:
    folder = modules("bottleneck")[0].folder
    for text in (str(folder), folder.name, folder.name[-8:]):
        assert bundle_folder(text, folder.parent).resolve() == folder.resolve()
    refused("There is no run 'nothing'", bundle_folder, "nothing", folder.parent)


def test_hints_and_depth_of_the_base_model(ask, mini_dir) -> None:
    assert model_hints(ask)[1] == 2
    refused("There is no model folder", model_hints, replace(ask, model="./nowhere"))
