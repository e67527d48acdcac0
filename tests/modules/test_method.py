"""What holds for every method: names, options, seeds."""

from __future__ import annotations

import pytest
import torch

from adaptxfer.errors import USE, AdaptxferError
from adaptxfer.modules.composition import Leaf, fuse
from adaptxfer.modules.method import check_module_name, seeded
from adaptxfer.modules.model import make_method
from tests.tiny import fresh, hash_of

WITH_MODULES = ["bottleneck", "lora"]


def test_seeded_leaves_no_trace():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(1, "module", "a"):
        inside = torch.rand(4)
    assert torch.equal(torch.rand(2), expected)
    with seeded(1, "module", "a"):
        assert torch.equal(torch.rand(4), inside)
    with seeded(1, "module", "b"):
        assert not torch.equal(torch.rand(4), inside)


@pytest.mark.parametrize("method", WITH_MODULES)
def test_initial_weights_depend_on_neither_order_nor_global_state(tiny_encoder, method):
    def hashes(names, global_seed):
        torch.manual_seed(global_seed)
        made = make_method(method, fresh(tiny_encoder).network)
        for name in names:
            torch.rand(global_seed + 1)
            made.add(name, {}, seed=1)
        return {name: hash_of({k.replace(name, "x"): v for k, v in made.parameters(name).items()}) for name in names}

    first, second = hashes(["aaa", "bbb"], 0), hashes(["bbb", "aaa"], 7)
    assert first == second
    assert first["aaa"] != first["bbb"]


def test_fusion_start_depends_on_neither_order_nor_global_state(tiny_encoder):
    def weights(names, global_seed):
        torch.manual_seed(global_seed)
        made = make_method("bottleneck", fresh(tiny_encoder).network)
        for name in names:
            made.add(name, {}, seed=1)
        made.add_fusion(fuse(names), seed=1)
        return hash_of(made.fusion_parameters("aaa,bbb"))

    assert weights(["aaa", "bbb"], 0) == weights(["bbb", "aaa"], 7)


@pytest.mark.parametrize("method", WITH_MODULES)
@pytest.mark.parametrize("name", ["a,b", "a.b", "", "a/b", "a b", "keys", "type", "training"])
def test_names_the_libraries_stumble_over(tiny_encoder, method, name):
    made = make_method(method, fresh(tiny_encoder).network)
    with pytest.raises(AdaptxferError) as caught:
        made.add(name, {}, seed=1)
    assert caught.value.code == USE and repr(name) in caught.value.message


@pytest.mark.parametrize("method", WITH_MODULES)
@pytest.mark.parametrize("name", ["query", "self", "layer", "0", "output", "dense", "lora_A", "adapters", "a-b_2"])
def test_names_that_occur_in_the_encoder_do_no_harm(tiny_encoder, method, name):
    made = make_method(method, fresh(tiny_encoder).network)
    made.add("other", {}, seed=1)
    made.add(name, {}, seed=1)
    made.activate(Leaf(name))
    own, other = made.parameters(name), made.parameters("other")
    assert len(own) == len(other) == 8
    assert not {id(value) for value in own.values()} & {id(value) for value in other.values()}
    trained = made.set_trainable([name])
    assert {id(value) for value in trained.values()} == {id(value) for value in own.values()}


def test_check_module_name_lets_ordinary_names_pass():
    assert [check_module_name(name) for name in ("hellaswag", "mnli_2", "udpos-target")]


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("bottleneck", {"variant": "seq_bm"}, "Variant 'seq_bm' is unknown. Did you mean 'seq_bn'"),
        ("bottleneck", {"reduction": 0}, "reduction must be a number"),
        ("bottleneck", {"reduction": "16"}, "reduction must be a number"),
        ("bottleneck", {"dropout": 1}, "dropout must be a number"),
        ("bottleneck", {"r": 8}, "no option 'r'. It has: variant, reduction, dropout"),
        ("lora", {"r": 0}, "r must be a whole number"),
        ("lora", {"r": 2.5}, "r must be a whole number"),
        ("lora", {"alpha": 0}, "alpha must be a number"),
        ("lora", {"dropout": -0.1}, "dropout must be a number"),
        ("lora", {"target_modules": ()}, "no linear layers to adapt"),
        ("lora", {"target_modules": ("qwery",)}, "no linear layers to adapt: target modules qwery"),
        ("lora", {"target_modules": ("word_embeddings",)}, "no linear layers to adapt"),
        ("full", {"r": 8}, "no option 'r'"),
    ],
)
def test_options_out_of_range(tiny_encoder, method, options, expected):
    made = make_method(method, fresh(tiny_encoder).network)
    with pytest.raises(AdaptxferError) as caught:
        made.add("m", options, seed=1)
    assert expected in str(caught.value) and caught.value.code == USE


@pytest.mark.parametrize("method", ["lora", "full"])
def test_methods_without_fusion_say_so(tiny_encoder, method, tmp_path):
    made, fused = make_method(method, fresh(tiny_encoder).network), fuse(["x", "y"])
    for ask in (
        lambda: made.add_fusion(fused, 1),
        lambda: made.fusion_parameters(fused.key),
        lambda: made.save_fusion(fused, tmp_path),
        lambda: made.load_fusion(fused, tmp_path),
    ):
        with pytest.raises(AdaptxferError, match=f"--method {method} has no fusion"):
            ask()
    assert made.penalty() is None


def test_unknown_method(tiny_encoder):
    with pytest.raises(AdaptxferError, match="--method 'prefix' is unknown"):
        make_method("prefix", tiny_encoder.network)
