"""Grouped operations against their namesakes, each run's rows apart."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from adaptxfer.kernels.bottleneck import bottleneck
from adaptxfer.kernels.grouped import Groups, Stream, grouped_bottleneck, grouped_dropout, grouped_lora_linear
from adaptxfer.kernels.lora_linear import Update, lora_linear
from adaptxfer.kernels.parts import Adapter, Norm
from tests.kernels.helpers import assert_equal, leaves, outcome

SIZES = (5, 1, 9)


def groups() -> Groups:
    return Groups(SIZES, tuple(Stream(seed) for seed in (1, 2, 3)))


def alone(functions, *tensors):
    """Each function on its own rows, after its own seed, as a run alone would do it."""
    found = []
    for seed, function, *rows in zip((1, 2, 3), functions, *(t.split(SIZES) for t in tensors), strict=True):
        torch.manual_seed(seed)
        found.append(function(*rows))
    return torch.cat(found)


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("reads", ["sum", "sublayer", "input"])
def test_bottleneck(reads, p):
    h, x, gamma, beta = leaves((15, 8), (15, 8), 8, 8)
    norm = Norm(gamma.detach(), beta.detach(), 1e-5)
    depth = (1, 2, 1) if reads == "sum" else (1, 1, 1)
    weights = [leaves((w, 8), w, (8, w), 8, seed=w) for w in range(2, 2 + sum(depth))]
    acts = ("relu", "gelu", "swish", "gelu")[: sum(depth)]
    made = iter([Adapter(*four, act, 1.5, p) for four, act in zip(weights, acts, strict=True)])
    adapters = [[next(made) for _ in range(count)] for count in depth]
    tensors = [h, x, *(t for four in weights for t in four)]
    apart = [lambda h, x, own=own: bottleneck(F.dropout(h, p) if p else h, x, norm, own, reads) for own in adapters]
    expected = outcome(lambda: alone(apart, h, x), tensors)
    found = outcome(lambda: grouped_bottleneck(h, x, norm, groups(), adapters, reads, p), tensors)
    assert_equal(found, expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_lora_linear(p, bias):
    x, weight, b = leaves((15, 8), (24, 8), 24)
    weight, b = weight.detach(), b.detach() if bias else None
    parts = [leaves((r, 8), (8, r), seed=r) for r in range(1, 4)]
    one, two, three = (Update(a, u, 0.5 * r, p, 8 * r - 8) for r, (a, u) in enumerate(parts, 1))
    updates = [[one, three], [], [two]]
    tensors = [x, *(t for pair in parts for t in pair)]
    apart = [lambda x, own=own: lora_linear(x, weight, b, own) for own in updates]
    expected = outcome(lambda: alone(apart, x), tensors)
    assert_equal(outcome(lambda: grouped_lora_linear(x, weight, b, groups(), updates), tensors), expected)


def test_lora_linear_without_updates():
    x, weight, b = leaves((15, 8), (4, 8), 4)
    assert torch.equal(grouped_lora_linear(x, weight, b, groups(), [[], [], []]), F.linear(x, weight, b))


def test_dropout_of_each_group_is_that_of_its_run():
    (x,) = leaves((15, 8))
    expected = alone([lambda rows: F.dropout(rows, 0.5)] * 3, x)
    assert torch.equal(grouped_dropout(x, 0.5, groups()), expected)
    assert grouped_dropout(x, 0.0, groups()) is x


def test_a_stream_goes_on_where_it_stopped_and_leaves_no_trace():
    torch.manual_seed(7)
    expected = torch.rand(6)
    torch.manual_seed(11)
    outside = torch.rand(3)
    torch.manual_seed(11)
    stream = Stream(7)
    with stream.turn():
        first = torch.rand(2)
    one = torch.rand(1)
    with stream.turn(torch.device("cpu")), Stream(3).turn():  # the turns of others inside its own
        torch.rand(5)
    with stream.turn():
        rest = torch.rand(4)
    assert torch.equal(torch.cat([first, rest]), expected)
    assert torch.equal(torch.cat([one, torch.rand(2)]), outside)


def test_an_error_inside_a_turn_leaves_no_trace():
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    with pytest.raises(KeyError), Stream(7).turn():
        torch.rand(4)
        raise KeyError
    assert torch.equal(torch.rand(1), expected)
