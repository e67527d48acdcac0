from __future__ import annotations

import pytest
import torch

from adaptxfer.kernels.reference.fusion import Mix
from tests.kernels.triton.against import DTYPES, agree, draw


def both(device, rows, count, act, p):
    """The kernel, and plain torch with the mask that the kernel draws."""
    from adaptxfer.kernels.triton.fusion import mixture
    from adaptxfer.kernels.triton.parts import mask_of

    seed = torch.tensor([31337], device=device)
    mask = mask_of(seed, 0, rows, count, p)

    def plain(z, wide, offsets, values):
        exact = mask.to(torch.promote_types(z.dtype, torch.float32))
        return Mix.apply(torch.addmm(offsets, z, wide.t()), exact, count, act) @ values.t()

    return lambda *inputs: mixture(*inputs, count, act, p, seed), plain


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "inner", "count", "act", "p"),
    [
        (21, 16, 3, "relu", 0.0),
        (1, 8, 2, "gelu", 0.1),
        (9, 64, 9, "swish", 0.1),
        (17, 48, 1, "gelu", 0.0),
        (8, 8, 10, "gelu", 0.1),
        (5, 8, 16, "swish", 0.0),
    ],
)
def test_equals_torch(device, dtype, rows, inner, count, act, p):
    shapes = ((count * (2 * inner + 1), 64), (count * (2 * inner + 1),), (64, count * (inner + 1)))
    inputs = [*draw(device, dtype, (rows, 64)), *draw(device, dtype, *shapes, scale=0.1)]
    agree(*both(device, rows, count, act, p), inputs)


def test_nan_stays_in_its_row(device):
    fast, _ = both(device, 4, 2, "relu", 0.0)
    z, wide, offsets, values = draw(device, torch.float32, (4, 64), (2 * 17, 64), (2 * 17,), (64, 2 * 9))
    z[1, 3] = torch.nan
    assert fast(z, wide, offsets, values).isnan().any(1).tolist() == [False, True, False, False]


def test_one_graph_under_compile(device):
    fast, _ = both(device, 5, 3, "gelu", 0.1)
    inputs = [t.requires_grad_() for t in draw(device, torch.float32, (5, 64), (3 * 17, 64), (3 * 17,), (64, 3 * 9))]
    out = torch.compile(fast, backend="aot_eager", fullgraph=True)(*inputs)
    expected = fast(*inputs)
    assert torch.allclose(out, expected)
    for one, other in zip(
        torch.autograd.grad(out.sum(), inputs), torch.autograd.grad(expected.sum(), inputs), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
