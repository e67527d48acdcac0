"""Dropout, residual addition and LayerNorm in one pass over the rows, which stay in registers."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from adaptxfer.kernels.parts import Norm
from adaptxfer.kernels.tiles import Tile
from adaptxfer.kernels.triton.parts import activations, draw_seed, kept, on_device, options, rounded

MAX_WIDTH = 4096
"""Rows wider than this do not fit the registers of a block."""


@triton.jit
def forward_kernel(
    h_ptr, x_ptr, gamma_ptr, beta_ptr, seed_ptr, y_ptr, s_ptr, stats_ptr, T, p, eps,
    H: tl.constexpr, DROP: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """S = dropout(h) + x, y = LN(s); keeps s and (mean, 1 / deviation)."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, COLS)
    inside = (rows < T)[:, None] & (cols < H)[None, :]
    place = rows.to(tl.int64)[:, None] * H + cols[None, :]
    dtype: tl.constexpr = s_ptr.dtype.element_ty
    h = tl.load(h_ptr + place, mask=inside, other=0.0).to(tl.float32)
    if DROP:
        h = tl.where(kept(seed_ptr, 0, rows, 0, p, COLS), h / (1.0 - p), 0.0)
    s = rounded(h + tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32), dtype)
    tl.store(s_ptr + place, s, mask=inside)
    s = s.to(tl.float32)
    mean = tl.sum(s, 1) / H
    off = tl.where(inside, s - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(off * off, 1) / H + eps)
    tl.store(stats_ptr + rows, mean, mask=rows < T)
    tl.store(stats_ptr + T + rows, scale, mask=rows < T)
    gamma = tl.load(gamma_ptr + cols, mask=cols < H, other=0.0).to(tl.float32)
    beta = tl.load(beta_ptr + cols, mask=cols < H, other=0.0).to(tl.float32)
    y = off * scale[:, None] * gamma[None, :] + beta[None, :]
    tl.store(y_ptr + place, rounded(y, dtype), mask=inside)


@triton.jit
def backward_kernel(
    dy_ptr, s_ptr, stats_ptr, gamma_ptr, seed_ptr, ds_ptr, dh_ptr, T, p,
    H: tl.constexpr, DROP: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The gradient of s, and with dropout that of h."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, COLS)
    inside = (rows < T)[:, None] & (cols < H)[None, :]
    place = rows.to(tl.int64)[:, None] * H + cols[None, :]
    dtype: tl.constexpr = s_ptr.dtype.element_ty
    mean = tl.load(stats_ptr + rows, mask=rows < T, other=0.0)
    scale = tl.load(stats_ptr + T + rows, mask=rows < T, other=0.0)
    gamma = tl.load(gamma_ptr + cols, mask=cols < H, other=0.0).to(tl.float32)
    unit = (tl.load(s_ptr + place, mask=inside, other=0.0).to(tl.float32) - mean[:, None]) * scale[:, None]
    dy = tl.load(dy_ptr + place, mask=inside, other=0.0).to(tl.float32) * gamma[None, :]
    along = tl.sum(dy * unit, 1) / H
    level = tl.sum(dy, 1) / H
    ds = (dy - level[:, None] - unit * along[:, None]) * scale[:, None]
    tl.store(ds_ptr + place, rounded(ds, dtype), mask=inside)
    if DROP:
        dh = tl.where(kept(seed_ptr, 0, rows, 0, p, COLS), ds / (1.0 - p), 0.0)
        tl.store(dh_ptr + place, rounded(dh, dtype), mask=inside)


def rows_tile(width: int) -> Tile:
    """As many whole rows as keep 32 values of each in a thread."""
    cols = triton.next_power_of_2(width)
    warps = 4 if cols <= 1024 else 8
    return Tile(max(1, 32 * 32 * warps // cols), max(cols, 4), warps, 1)


@torch.library.custom_op("adaptxfer::add_norm", mutates_args=())
def forward(
    h: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, seed: Tensor | None, p: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(y, s, stats) of `forward_kernel`; stats is (2, T) float32."""
    (count, width), tile = h.shape, rows_tile(h.shape[1])
    y, s = torch.empty_like(h), torch.empty_like(h)
    stats = torch.empty(2, count, dtype=torch.float32, device=h.device)
    with on_device(h):
        forward_kernel[(triton.cdiv(count, tile.rows),)](
            h, x, gamma, beta, seed, y, s, stats, count, p, eps,
            H=width, DROP=p > 0, ROWS=tile.rows, COLS=tile.cols, **options(tile),
        )  # fmt: skip
    return y, s, stats


@forward.register_fake
def _(h, x, gamma, beta, seed, p, eps):
    return torch.empty_like(h), torch.empty_like(h), h.new_empty((2, h.shape[0]), dtype=torch.float32)


@torch.library.custom_op("adaptxfer::add_norm_backward", mutates_args=())
def backward(
    dy: Tensor, s: Tensor, stats: Tensor, gamma: Tensor, seed: Tensor | None, p: float
) -> tuple[Tensor, Tensor]:
    """(ds, dh); without dropout they are equal and dh is left empty."""
    (count, width), tile = s.shape, rows_tile(s.shape[1])
    ds, dh = torch.empty_like(s), torch.empty_like(s) if p > 0 else s.new_empty(0)
    with on_device(s):
        backward_kernel[(triton.cdiv(count, tile.rows),)](
            dy, s, stats, gamma, seed, ds, dh, count, p,
            H=width, DROP=p > 0, ROWS=tile.rows, COLS=tile.cols, **options(tile),
        )  # fmt: skip
    return ds, dh


@backward.register_fake
def _(dy, s, stats, gamma, seed, p):
    return torch.empty_like(s), torch.empty_like(s) if p > 0 else s.new_empty(0)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, _, gamma, _, seed, ctx.p, _ = inputs
    ctx.save_for_backward(*output[1:], gamma, seed)


def _gradients(ctx: Any, dy: Tensor, *_: Tensor):
    s, stats, gamma, seed = ctx.saved_tensors
    ds, dh = backward(dy.contiguous(), s, stats, gamma, seed, ctx.p)
    return (dh if ctx.p > 0 else ds), ds, None, None, None, None, None


forward.register_autograd(_gradients, setup_context=_keep)


def add_norm(h: Tensor, x: Tensor, norm: Norm, p: float = 0.0, seed: Tensor | None = None) -> Tensor:
    """As `adaptxfer.kernels.add_norm.add_norm`, for a norm that does not train.

    Args:
        h: (T, H) output of the sub-layer, H up to ``MAX_WIDTH``.
        x: (T, H) its input.
        norm: LayerNorm without gradients.
        p: dropout probability.
        seed: (1,) int64 of the dropout; None draws one.

    Returns:
        (T, H).
    """
    if p > 0 and seed is None:
        seed = draw_seed(h)
    return forward(*activations(h, x), norm.weight, norm.bias, seed, p, norm.eps)[0]
