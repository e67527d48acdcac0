"""GELU in its exact (erf) form, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from adaptxfer.kernels.tiles import Tile
from adaptxfer.kernels.triton.parts import activate, activations, on_device, options, rounded, slope

TILE = Tile(1, 1024, 4, 1)


@triton.jit
def forward_kernel(x_ptr, y_ptr, count, SIZE: tl.constexpr):
    """Y = x * Phi(x) for ``count`` elements in a row."""
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    x = tl.load(x_ptr + place, mask=place < count, other=0.0).to(tl.float32)
    tl.store(y_ptr + place, rounded(activate(x, 1), y_ptr.dtype.element_ty), mask=place < count)


@triton.jit
def backward_kernel(dy_ptr, x_ptr, dx_ptr, count, SIZE: tl.constexpr):
    """Dx = dy * (Phi(x) + x * phi(x))."""
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    x = tl.load(x_ptr + place, mask=place < count, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + place, mask=place < count, other=0.0).to(tl.float32)
    tl.store(dx_ptr + place, rounded(dy * slope(x, 1), dx_ptr.dtype.element_ty), mask=place < count)


@torch.library.custom_op("adaptxfer::gelu", mutates_args=())
def forward(x: Tensor) -> Tensor:
    """Run `forward_kernel`."""
    y = torch.empty_like(x)
    with on_device(x):
        forward_kernel[(triton.cdiv(x.numel(), TILE.cols),)](x, y, x.numel(), TILE.cols, **options(TILE))
    return y


@torch.library.custom_op("adaptxfer::gelu_backward", mutates_args=())
def backward(dy: Tensor, x: Tensor) -> Tensor:
    """Run `backward_kernel`."""
    dx = torch.empty_like(x)
    with on_device(x):
        backward_kernel[(triton.cdiv(x.numel(), TILE.cols),)](dy, x, dx, x.numel(), TILE.cols, **options(TILE))
    return dx


@forward.register_fake
def _(x):
    return torch.empty_like(x)


@backward.register_fake
def _(dy, x):
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, dy: Tensor) -> Tensor:
    return backward(dy.contiguous(), *ctx.saved_tensors)


forward.register_autograd(_gradients, setup_context=_keep)


def gelu(x: Tensor) -> Tensor:
    """``x * Phi(x)`` (Hendrycks and Gimpel 2016), not the tanh approximation; any shape, only x is kept."""
    return forward(*activations(x))
