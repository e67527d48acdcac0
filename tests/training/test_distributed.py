"""One run on two processes is the run of one."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from adaptxfer import ranks
from adaptxfer.data.batches import pack
from adaptxfer.data.features import IGNORED
from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.weights import read_tensors
from adaptxfer.training import TaskData
from adaptxfer.training.distributed import buckets, muted, seed_of_process, split_by_tokens
from tests.processes import together
from tests.tiny import arrange, hash_of, save_tiny
from tests.training import shares
from tests.training.toy import spec, toy


@pytest.fixture(scope="module")
def still(tmp_path_factory, mini_dir):
    """Tiny encoders without dropout, of both layouts."""
    root, none = tmp_path_factory.mktemp("still"), {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return [save_tiny(root / kind, mini_dir, kind=kind, **none) for kind in ("XLMRoberta", "XLMRobertaXL")]


@pytest.fixture(scope="module")
def on_two(still, tmp_path_factory):
    """Where two processes left every case after 50 steps."""
    out = tmp_path_factory.mktemp("two")
    for code, _, said in together([shares.__file__, out, *still]):
        assert code == 0, said
    return out


def furthest(found, trained, case):
    """The largest difference of a weight.

    A softmax is blind to what is added everywhere: the gradient of such a bias is rounding, and Adam blows it up.
    """
    blind = ("key.bias", "out.bias") if shares.CASES[case][2] in ("choose", "span") else ("key.bias",)
    seen = [name for name in trained if not name.endswith(blind)]
    return max(float((found[name] - trained[name]).detach().abs().max()) for name in seen)


@pytest.mark.parametrize("case", shares.CASES)
def test_fifty_steps_on_two_processes_equal_one(still, on_two, tmp_path, case):
    result, trained = shares.train_case(still[0], case, tmp_path)
    first, second = (read_tensors(on_two / f"{case}-{rank}.safetensors") for rank in (0, 1))
    assert hash_of(first) == hash_of(second)
    assert furthest(first, trained, case) < 1e-5
    state = json.loads((on_two / case / "step-00000050" / "state.json").read_text())
    assert state["progress"]["tokens"] == result.tokens


@pytest.mark.parametrize("kind", [0, 1])
def test_a_model_spread_over_two_processes_trains_as_in_one(still, on_two, tmp_path, kind):
    folder = on_two / f"sharded-{still[kind].name}"
    _, trained = shares.train_case(still[kind], "full", tmp_path / "one")
    best = read_tensors(folder / "best-00000050.safetensors")
    assert {name: value.shape for name, value in best.items()} == {n: value.shape for n, value in trained.items()}
    assert furthest(best, trained, "full") < 1e-5
    shutil.copytree(folder, tmp_path / "two")  # one process continues what two have left
    again, weights = shares.train_case(still[kind], "full", tmp_path / "two")
    assert again.steps == 50 and hash_of(weights) == hash_of(best)


def test_the_checkpoint_of_two_processes_is_that_of_one_with_two_random_states(on_two):
    names = [path.name for path in (on_two / "bottleneck" / "step-00000050").iterdir()]
    assert sorted(names) == ["optimiser.safetensors", "random.safetensors", "state.json", "weights.safetensors"]
    for case in ("bottleneck", "sharded-XLMRobertaXL"):
        states = read_tensors(on_two / case / "step-00000050" / "random.safetensors")
        assert set(states) == {"cpu", "cpu.1"} and not torch.equal(states["cpu"], states["cpu.1"])


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_a_batch_is_split_by_tokens(parts):
    features = toy("choose", units=20)
    units = np.array([3, 7, 1, 12, 19])
    split = split_by_tokens(features, units, parts)
    assert len(split) == parts and sorted(np.concatenate(split)) == sorted(units)
    borders = features.bounds[features.units]
    loads = [int((borders[part + 1] - borders[part]).sum()) for part in split]
    longest = int((borders[units + 1] - borders[units]).max())
    assert max(loads) - min(loads) <= longest


@pytest.mark.parametrize("kind", ["classify", "choose", "tag", "span"])
def test_a_muted_batch_adds_nothing(tiny_encoder, kind):
    model, _, trained = arrange(tiny_encoder, "bottleneck", "none", spec=spec(kind))
    batch = muted(pack(toy(kind), np.array([0])))
    head = model.head("goal")
    assert batch.tokens == 0 and int(head.count(batch.targets)) == 0
    assert any(bool((value == IGNORED).all()) for value in batch.targets.values())
    loss = model("goal", batch.ids, batch.bounds, {**batch.targets, "units": batch.units})
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(value.grad is not None and not value.grad.any() for value in trained.values())


def test_gradients_travel_in_messages_of_bounded_size():
    gradients = [torch.zeros(size) for size in (3, 5, 1, 20, 2, 2)]
    found = buckets(gradients, size=8)
    assert [[len(gradient) for gradient in bucket] for bucket in found] == [[3, 5], [1], [20, 2], [2]]
    assert [id(gradient) for bucket in found for gradient in bucket] == list(map(id, gradients))


@pytest.fixture
def second_of_two(monkeypatch):
    """This process as the second of two that are not connected."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)


def test_each_process_draws_its_own_random_numbers(second_of_two, monkeypatch):
    second = seed_of_process(1)
    monkeypatch.setenv("RANK", "0")
    first = seed_of_process(1)
    monkeypatch.delenv("WORLD_SIZE")
    assert ranks.size() == 1
    assert first == seed_of_process(1) != second


def test_a_process_without_a_share_gets_a_silent_batch(second_of_two):
    (batch,) = TaskData("goal", toy(units=1), 4, 1).batches(0, 100)
    assert batch.tokens == 0 and len(batch) == 1


def test_retrieval_is_refused_on_several_processes(second_of_two):
    from dataclasses import replace

    data = TaskData("goal", replace(toy(), kind="retrieve"), 4, 1)
    with pytest.raises(AdaptxferError, match="needs one process"):
        data.batches(0, 100)
