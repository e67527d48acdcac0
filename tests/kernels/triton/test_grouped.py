"""Several runs in one launch against each run alone."""

from __future__ import annotations

import pytest
import torch

from adaptxfer.kernels import dispatch
from adaptxfer.kernels.dispatch import using
from adaptxfer.kernels.lora_linear import Update
from adaptxfer.kernels.parts import Adapter
from tests.kernels.triton.against import draw
from tests.kernels.triton.test_bottleneck import norm_of, weight_shapes

CASES = [  # rows of each group, width, inner widths, what is read, adapter dropout, hidden dropout
    ((17, 3, 16), 64, (8,), "sum", 0.1, 0.1),
    ((5, 20), 64, (16,), "sublayer", 0.1, 0.0),
    ((1, 17), 128, (16,), "input", 0.0, 0.1),
    ((17, 3), 64, (8, 16), "sum", 0.1, 0.1),
]


def made(device, dtype, case, trains=True):
    sizes, width, inner, _, p, _ = case
    h, x, *weights = [
        *draw(device, dtype, (sum(sizes), width), (sum(sizes), width)),
        *draw(device, dtype, *weight_shapes(width, inner * len(sizes)), scale=0.1),
    ]
    leaves = [t.requires_grad_(trains or number < 2) for number, t in enumerate([h, x, *weights])]
    made = iter([Adapter(*leaves[i : i + 4], "gelu", 2.0, p) for i in range(2, len(leaves), 4)])
    adapters = [[next(made) for _ in inner] for _ in sizes]
    seeds = torch.arange(7, 7 + len(sizes), device=device) * 2**33
    return leaves, adapters, seeds


def outcome(out, leaves):
    torch.manual_seed(3)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, wanted, torch.randn(out.shape).to(out))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_equals_each_alone(device, dtype, case):
    from adaptxfer.kernels.triton.bottleneck import bottleneck
    from adaptxfer.kernels.triton.grouped import grouped_bottleneck

    sizes, _, _, reads, _, p_hidden = case
    leaves, adapters, seeds = made(device, dtype, case)
    h, x = leaves[:2]
    parts = zip(h.split(sizes), x.split(sizes), adapters, seeds, strict=True)
    alone = torch.cat(
        [bottleneck(one, two, norm_of(h), own, reads, p_hidden, seed[None]) for one, two, own, seed in parts]
    )
    together = grouped_bottleneck(h, x, norm_of(h), sizes, adapters, seeds, reads, p_hidden)
    for number, (one, other) in enumerate(zip(outcome(together, leaves), outcome(alone, leaves), strict=True)):
        assert torch.equal(one, other) or (number > 2 and torch.allclose(one, other, rtol=1e-5, atol=1e-6)), number


def test_frozen_adapters_and_one_graph(device):
    from adaptxfer.kernels.triton.grouped import grouped_bottleneck

    case = CASES[0]
    leaves, adapters, seeds = made(device, torch.float32, case, trains=False)

    def run(h, x):
        return grouped_bottleneck(h, x, norm_of(h), case[0], adapters, seeds, "sum", 0.1)

    expected = outcome(run(*leaves[:2]), leaves)
    found = outcome(torch.compile(run, backend="aot_eager", fullgraph=True)(*leaves[:2]), leaves)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not any(leaf.grad is not None for leaf in leaves[2:])


def test_nan_stays_in_its_row(device):
    from adaptxfer.kernels.triton.grouped import grouped_bottleneck

    leaves, adapters, _ = made(device, torch.float32, ((3, 2), 64, (16,), "sum", 0.0, 0.0))
    h = leaves[0].detach().clone()
    h[3, 5] = torch.nan
    out = grouped_bottleneck(h, leaves[1], norm_of(h), (3, 2), adapters, None)
    assert out.isnan().any(1).tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("inner", [(16,), (8, 16)])
def test_the_plain_function_takes_it_and_draws_what_each_run_draws(device, monkeypatch, inner):
    from adaptxfer.kernels.bottleneck import bottleneck
    from adaptxfer.kernels.grouped import Groups, Stream, grouped_bottleneck
    from adaptxfer.kernels.triton import grouped

    case = ((3, 5), 64, inner, "sum", 0.2, 0.0)
    leaves, adapters, _ = made(device, torch.float32, case)
    h, x = leaves[:2]
    launches, run = [], grouped.bottleneck.launch
    monkeypatch.setattr(grouped.bottleneck, "launch", lambda *a: launches.append(1) or run(*a))
    monkeypatch.setattr(dispatch, "_fault", lambda *_: "")  # checked elsewhere
    with using("triton"):
        groups = Groups(case[0], (Stream(1), Stream(2)))
        found = grouped_bottleneck(h, x, norm_of(h), groups, adapters, p_hidden=0.3)
        alone = []
        for seed, one, two, own in zip((1, 2), h.split(case[0]), x.split(case[0]), adapters, strict=True):
            torch.manual_seed(seed)
            alone.append(bottleneck(one, two, norm_of(h), own, "sum", 0.3))
    assert launches and torch.equal(found, torch.cat(alone))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.1])
def test_low_rank_updates_equal_each_alone(device, dtype, p):
    from adaptxfer.kernels.triton.grouped import grouped_lora_linear
    from adaptxfer.kernels.triton.lora_linear import lora_linear

    sizes, seeds = (17, 3, 16), torch.arange(7, 10, device=device) * 2**33
    x, weight, bias = draw(device, dtype, (36, 64), (64, 64), (64,))
    ab = draw(device, dtype, *[(8, 64), (32, 8), (4, 64), (32, 4)] * 3, scale=0.1)
    leaves = [t.requires_grad_() for t in (x, *ab)]
    made = iter([Update(*ab[i : i + 2], 2.0, p, 32 * (i // 2 % 2)) for i in range(0, len(ab), 2)])
    updates = [[next(made), next(made)] for _ in sizes]
    parts = zip(x.split(sizes), updates, seeds, strict=True)
    alone = torch.cat([lora_linear(rows, weight, bias, own, seed[None]) for rows, own, seed in parts])
    together = grouped_lora_linear(x, weight, bias, sizes, updates, seeds if p else None)
    near = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    for number, (one, other) in enumerate(zip(outcome(together, leaves), outcome(alone, leaves), strict=True)):
        assert torch.allclose(one, other, **near), number


def test_low_rank_updates_by_the_plain_function(device, monkeypatch):
    from adaptxfer.kernels.grouped import Groups, Stream, grouped_lora_linear
    from adaptxfer.kernels.lora_linear import lora_linear
    from adaptxfer.kernels.triton import grouped

    x, weight, *ab = draw(device, torch.float32, (8, 64), (64, 64), *[(4, 64), (64, 4)] * 2)
    updates = [[Update(*ab[i : i + 2], 1.0, 0.2)] for i in (0, 2)]
    launches, run = [], grouped.lora_linear.launch
    monkeypatch.setattr(grouped.lora_linear, "launch", lambda *a: launches.append(len(a[3])) or run(*a))
    monkeypatch.setattr(dispatch, "_fault", lambda *_: "")  # checked elsewhere
    with using("triton"):
        found = grouped_lora_linear(x, weight, None, Groups((3, 5), (Stream(1), Stream(2))), updates)
        alone = []
        for seed, rows, own in zip((1, 2), x.split((3, 5)), updates, strict=True):
            torch.manual_seed(seed)
            alone.append(lora_linear(rows, weight, None, own))
    assert launches[0] == 2 and torch.allclose(found, torch.cat(alone), atol=1e-5)
