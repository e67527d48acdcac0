"""LoRA layers against the formula and against `peft`."""

from __future__ import annotations

import peft
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from adaptxfer.kernels.lora_linear import Update, lora_linear
from adaptxfer.kernels.reference.lora import LoraLinear, Setup
from tests.kernels.helpers import assert_equal, leaves, outcome


@pytest.mark.parametrize("names", [("one",), ("one", "two"), ("one", "two", "three")])
def test_equal_to_peft(names):
    model = nn.Sequential(nn.Linear(12, 20)).double()
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["0"])
    wrapped = peft.get_peft_model(model, config, adapter_name=names[0])
    for name in names[1:]:
        wrapped.add_adapter(name, config)
    wrapped.base_model.set_adapter(list(names))
    layer = model[0]
    for name in names:
        nn.init.normal_(layer.lora_B[name].weight)
    (x,) = leaves((7, 12))
    updates = [Update(layer.lora_A[n].weight, layer.lora_B[n].weight, 2.0, 0.0) for n in names]
    tensors = [x, *(u.a for u in updates), *(u.b for u in updates)]
    model.double()
    fused = lambda: lora_linear(x, layer.base_layer.weight, layer.base_layer.bias, updates)  # noqa: E731
    assert_equal(outcome(fused, tensors), outcome(lambda: model(x), tensors))
    assert layer.base_layer.weight.grad is None


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dropped", [True, False])
def test_packed_columns_and_masks(bias, dropped):
    x, weight, b, a1, b1, a2, b2 = tensors = leaves((6, 10), (24, 10), 24, (2, 10), (8, 2), (3, 10), (8, 3))
    masks = (
        [torch.tensor([0.0, 2.0]).double()[torch.randint(2, (6, 10))] for _ in range(2)] if dropped else [None, None]
    )

    def composed():
        parts = [
            0.5 * ((x * (1 if m is None else m)) @ a.t()) @ u.t()
            for m, a, u in zip(masks, (a1, a2), (b1, b2), strict=True)
        ]
        update = torch.cat([parts[0], torch.zeros(6, 8, dtype=torch.float64), parts[1]], dim=1)
        return F.linear(x, weight, b if bias else None) + update

    setup = Setup((0.5, 0.5), (0, 16))
    args = (x, weight, b if bias else None, setup, a1, b1, masks[0], a2, b2, masks[1])
    tensors = tensors if bias else [t for t in tensors if t is not b]
    assert_equal(outcome(lambda: LoraLinear.apply(*args), tensors), outcome(composed, tensors))


@pytest.mark.parametrize("chosen", [(0,), (2,), (3,)])
def test_only_what_asks_gets_a_gradient(chosen):
    tensors = leaves((6, 10), (8, 10), (2, 10), (8, 2))
    for number, tensor in enumerate(tensors):
        tensor.requires_grad_(number in chosen)
    x, weight, a, b = tensors
    found = outcome(lambda: lora_linear(x, weight, None, [Update(a, b, 1.0, 0.0)]), tensors)
    assert [number for number, gradient in enumerate(found[1:]) if gradient is not None] == list(chosen)


def test_dropout_keeps_the_mean():
    x, weight, a, b = (t.detach() for t in leaves((1, 10), (8, 10), (2, 10), (8, 2)))
    torch.manual_seed(0)
    many = lora_linear(x.expand(20_000, 10), weight, None, [Update(a, b, 1.0, 0.3)])
    exact = lora_linear(x, weight, None, [Update(a, b, 1.0, 0.0)])[0]
    assert ((many.mean(0) - exact).abs() < 5 * many.std(0) / 20_000**0.5).all()


def test_no_updates():
    x, weight = leaves((6, 10), (8, 10))
    assert torch.equal(lora_linear(x, weight, None), F.linear(x, weight))


def test_modules_in_32_bits_on_activations_of_16():
    x, weight, a, b = leaves((6, 10), (8, 10), (2, 10), (8, 2), dtype=torch.float32)
    y = lora_linear(x.bfloat16(), weight.bfloat16(), None, [Update(a, b, 1.0, 0.0)])
    y.sum().backward()
    assert y.dtype == torch.bfloat16 and a.grad.dtype == torch.float32
