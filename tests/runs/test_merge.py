"""Merged bundles: what they hold, what they tell of themselves, and that they are used like any other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.api import evaluate, make_ask, merge, train_intermediate, transfer
from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.bundle import read_bundle
from adaptxfer.modules.recipe import Recipe
from adaptxfer.runs import merge as merging
from adaptxfer.runs.merge import plan_merge
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import RunStore
from tests.world import weights


@pytest.fixture
def options(shared_world, tmp_path):
    return {**shared_world.options, "runs": tmp_path / "runs"}


@pytest.fixture
def trained(shared_world, tmp_path):
    return {**shared_world.training, "runs": tmp_path / "runs"}


@pytest.fixture(scope="module")
def repeats(shared_world):
    """One task with three seeds."""
    made = {}

    def get(method="bottleneck"):
        if method not in made:
            given = {**shared_world.training, "method": method}
            made[method] = [train_intermediate("weather", seed=seed, **given) for seed in (1, 2, 3)]
        return made[method]

    return get


@pytest.mark.parametrize("method", ["bottleneck", "lora", "full"])
@pytest.mark.parametrize("by", ["average", "arithmetic", "ties", "dare"])
def test_a_merged_bundle_is_an_intermediate_like_any_other(modules, options, trained, method, by) -> None:
    made = merge(modules(method), by, **options)
    assert made.single() == made.task == f"{by}-endings-weather" and made.method == method and not made.heads
    found = Run(made.folder).manifest
    assert found["kind"] == "merged" and found["request"]["by"]["value"] == by
    assert [(part["task"], part["seed"]) for part in found["merge"]["parts"]] == [("endings", 1), ("weather", 1)]
    assert found["parents"] == [bundle.folder.name for bundle in modules(method)]
    assert (found["merge"]["rank"] == 8) == (method == "lora") and 0 < found["merge"]["kept"] <= 1
    how = "continue" if method == "full" else "stack"
    (run,) = transfer("names", [made], how, method=method, **trained).runs
    assert run.asked("intermediates") == [made.task] and read_bundle(made.folder) == made


def test_the_same_merge_is_done_once(modules, options, monkeypatch, capsys) -> None:
    first = merge(modules("bottleneck"), "ties", **options)
    monkeypatch.setattr(merging, "load_encoder", lambda *_: pytest.fail("nothing is to be done"))
    assert merge(modules("bottleneck"), "ties", **options).folder == first.folder
    assert "finished already" in capsys.readouterr().err
    for other in ({"weights": [1, 3]}, {"density": 0.5}, {"name": "mine"}):
        with pytest.raises(pytest.fail.Exception):
            merge(modules("bottleneck"), "ties", **other, **options)


def test_the_order_of_dropping_depends_on_the_seed(modules, options) -> None:
    one, two = (merge(modules("bottleneck"), "dare", seed=seed, **options) for seed in (1, 2))
    assert weights(one.folder) != weights(two.folder)
    again = merge(modules("bottleneck"), "dare", seed=1, fresh=True, **options)
    assert weights(again.folder) == weights(one.folder)


@pytest.mark.parametrize("method", ["bottleneck", "lora"])
def test_repeats_of_one_task_keep_a_head_and_can_be_scored(repeats, options, method) -> None:
    made = merge(repeats(method), **options)
    assert list(made.heads) == [made.task] == ["average-weather"]
    (run,) = evaluate(made, "climate", **options).runs
    assert run.asked("how") == "merge" and run.asked("intermediates") == ["average-weather"]
    assert set(run.read_scores()["languages"]) == {"en", "de", "sw"}


def test_a_soup_is_no_worse_on_dev_than_its_best_part(repeats, options) -> None:
    made = merge(repeats(), "soup", **options)
    found = Run(made.folder).manifest
    told, stays = found["merge"]["soup"], [entry["run"] for entry in found["merge"]["soup"] if entry["stays"]]
    assert [entry["alone"] for entry in told] == sorted((entry["alone"] for entry in told), reverse=True)
    assert [part["run"] for part in found["merge"]["parts"]] == stays and told[0]["stays"]
    best = found["dev"]["soup-weather"]
    assert best["accuracy"] >= told[0]["alone"] and best["n"] == 8 and best["main"] == "accuracy"
    by_run = {bundle.folder.name: Run(bundle.folder).manifest["dev"]["weather"]["accuracy"] for bundle in repeats()}
    assert {entry["run"]: entry["alone"] for entry in told} == by_run  # a part alone is the part itself
    assert found["data"].keys() == {"weather/dev"}


def test_runs_of_a_target_are_averaged(options, trained) -> None:
    transfer("names", how="none", seeds=[1, 2], **trained)
    parts = RunStore(options["runs"]).find_finished("target")
    made = merge([run.path for run in parts], "soup", **options)
    (run,) = evaluate(made, "names", **options).runs
    assert run.read_scores()["task"] == "names"


def test_ranks_of_lora(shared_world, modules, options) -> None:
    other = train_intermediate("weather", **{**shared_world.training, "method": "lora", "r": 4, "alpha": 8})
    parts = [modules("lora")[0], other]
    assert Run(merge(parts, "arithmetic", **options).folder).manifest["merge"]["rank"] == 8
    made = merge(parts, "arithmetic", rank=12, **options)
    assert Run(made.folder).manifest["merge"]["kept"] == 1 and made.options["r"] == 12 and made.options["alpha"] == 24


REFUSED = [
    (lambda get: get("bottleneck")[:1], {}, "2 or more bundles, got 1"),
    (lambda get: get("bottleneck")[:1] * 2, {}, "named twice"),
    (lambda get: [get("bottleneck")[0], get("lora")[1]], {}, "of method lora"),
    (lambda get: get("bottleneck"), {"rank": 4}, "--rank belongs to LoRA"),
    (lambda get: get("lora"), {"rank": 0}, "must be positive"),
    (lambda get: get("bottleneck"), {"by": "soup"}, "of one task with the same head"),
    (lambda get: get("bottleneck"), {"name": "../x"}, "not usable as a name"),
    (lambda get: get("bottleneck"), {"weights": [1, 2, 3]}, "3 numbers for 2 bundles"),
    (lambda get: ["nowhere", "there"], {}, "There is no run 'nowhere'"),
]


@pytest.mark.parametrize(("parts", "given", "told"), REFUSED)
def test_what_cannot_be_merged(modules, options, parts, given, told) -> None:
    with pytest.raises(AdaptxferError) as caught:
        merge(parts(modules), **given, **options)
    assert told in str(caught.value) and not list(options["runs"].glob("*"))


def test_another_base_model_and_another_size_are_refused(shared_world, modules, options, tmp_path) -> None:
    mine = modules("bottleneck")[0]
    stranger = replace(mine, folder=tmp_path, base=replace(mine.base, fingerprint="0" * 32, id="other"))
    with pytest.raises(AdaptxferError, match="was trained on other"):
        plan_merge([mine, stranger], make_ask(**options), Recipe())
    small = train_intermediate("weather", **{**shared_world.training, "reduction": 4})
    with pytest.raises(AdaptxferError, match=r"differ in size .* and "):
        merge([mine, small], **options)
    assert not RunStore(options["runs"]).find_finished()


def test_a_composition_is_refused(modules, options, trained) -> None:
    transfer("names", [modules("bottleneck")[0]], "stack", **trained)
    (stacked,) = RunStore(options["runs"]).find_finished("target")
    with pytest.raises(AdaptxferError, match="composition of 2 modules"):
        merge([stacked.path, modules("bottleneck")[1]], **options)
