"""The factorised fusion against `adapters`' own: value, every gradient, score dropout with the same draw."""

from __future__ import annotations

import pytest
import torch
from adapters.configuration import AdapterFusionConfig
from adapters.methods.modeling import BertFusion
from torch import nn

from adaptxfer.kernels.fusion import Fusion, adapter_fusion
from adaptxfer.kernels.parts import Adapter, activate, draw_mask
from tests.kernels.helpers import assert_equal, kept_per_token, leaves, outcome

WIDTH = 24


class GivenMask(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, scores):
        return scores * self.mask


def setup(count, act="relu", rows=19, inner=5, mask=None, scale=1.0):
    """A fusion layer of the library, our record of the same weights, and all tensors that want gradients."""
    z, *weights = leaves(
        (rows, WIDTH), *[s for _ in range(count) for s in ((inner, WIDTH), inner, (WIDTH, inner), WIDTH)]
    )
    with torch.no_grad():
        for weight in weights:  # scores of a size at which softmax is not saturated
            weight *= 0.3
    scales = [scale + number for number in range(count)]
    children = tuple(Adapter(*weights[4 * i : 4 * i + 4], act, scales[i], 0.0) for i in range(count))
    layer = BertFusion(AdapterFusionConfig.load("dynamic"), WIDTH, 0.0).double()
    torch.manual_seed(2)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, 0.0, 0.2)
    if mask is not None:
        layer.dropout = GivenMask(mask[None])
    query, key = layer.query, layer.key
    fusion = Fusion(query.weight, query.bias, key.weight, key.bias, layer.value.weight, children, 0.0)
    return layer, fusion, z, [z, *weights, *layer.parameters()]


def run_library(layer, fusion, z):
    ups = [
        (torch.addmm(c.up_bias, activate(torch.addmm(c.down_bias, z, c.down.t()), c.act), c.up.t())) * c.scale
        for c in fusion.children
    ]
    stacked = torch.stack(ups, dim=1)[None]
    return layer(z[None], stacked, stacked, torch.zeros_like(z)[None])[0]


@pytest.mark.parametrize("act", ["relu", "gelu", "swish"])
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_equal_to_the_library(count, act):
    layer, fusion, z, tensors = setup(count, act, scale=0.5)
    expected = outcome(lambda: run_library(layer, fusion, z), tensors)
    assert_equal(outcome(lambda: adapter_fusion(z, fusion), tensors), expected)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_equal_with_the_same_score_dropout(count):
    mask = torch.tensor([0.0, 1.25], dtype=torch.float64)[torch.randint(2, (19, count))]
    layer, fusion, z, tensors = setup(count, mask=mask)
    expected = outcome(lambda: run_library(layer, fusion, z), tensors)
    assert_equal(outcome(lambda: adapter_fusion(z, fusion, mask), tensors), expected)
    key_bias = next(i for i, t in enumerate(tensors) if t is fusion.key_bias)
    assert float(expected[1 + key_bias].norm()) > 1e-3  # without dropout it would be zero in theory


def test_weights_sum_to_one():
    _, fusion, z, _ = setup(3)
    same = fusion._replace(children=(fusion.children[0],) * 3)
    single = fusion._replace(children=fusion.children[:1])
    torch.testing.assert_close(adapter_fusion(z, same), adapter_fusion(z, single))


def test_dropout_is_drawn_for_every_score():
    _, fusion, z, _ = setup(3)
    torch.manual_seed(0)
    found = adapter_fusion(z, fusion._replace(dropout=0.25))
    torch.manual_seed(0)
    assert torch.equal(found, adapter_fusion(z, fusion, draw_mask(z.new_empty(len(z), 3), 0.25)))
    assert not torch.equal(found, adapter_fusion(z, fusion))


def test_sixteen_bits_no_worse_than_the_library():
    layer, fusion, z, _ = setup(9, act="swish")
    low = lambda t: t.detach().bfloat16()  # noqa: E731
    kids = tuple(Adapter(*map(low, c[:4]), *c[4:]) for c in fusion.children)
    fusion16 = Fusion(*map(low, fusion[:5]), kids, 0.0)
    rounded = Fusion(
        *(t.double() for t in fusion16[:5]), tuple(Adapter(*(t.double() for t in c[:4]), *c[4:]) for c in kids), 0.0
    )
    exact = adapter_fusion(low(z).double(), rounded)
    layer.bfloat16()
    eager, found = run_library(layer, fusion16, low(z)), adapter_fusion(low(z), fusion16)
    error = [float((t.double() - exact).detach().norm() / exact.detach().norm()) for t in (found, eager)]
    assert error[0] < 1.1 * error[1] + 1e-4


def test_nothing_wide_is_kept_per_token():
    _, fusion, z, _ = setup(9, rows=100)
    assert kept_per_token(lambda: adapter_fusion(z, fusion)) <= WIDTH + 9 * (2 * 5 + 1) + 9 + 9 * (5 + 1)
