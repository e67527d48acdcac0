from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptxfer.api import make_ask, train_intermediate
from adaptxfer.errors import AdaptxferError
from adaptxfer.runs import transfer as transfers
from adaptxfer.runs.records import read_record
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.transfer import Wish, default_how, find_baseline, plan_transfer, repeat
from adaptxfer.studies.collect import collect
from adaptxfer.studies.pairs import pair
from tests.world import no_training

COMBINATIONS = [
    ("bottleneck", "none", 0, "facts", False),
    ("bottleneck", "continue", 1, "climate", False),
    ("bottleneck", "stack", 1, "names", False),
    ("bottleneck", "fuse", 2, "weather", False),
    ("bottleneck", "fuse", 2, "seasons", True),
    ("bottleneck", "merge", 2, "weather", False),
    ("lora", "stack", 1, "weather", False),
    ("lora", "merge", 2, "weather", False),
    ("full", "continue", 1, "names", False),
    ("full", "merge", 2, "weather", False),
]


@pytest.mark.parametrize(("method", "how", "count", "to", "own"), COMBINATIONS)
def test_every_method_with_every_composition(ask, modules, method, how, count, to, own) -> None:
    bundles = tuple(str(bundle.folder) for bundle in modules(method)[:count])
    (run,) = repeat(Wish(to, bundles, how, own_module=own), replace(ask, method=method), [2])
    scores = run.read_scores()
    assert run.status == "finished" and run.manifest["seed"] == 2
    assert list(scores["languages"]) == ["en", "de", "sw"] and scores["task"] == to
    others = [scores["languages"][code][scores["metric"]] for code in ("de", "sw")]
    assert scores["mean_zero_shot"] == pytest.approx(sum(others) / 2)
    assert run.asked("intermediates") == ["endings", "weather"][:count] and run.asked("how") == how
    (trained,) = RunStore(ask.runs).find_finished("target")
    assert trained.manifest["training"]["steps"] == 6 and run.manifest["parents"] == [trained.name]


@pytest.mark.parametrize(("method", "how", "count", "to", "own"), [c for c in COMBINATIONS if c[1] != "none"])
def test_every_composition_has_its_baseline(ask, modules, method, how, count, to, own) -> None:
    asks, bundles = replace(ask, method=method), tuple(str(bundle.folder) for bundle in modules(method)[:count])
    (baseline,) = repeat(Wish(to, how="none"), asks, [2])
    (run,) = repeat(Wish(to, bundles, how, own_module=own), asks, [2])
    found = find_baseline(run, RunStore(ask.runs))
    assert found and found.name == baseline.name and read_record(run).how == ("fuse, own module" if own else how)
    (pairs,), notes = pair(collect(ask.runs))
    assert pairs.labels() == ["+".join(["endings", "weather"][:count])] and notes == []


@pytest.mark.parametrize(
    ("method", "count", "how"),
    [("bottleneck", 1, "stack"), ("bottleneck", 2, "fuse"), ("lora", 2, "merge"), ("full", 1, "continue")],
)
def test_without_how(method: str, count: int, how: str) -> None:
    assert default_how(method, count) == how


@pytest.fixture
def twice(own_ask, world):
    """endings with seeds 1 and 2, then weather with seed 1."""
    return [train_intermediate(name, seed=seed, **world.training) for name, seed in
            (("endings", 1), ("endings", 2), ("weather", 1))]  # fmt: skip


def test_bundles_are_chosen_by_age_method_and_seed(own_ask, twice, capsys) -> None:
    newest = plan_transfer(Wish("names"), own_ask, 1)
    assert newest.bundles[0].folder == twice[2].folder and newest.how == "stack"
    assert f"Using {twice[2].folder.name}" in capsys.readouterr().err
    for seed, expected in ((1, twice[0]), (2, twice[1])):
        assert plan_transfer(Wish("names", (str(twice[0].folder),)), own_ask, seed).bundles[0].folder == expected.folder
    assert plan_transfer(Wish("names", (twice[0].folder.name,)), own_ask, 7).bundles[0].folder == twice[0].folder
    assert "has no repeat with seed 7" in capsys.readouterr().err
    with pytest.raises(AdaptxferError, match=r"no intermediate bundle for .* --method lora"):
        plan_transfer(Wish("names"), replace(own_ask, method="lora"), 1)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish("nmaes"), "Did you mean 'names'?"),
        (Wish("endings"), "endings is no target task"),
        (Wish("names", how="stck"), "Did you mean 'stack'?"),
        (Wish("names", ("BUNDLE",), how="none"), "--how none uses no intermediate"),
        (Wish("names", ("BUNDLE", "BUNDLE")), "names one bundle twice"),
        (Wish("names", ("nowhere",)), "There is no run 'nowhere'"),
        (Wish("names", how="none", languages=("sv",)), "Did you mean 'sw'?"),
        (Wish("names", how="none", languages=("xx",)), "Known: de, en, sw."),
        (Wish("names", how="none", split="train"), "no evaluation split 'train'"),
        (Wish("names", how="none", split="tset"), "no evaluation split 'tset'"),
        (Wish("names", ("BUNDLE",), layer="1"), "--layer belongs to untrained retrieval"),
        (Wish("twins", ("BUNDLE",), how="fuse", layer="1"), "--how fuse"),
        (Wish("twins", how="none", layer="9"), "--layer 9 does not exist"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(ask, modules, monkeypatch, wish: Wish, said: str) -> None:
    folder = str(modules("bottleneck")[0].folder)
    wish = replace(wish, bundles=tuple(folder if name == "BUNDLE" else name for name in wish.bundles))
    monkeypatch.setattr(transfers, "run_training", no_training)
    with pytest.raises(AdaptxferError) as caught:
        repeat(wish, ask, [1, 2])
    assert said in str(caught.value) and caught.value.code in (1, 2)
    assert not ask.runs.exists()


def test_all_seeds_are_planned_before_the_first_one_trains(ask, modules, monkeypatch) -> None:
    real, planned = transfers.plan_transfer, []

    def plan(wish, ask, seed):
        planned.append(seed)
        return real(wish, ask, seed)

    def train(stage):
        raise AdaptxferError(f"after {planned}")

    monkeypatch.setattr(transfers, "plan_transfer", plan)
    monkeypatch.setattr(transfers, "run_training", train)
    with pytest.raises(AdaptxferError, match=r"after \[1, 2, 3\]"):
        repeat(Wish("names", how="none"), ask, [1, 2, 3])


def test_baselines(world, modules) -> None:
    """A run finds its baseline whatever was done before with the training both share."""
    ask = make_ask(**{**world.training, "max_steps": 2})
    store = RunStore(ask.runs)
    bundle = (str(modules("bottleneck")[0].folder),)

    def run(to: str, how: str, seed: int = 1, changed=ask, **wish):
        return repeat(Wish(to, bundle if how != "none" else (), how, **wish), changed, [seed])[0]

    baseline = run("seasons", "none")
    shared = run("weather", "none")
    assert len(store.find_finished("target")) == 1, "seasons and weather share their training"
    stacked = run("weather", "stack")
    assert find_baseline(stacked, store).name == shared.name
    assert find_baseline(run("seasons", "stack", languages=("sw",)), store).name == baseline.name
    assert find_baseline(run("weather", "stack", changed=replace(ask, batch_tokens=64)), store).name == shared.name
    assert find_baseline(shared, store) is None
    for other in (
        run("weather", "stack", seed=2),
        run("weather", "stack", eval_limit=3),
        run("weather", "stack", changed=replace(ask, limit=8)),
        run("climate", "stack"),
    ):
        assert find_baseline(other, store) is None


def test_a_fusion_may_have_another_rate_than_its_baseline(ask, modules) -> None:
    store = RunStore(ask.runs)
    bundles = tuple(str(bundle.folder) for bundle in modules("bottleneck"))
    short = replace(ask, max_steps=2)
    (baseline,) = repeat(Wish("weather", how="none"), short, [1])
    faster = replace(short, learning_rate=5e-3)
    (fused,) = repeat(Wish("weather", bundles, "fuse"), faster, [1])
    (merged,) = repeat(Wish("weather", bundles, "merge"), faster, [1])
    assert find_baseline(fused, store).name == baseline.name and find_baseline(merged, store) is None


def test_a_damaged_bundle_is_refused(own_ask, twice) -> None:
    path: Path = twice[2].folder / "module" / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(AdaptxferError, match="is not the file that was saved") as caught:
        plan_transfer(Wish("names"), own_ask, 1)
    assert caught.value.code == 2
