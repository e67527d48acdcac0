from __future__ import annotations

import pytest
import torch

from adaptxfer.kernels.lora_linear import Update
from adaptxfer.kernels.reference.lora import LoraLinear, Setup
from tests.kernels.triton.against import DTYPES, agree, draw


def both(device, rows, width, ranks, p):
    """The kernel, and plain torch with the masks that the kernel draws; update i adds to columns 32 i to 32 i + 31."""
    from adaptxfer.kernels.triton.lora_linear import lora_linear
    from adaptxfer.kernels.triton.parts import mask_of

    seed, count = torch.tensor([2**61 + 3], device=device), len(ranks)
    masks = [mask_of(seed, i, rows, width, p) for i in range(count)]
    columns = [32 * i for i in range(count)]

    def fast(x, weight, bias, *ab):
        updates = [Update(ab[2 * i], ab[2 * i + 1], 2.0, p, columns[i]) for i in range(count)]
        return lora_linear(x, weight, bias, updates, seed)

    def plain(x, weight, bias, *ab):
        parts = [part for i in range(count) for part in (ab[2 * i], ab[2 * i + 1], masks[i].to(x))]
        return LoraLinear.apply(x, weight, bias, Setup((2.0,) * count, tuple(columns)), *parts)

    return fast, plain


def inputs_of(device, dtype, rows, width, ranks):
    x, weight, bias = draw(device, dtype, (rows, width), (64, width), (64,))
    return [x, weight, bias, *draw(device, dtype, *[s for r in ranks for s in ((r, width), (32, r))], scale=0.1)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "width", "ranks", "p"),
    [(37, 64, (8, 4), 0.1), (1, 128, (16,), 0.0), (17, 128, (8, 64), 0.1), (64, 64, (4,), 0.0)],
)
def test_equals_torch(device, dtype, rows, width, ranks, p):
    agree(*both(device, rows, width, ranks, p), inputs_of(device, dtype, rows, width, ranks), frozen=[1, 2])


def test_whatever_trains_gets_a_gradient(device):
    inputs = inputs_of(device, torch.float32, 17, 64, (8, 8))
    agree(*both(device, 17, 64, (8, 8), 0.1), inputs, frozen=[0, 3, 6])


def test_nan_stays_in_its_row(device):
    fast, _ = both(device, 4, 64, (8,), 0.1)
    x, *rest = inputs_of(device, torch.float32, 4, 64, (8,))
    x[1, 3] = torch.nan
    assert fast(x, *rest).isnan().any(1).tolist() == [False, True, False, False]


def test_one_graph_under_compile(device):
    fast, _ = both(device, 3, 64, (8,), 0.1)
    inputs = inputs_of(device, torch.float32, 3, 64, (8,))
    inputs[0].requires_grad_()
    inputs[3].requires_grad_()
    out = torch.compile(fast, backend="aot_eager", fullgraph=True)(*inputs)
    expected = fast(*inputs)
    wanted = (inputs[0], inputs[3])
    for one, other in zip(
        torch.autograd.grad(out.sum(), wanted), torch.autograd.grad(expected.sum(), wanted), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
