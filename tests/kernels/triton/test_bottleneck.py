from __future__ import annotations

import pytest
import torch

from adaptxfer.kernels.parts import Adapter, Norm
from adaptxfer.kernels.reference.bottleneck import Bottlenecks, Setup
from tests.kernels.triton.against import DTYPES, agree, draw

SHAPES = [  # rows, width, inner widths, activation, what is read, scale, adapter dropout, hidden dropout
    (37, 128, (64,), "swish", "sum", 1.0, 0.0, 0.0),
    (1, 64, (8,), "gelu", "sum", 4.0, 0.1, 0.1),
    (16, 192, (16,), "relu", "sum", 1.0, 0.0, 0.0),
    (19, 128, (48, 16), "swish", "sum", 2.0, 0.1, 0.0),
    (33, 64, (16, 64), "gelu", "sum", 1.0, 0.0, 0.1),
    (15, 64, (128,), "swish", "sublayer", 2.0, 0.1, 0.0),
    (17, 128, (16,), "gelu", "input", 4.0, 0.0, 0.1),
]


def norm_of(like):
    ramp = torch.linspace(0.5, 1.5, like.shape[1])
    return Norm(ramp.to(like), (ramp - 1).flip(0).to(like), 1e-5)


def weight_shapes(width, inner):
    return [shape for d in inner for shape in ((d, width), (d,), (width, d), (width,))]


def both(device, rows, width, inner, act, reads, scale, p, p_hidden):
    """The kernel, and plain torch with the masks that the kernel draws."""
    from adaptxfer.kernels.triton.bottleneck import bottleneck
    from adaptxfer.kernels.triton.parts import mask_of

    seed, count = torch.tensor([987654321987], device=device), len(inner)
    masks = [mask_of(seed, i, rows, width, p if i else p_hidden) for i in range(count + 1)]

    def fast(h, x, *weights):
        adapters = [Adapter(*weights[4 * i : 4 * i + 4], act, scale, p) for i in range(count)]
        return bottleneck(h, x, norm_of(h), adapters, reads, p_hidden, seed)

    def plain(h, x, *weights):
        norm, setup = norm_of(h), Setup(reads, (act,) * count, (scale,) * count, 1e-5)
        parts = [part for i in range(count) for part in (*weights[4 * i : 4 * i + 4], masks[i + 1].to(h))]
        return Bottlenecks.apply(h * masks[0].to(h), x, norm.weight, norm.bias, setup, *parts)

    return fast, plain


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_torch(device, dtype, shape):
    rows, width, inner = shape[:3]
    inputs = draw(device, dtype, (rows, width), (rows, width))
    weights = draw(device, dtype, *weight_shapes(width, inner), scale=0.1)
    agree(*both(device, *shape), [inputs[0], inputs[1] * 1.5 + 0.3, *weights])


def test_full_width(device):
    shape = (9, 1024, (64,), "gelu", "sum", 1.0, 0.0, 0.0)
    inputs = draw(device, torch.bfloat16, (9, 1024), (9, 1024))
    agree(*both(device, *shape), [*inputs, *draw(device, torch.bfloat16, *weight_shapes(1024, (64,)), scale=0.05)])


def test_rows_far_from_zero_keep_their_digits(device):
    shape = (8, 128, (16,), "gelu", "sum", 1.0, 0.0, 0.0)
    h, x = draw(device, torch.float32, (8, 128), (8, 128), scale=0.05)
    weights = draw(device, torch.float32, *weight_shapes(128, (16,)), scale=0.01)
    agree(*both(device, *shape), [h + 100.0, x, *weights])


@pytest.mark.parametrize("reads", ["sum", "sublayer", "input"])
def test_nan_stays_in_its_row(device, reads):
    fast, _ = both(device, 4, 64, (16,), "relu", reads, 1.0, 0.0, 0.0)
    h, x, *weights = draw(device, torch.float32, (4, 64), (4, 64), *weight_shapes(64, (16,)))
    h[2, 5] = torch.nan
    leaves = [t.requires_grad_() for t in (h, x)]
    out = fast(*leaves, *weights)
    assert out.isnan().any(1).tolist() == [False, False, True, False]
    for grad in torch.autograd.grad(out.square().sum(), leaves):
        assert grad.isnan().any(1).tolist() == [False, False, True, False]


def test_no_rows_give_no_gradient(device):
    fast, _ = both(device, 1, 64, (16,), "gelu", "sum", 1.0, 0.1, 0.1)
    inputs = [t.requires_grad_() for t in draw(device, torch.float32, (0, 64), (0, 64), *weight_shapes(64, (16,)))]
    out = fast(*inputs)
    out.sum().backward()
    assert out.shape == (0, 64) and not any(t.grad.any() for t in inputs)


def test_frozen_first_adapter_gets_no_gradient(device):
    shape = (17, 64, (16, 16), "swish", "sum", 1.0, 0.0, 0.0)
    inputs = draw(device, torch.float32, (17, 64), (17, 64), *weight_shapes(64, (16, 16)), scale=0.3)
    agree(*both(device, *shape), inputs, frozen=[2, 3, 4, 5])


def test_float32_weights_beside_bf16_rows(device):
    fast, plain = both(device, 16, 64, (16,), "gelu", "sum", 1.0, 0.0, 0.0)
    rows = draw(device, torch.bfloat16, (16, 64), (16, 64))
    weights = [w.requires_grad_() for w in draw(device, torch.float32, *weight_shapes(64, (16,)), scale=0.1)]
    out = fast(*rows, *weights)
    out.float().square().sum().backward()
    exact = plain(*(t.double() for t in rows), *(w.detach().bfloat16().double() for w in weights))
    assert out.dtype == torch.bfloat16 and torch.allclose(out.double(), exact, atol=0.02, rtol=0.02)
    assert all(w.grad.dtype == torch.float32 and w.grad.isfinite().all() for w in weights)


def test_autocast_decides_the_dtype(device):
    fast, _ = both(device, 4, 64, (16,), "gelu", "sum", 1.0, 0.0, 0.0)
    inputs = draw(device, torch.float32, (4, 64), (4, 64), *weight_shapes(64, (16,)))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert fast(*inputs).dtype == torch.bfloat16


def test_one_graph_under_compile(device):
    fast, _ = both(device, 5, 64, (16, 16), "gelu", "sum", 1.0, 0.1, 0.1)
    inputs = [t.requires_grad_() for t in draw(device, torch.float32, (5, 64), (5, 64), *weight_shapes(64, (16, 16)))]
    out = torch.compile(fast, backend="aot_eager", fullgraph=True)(*inputs)
    expected = fast(*inputs)
    assert torch.equal(out, expected)
    for one, other in zip(
        torch.autograd.grad(out.sum(), inputs), torch.autograd.grad(expected.sum(), inputs), strict=True
    ):
        assert torch.equal(one, other)
