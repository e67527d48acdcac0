"""Bottlenecks and fusion: what `adapters` gets wrong, and files that both sides read."""

from __future__ import annotations

import json
import logging

import adapters
import pytest
import torch
from adapters.composition import Fuse as LibraryFuse
from adapters.composition import Stack as LibraryStack

from adaptxfer.encoder import encode
from adaptxfer.errors import DATA, USE, AdaptxferError
from adaptxfer.modules.bottleneck import VARIANTS, Bottleneck
from adaptxfer.modules.composition import Leaf, Stack, fuse
from adaptxfer.modules.weights import read_tensors, save_tensors
from tests.tiny import arrange, fresh, hash_of, packed, randomise


def plain(encoder):
    """The encoder with `adapters` alone."""
    network = fresh(encoder).network
    adapters.init(network)
    return network.eval()


@torch.no_grad()
def hidden(network):
    return encode(network.eval(), *packed())


def trained(encoder, **options):
    made = Bottleneck(fresh(encoder).network)
    made.add("m", options, 1)
    randomise(made.parameters("m"), 1)
    made.activate(Leaf("m"))
    return made


@pytest.mark.parametrize("variant", VARIANTS)
def test_module_loads_in_adapters_and_back(tiny_encoder, tmp_path, variant):
    made = trained(tiny_encoder, variant=variant, reduction=4)
    made.save("m", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter.safetensors", "adapter_config.json"]
    other = plain(tiny_encoder)
    other.load_adapter(str(tmp_path), use_safetensors=True, set_active=True)
    torch.testing.assert_close(hidden(other), hidden(made.network), atol=1e-5, rtol=1e-5)
    ours = Bottleneck(fresh(tiny_encoder).network)
    ours.load("renamed", tmp_path)
    ours.activate(Leaf("renamed"))
    assert torch.equal(hidden(ours.network), hidden(made.network))


def test_module_of_adapters_loads_here(tiny_encoder, tmp_path):
    other = plain(tiny_encoder)
    other.add_adapter("theirs", config="double_seq_bn")
    randomise({name: value for name, value in other.named_parameters() if ".adapters.theirs." in name}, 1)
    other.set_active_adapters("theirs")
    other.save_adapter(str(tmp_path), "theirs", use_safetensors=True)
    ours = Bottleneck(fresh(tiny_encoder).network)
    ours.load("ours", tmp_path)
    ours.activate(Leaf("ours"))
    torch.testing.assert_close(hidden(ours.network), hidden(other), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("how", "own"), [("stack", False), ("fuse", False), ("fuse", True)])
def test_compositions_load_in_adapters(tiny_encoder, tmp_path, how, own):
    model, _, _ = arrange(tiny_encoder, "bottleneck", how, own)
    other = plain(tiny_encoder)
    names = {"stack": ["one", "goal"], "fuse": ["one", "two"]}[how] + (["goal"] if own else [])
    for name in names:
        model.method.save(name, tmp_path / name)
        other.load_adapter(str(tmp_path / name), use_safetensors=True)
    if how == "fuse":
        randomise(model.method.fusion_parameters("one,two"), 9)
        model.method.save_fusion(fuse(["one", "two"]), tmp_path / "fusion")
        other.load_adapter_fusion(str(tmp_path / "fusion"), use_safetensors=True)
        setup = LibraryStack(LibraryFuse("one", "two"), "goal") if own else LibraryFuse("one", "two")
    else:
        setup = LibraryStack("one", "goal")
    other.set_active_adapters(setup)
    torch.testing.assert_close(hidden(other), hidden(model.network), atol=1e-5, rtol=1e-5)


def test_saved_configs_name_no_place_on_this_machine(tiny_encoder, tiny_dir, tmp_path):
    model, _, _ = arrange(tiny_encoder, "bottleneck", "fuse")
    model.method.save("one", tmp_path / "one")
    model.method.save_fusion(fuse(["one", "two"]), tmp_path / "fusion")
    for path in (tmp_path / "one" / "adapter_config.json", tmp_path / "fusion" / "adapter_fusion_config.json"):
        text = path.read_text()
        assert str(tiny_dir.parent) not in text
        assert json.loads(text)["model_name"] == "tiny"


def test_missing_weights_are_refused(tiny_encoder, tmp_path):
    trained(tiny_encoder).save("m", tmp_path)
    weights = read_tensors(tmp_path / "adapter.safetensors")
    gone = sorted(weights)[0]
    save_tensors(tmp_path / "adapter.safetensors", {name: weights[name] for name in weights if name != gone})
    ours = Bottleneck(fresh(tiny_encoder).network)
    with pytest.raises(AdaptxferError, match="lacks 1 of 8 weights") as caught:
        ours.load("m", tmp_path)
    assert caught.value.code == DATA


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hidden_size": 1024}, "made for an encoder of width 1024, this one has 32"),
        ({"config": None}, "does not describe a bottleneck"),
        ({"config": {"architecture": "lora", "r": 8}}, "does not describe a bottleneck"),
        ({"config": {"architecture": "prefix_tuning", "prefix_length": 3}}, "does not describe a bottleneck"),
    ],
)
def test_configs_that_do_not_fit(tiny_encoder, tmp_path, change, expected):
    trained(tiny_encoder).save("m", tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(AdaptxferError, match=expected) as caught:
        Bottleneck(fresh(tiny_encoder).network).load("m", tmp_path)
    assert caught.value.code == DATA


def test_a_reduction_of_zero_in_a_file(tiny_encoder, tmp_path):
    trained(tiny_encoder).save("m", tmp_path)
    path = tmp_path / "adapter_config.json"
    found = json.loads(path.read_text())
    found["config"]["reduction_factor"] = 0
    path.write_text(json.dumps(found))
    with pytest.raises(AdaptxferError, match="does not describe a bottleneck"):
        Bottleneck(fresh(tiny_encoder).network).load("m", tmp_path)


def test_order_of_names_in_a_fusion_is_irrelevant(tiny_encoder, tmp_path):
    outputs = []
    for names in (["a", "b"], ["b", "a"]):
        made = Bottleneck(fresh(tiny_encoder).network)
        for name in names:
            made.add(name, {}, 1)
            randomise(made.parameters(name), ord(name))
        made.add_fusion(fuse(names), 1)
        made.activate(fuse(names[::-1]))
        outputs.append(hidden(made.network))
    assert torch.equal(*outputs)
    made.save_fusion(fuse(["b", "a"]), tmp_path)
    again = Bottleneck(fresh(tiny_encoder).network)
    for name in "ba":
        again.add(name, {}, 1)
    again.load_fusion(fuse(["a", "b"]), tmp_path)
    assert hash_of(again.fusion_parameters("a,b")) == hash_of(made.fusion_parameters("a,b"))


def test_a_fusion_over_other_names_is_refused(tiny_encoder, tmp_path):
    model, _, _ = arrange(tiny_encoder, "bottleneck", "fuse")
    model.method.save_fusion(fuse(["one", "two"]), tmp_path)
    model.method.add("six", {}, 1)
    with pytest.raises(AdaptxferError, match="is a fusion over one,two, expected one,six"):
        model.method.load_fusion(fuse(["one", "six"]), tmp_path)


def test_penalty_is_the_formula_and_only_for_what_trains(tiny_encoder):
    model, _, _ = arrange(tiny_encoder, "bottleneck", "fuse")
    values = [v for k, v in model.method.fusion_parameters("one,two").items() if k.endswith("value.weight")]
    assert len(values) == 2
    randomise(dict(enumerate(values)), 1)
    expected = sum(0.01 * (torch.eye(32) - value).square().sum() for value in values)
    torch.testing.assert_close(model.method.penalty(), expected)
    model.set_trainable([])
    assert model.method.penalty() is None
    assert arrange(tiny_encoder, "bottleneck", "stack")[0].method.penalty() is None


def test_activating_is_silent_and_logging_is_left_alone(tiny_encoder, caplog):
    log = logging.getLogger("adapters.model_mixin")
    before = (log.level, list(log.filters), log.disabled, log.propagate)
    made = Bottleneck(fresh(tiny_encoder).network)
    made.add("a", {}, 1)
    made.add("b", {}, 1)
    made.activate(Stack((Leaf("a"), Leaf("b"))))
    hidden(made.network)
    assert (log.level, log.filters, log.disabled, log.propagate) == before
    assert "none are activated" not in caplog.text


def test_models_without_bottlenecks_are_named():
    from transformers import MPNetConfig, MPNetModel

    config = MPNetConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    with pytest.raises(AdaptxferError, match="no bottlenecks for mpnet") as caught:
        Bottleneck(MPNetModel(config, add_pooling_layer=False))
    assert caught.value.code == USE and "lora" in caught.value.hint
