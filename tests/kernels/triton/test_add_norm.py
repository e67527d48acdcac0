from __future__ import annotations

import pytest
import torch

from adaptxfer.kernels.parts import Norm
from tests.kernels.triton.against import DTYPES, agree, draw


def norm_of(width, like):
    ramp = torch.linspace(0.5, 1.5, width)
    return Norm(ramp.to(like), (ramp - 1).flip(0).to(like), 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "width", "p"), [(1, 64, 0.0), (17, 256, 0.1), (5, 768, 0.1), (33, 100, 0.0), (3, 1024, 0.0)]
)
def test_equals_torch(device, dtype, rows, width, p):
    from adaptxfer.kernels.triton.add_norm import add_norm
    from adaptxfer.kernels.triton.parts import mask_of

    seed = torch.tensor([2**40 + 5], device=device)
    mask = mask_of(seed, 0, rows, width, p)

    def plain(h, x):
        return norm_of(width, h)(h * mask.to(h) + x)

    agree(lambda h, x: add_norm(h, x, norm_of(width, h), p, seed), plain, draw(device, dtype, *[(rows, width)] * 2))


def test_rows_far_from_zero_keep_their_digits(device):
    from adaptxfer.kernels.triton.add_norm import add_norm

    h, x = draw(device, torch.float32, (9, 256), (9, 256))
    agree(
        lambda h, x: add_norm(h, x, norm_of(256, h)), lambda h, x: norm_of(256, h)(h + x), [h * 0.01 + 300.0, x * 0.01]
    )


def test_strided_rows_and_frozen_inputs(device):
    from adaptxfer.kernels.triton.add_norm import add_norm

    h, x = (t.t() for t in draw(device, torch.float32, (64, 17), (64, 17)))
    agree(lambda h, x: add_norm(h, x, norm_of(64, h)), lambda h, x: norm_of(64, h)(h + x), [h, x], frozen=[1])


def test_nan_stays(device):
    from adaptxfer.kernels.triton.add_norm import add_norm

    h, x = draw(device, torch.float32, (4, 64), (4, 64))
    h[2, 5] = torch.nan
    out = add_norm(h, x, norm_of(64, h))
    assert out.isnan().any(1).tolist() == [False, False, True, False]


def test_seeds_are_drawn_and_repeatable(device):
    from adaptxfer.kernels.triton.add_norm import add_norm

    h, x = draw(device, torch.float32, (8, 64), (8, 64))
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(add_norm(h, x, norm_of(64, h), 0.5))
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])


def test_one_graph_under_compile(device):
    from adaptxfer.kernels.triton.add_norm import add_norm

    h, x = draw(device, torch.float32, (8, 64), (8, 64))
    h.requires_grad_()

    def run(h, x):
        return add_norm(h * 2, x, norm_of(64, h)).sin()

    out = torch.compile(run, backend="aot_eager", fullgraph=True)(h, x)
    (grad,) = torch.autograd.grad(out.sum(), h)
    (expected,) = torch.autograd.grad(run(h, x).sum(), h)
    assert torch.equal(out, run(h, x)) and torch.equal(grad, expected)
