"""The trainable set, by name, for every method and way."""

from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.heads import HeadSpec, build_head
from adaptxfer.modules.model import AdaptedModel, make_method
from tests.tiny import WAYS, arrange, fresh, packed, randomise

LAYERS = [f"network.encoder.layer.{number}" for number in (0, 1)]
BOTTLENECK = {
    f"{layer}.output.adapters.goal.{part}.{kind}"
    for layer in LAYERS
    for part in ("adapter_down.0", "adapter_up")
    for kind in ("weight", "bias")
}
FUSION = {
    f"{layer}.output.adapter_fusion_layer.one,two.{part}"
    for layer in LAYERS
    for part in ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight")
}
LORA = {
    f"{layer}.attention.self.{target}.lora_{factor}.goal.weight"
    for layer in LAYERS
    for target in ("query", "value")
    for factor in "AB"
}
HEAD = {f"heads.goal.{layer}.{kind}" for layer in ("dense", "out") for kind in ("weight", "bias")}


@pytest.mark.parametrize(("method", "how", "own"), WAYS)
def test_exactly_these_weights_train(tiny_encoder, method, how, own):
    model, _, trained = arrange(tiny_encoder, method, how, own)
    expected = {
        "full": {f"network.{name}" for name, _ in tiny_encoder.network.named_parameters()},
        "lora": LORA,
        "bottleneck": (BOTTLENECK if how != "fuse" or own else set()) | (FUSION if how == "fuse" else set()),
    }[method] | HEAD
    assert set(trained) == expected
    assert {name for name, value in model.named_parameters() if value.requires_grad} == expected
    assert all(value is model.get_parameter(name) for name, value in trained.items())


def test_a_module_added_later_does_not_train_once_the_set_is_fixed(tiny_encoder):
    model, _, before = arrange(tiny_encoder, "bottleneck", "none")
    model.method.add("late", {}, 1)
    assert any(
        ".late." in name for name, value in model.named_parameters() if value.requires_grad
    )  # what adapters does
    assert set(model.set_trainable(["goal"])) == set(before)


def test_several_active_loras_do_not_unfreeze_each_other(tiny_encoder):
    model, tree, before = arrange(tiny_encoder, "lora", "stack")
    model.method.activate(tree)  # peft makes all active adapters trainable
    assert set(model.set_trainable(["goal"])) == set(before)
    assert not any(value.requires_grad for value in model.method.parameters("one").values())


@pytest.mark.parametrize(("method", "how", "own"), WAYS)
def test_every_part_of_the_composition_is_on_the_way(tiny_encoder, method, how, own):
    """The output changes with each module of the tree, so that what is drawn is what runs."""
    import torch

    from adaptxfer.modules.composition import fusions, leaves

    model, tree, _ = arrange(tiny_encoder, method, how, own)
    model.eval()
    ids, bounds = packed()
    with torch.no_grad():
        before = model("goal", ids, bounds)
        parts = [model.method.parameters(name) for name in leaves(tree)]
        parts += [model.method.fusion_parameters(fused.key) for fused in fusions(tree)]
        for part in parts:
            kept = {name: value.clone() for name, value in part.items()}
            for value in part.values():
                value.add_(torch.randn(value.shape) * 0.3)
            assert not torch.equal(model("goal", ids, bounds), before)
            for name, value in part.items():
                value.copy_(kept[name])
        assert torch.equal(model("goal", ids, bounds), before)


def test_a_fresh_module_leaves_the_encoder_as_it_was(tiny_encoder):
    import torch

    from adaptxfer.encoder import encode
    from adaptxfer.modules.composition import Leaf

    ids, bounds = packed()
    made = make_method("lora", fresh(tiny_encoder).network)
    made.add("m", {}, 1)
    made.activate(Leaf("m"))
    with torch.no_grad():
        assert torch.equal(encode(made.network.eval(), ids, bounds), encode(tiny_encoder.network, ids, bounds))


def test_stack_of_loras_adds_their_updates(tiny_encoder):
    import torch

    model, _, _ = arrange(tiny_encoder, "lora", "stack")
    randomise(model.method.parameters("goal"), 2)
    part = "base_model.model.encoder.layer.0.attention.self.query.lora_{}.weight"
    updates = []
    for name in ("one", "goal"):
        weights = model.method.parameters(name)
        updates.append(16 / 8 * weights[part.format("B")] @ weights[part.format("A")])
    layer = model.network.encoder.layer[0].attention.self.query
    x = torch.randn(3, 32)
    expected = layer.base_layer(x) + x @ sum(updates).T
    torch.testing.assert_close(layer.eval()(x), expected, atol=1e-5, rtol=1e-5)


def test_heads_by_task(tiny_encoder):
    model, _, _ = arrange(tiny_encoder, "full", "none")
    with pytest.raises(AdaptxferError, match=r"no head for gaol here. Did you mean 'goal'"):
        model.head("gaol")
    head = build_head(HeadSpec("tag", 32, ("x",)), 1, "keys")
    with pytest.raises(AdaptxferError, match="'keys' cannot name a module"):
        AdaptedModel(model.method, {"keys": head})
