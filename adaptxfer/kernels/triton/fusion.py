"""AdapterFusion in the width of the bottlenecks: two matrix products around one kernel per row."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from adaptxfer.kernels.tiles import Tile
from adaptxfer.kernels.triton.parts import (
    ACTS,
    activate,
    activations,
    draw_seed,
    kept,
    on_device,
    options,
    rounded,
    slope,
)

ALIGNED = 8
"""Widths of matrix products are rounded up to multiples of this many columns, of zeros."""


@triton.jit
def clear(ptr, rows, first, inside, STRIDE: tl.constexpr):
    """Zeros in the columns from ``first`` on, fewer than ALIGNED = 8: they take part in matrix products."""
    cols = first + tl.arange(0, 8)
    zero = tl.zeros((rows.shape[0], 8), tl.float32).to(ptr.dtype.element_ty)
    tl.store(ptr + rows[:, None] * STRIDE + cols[None, :], zero, mask=inside[:, None] & (cols < STRIDE)[None, :])


@triton.jit
def forward_kernel(
    row_ptr, seed_ptr, out_ptr, p_ptr, T, p_drop,
    N: tl.constexpr, D: tl.constexpr, SLOTS: tl.constexpr, WIDTH: tl.constexpr, ACT: tl.constexpr,
    STRIDE: tl.constexpr, OUT: tl.constexpr, DROP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """[a | e | f] to [p * d | p]: d = act(a), p = softmax(dropout(<d, e> + f)) over the N adapters."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    wide = rows.to(tl.int64)
    slot = tl.arange(0, SLOTS)
    inner = tl.arange(0, WIDTH)
    each = (rows < T)[:, None] & (slot < N)[None, :]
    inside = each[:, :, None] & (inner < D)[None, None, :]
    place = wide[:, None, None] * STRIDE + slot[None, :, None] * D + inner[None, None, :]
    dtype: tl.constexpr = row_ptr.dtype.element_ty
    a = tl.load(row_ptr + place, mask=inside, other=0.0).to(tl.float32)
    e = tl.load(row_ptr + place + N * D, mask=inside, other=0.0).to(tl.float32)
    f = tl.load(row_ptr + wide[:, None] * STRIDE + 2 * N * D + slot[None, :], mask=each, other=0.0).to(tl.float32)
    d = activate(a, ACT)
    score = tl.sum(d * e, 2) + f
    if DROP:
        score = tl.where(kept(seed_ptr, 0, rows, 0, p_drop, SLOTS), score / (1.0 - p_drop), 0.0)
    score = tl.where((slot < N)[None, :], score, float("-inf"))
    p = tl.exp(score - tl.max(score, 1)[:, None])
    p = p / tl.sum(p, 1)[:, None]
    tl.store(p_ptr + wide[:, None] * N + slot[None, :], p, mask=each)
    place = wide[:, None, None] * OUT + slot[None, :, None] * D + inner[None, None, :]
    tl.store(out_ptr + place, rounded(d * p[:, :, None], dtype), mask=inside)
    tl.store(out_ptr + wide[:, None] * OUT + N * D + slot[None, :], rounded(p, dtype), mask=each)
    clear(out_ptr, wide, N * D + N, rows < T, OUT)


@triton.jit
def backward_kernel(
    row_ptr, seed_ptr, p_ptr, dout_ptr, drow_ptr, T, p_drop,
    N: tl.constexpr, D: tl.constexpr, SLOTS: tl.constexpr, WIDTH: tl.constexpr, ACT: tl.constexpr,
    STRIDE: tl.constexpr, OUT: tl.constexpr, DROP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Gradient of the row."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    wide = rows.to(tl.int64)
    slot = tl.arange(0, SLOTS)
    inner = tl.arange(0, WIDTH)
    each = (rows < T)[:, None] & (slot < N)[None, :]
    inside = each[:, :, None] & (inner < D)[None, None, :]
    place = wide[:, None, None] * STRIDE + slot[None, :, None] * D + inner[None, None, :]
    grad_place = wide[:, None, None] * OUT + slot[None, :, None] * D + inner[None, None, :]
    dtype: tl.constexpr = row_ptr.dtype.element_ty
    a = tl.load(row_ptr + place, mask=inside, other=0.0).to(tl.float32)
    d = activate(a, ACT)
    p = tl.load(p_ptr + wide[:, None] * N + slot[None, :], mask=each, other=0.0)
    weighted = tl.load(dout_ptr + grad_place, mask=inside, other=0.0).to(tl.float32)
    own = tl.load(dout_ptr + wide[:, None] * OUT + N * D + slot[None, :], mask=each, other=0.0).to(tl.float32)
    dp = tl.sum(weighted * d, 2) + own
    score = p * (dp - tl.sum(p * dp, 1)[:, None])
    if DROP:
        score = tl.where(kept(seed_ptr, 0, rows, 0, p_drop, SLOTS), score / (1.0 - p_drop), 0.0)
    tl.store(drow_ptr + place + N * D, rounded(score[:, :, None] * d, dtype), mask=inside)
    e = tl.load(row_ptr + place + N * D, mask=inside, other=0.0).to(tl.float32)
    da = (weighted * p[:, :, None] + score[:, :, None] * e) * slope(a, ACT)
    tl.store(drow_ptr + place, rounded(da, dtype), mask=inside)
    tl.store(drow_ptr + wide[:, None] * STRIDE + 2 * N * D + slot[None, :], rounded(score, dtype), mask=each)
    clear(drow_ptr, wide, 2 * N * D + N, rows < T, STRIDE)


def aligned(width: int) -> int:
    """The next multiple of ``ALIGNED``."""
    return triton.cdiv(width, ALIGNED) * ALIGNED


def mix_tile(count: int) -> Tile:
    """Rows per block for ``count`` adapters; see `benchmarks/aot.py`."""
    return Tile(8, 0, 4, 1) if count <= 4 else Tile(4, 0, 4, 1)


def meta(count: int, width: int, act: str, stride: int, p: float) -> dict[str, Any]:
    """Constants of both kernels for rows of ``stride`` columns."""
    tile = mix_tile(count)
    return {
        "N": count, "D": width, "SLOTS": max(4, triton.next_power_of_2(count)), "WIDTH": triton.next_power_of_2(width),
        "ACT": ACTS[act], "STRIDE": stride, "OUT": aligned(count * (width + 1)), "DROP": p > 0, "ROWS": tile.rows,
        **options(tile),
    }  # fmt: skip


@torch.library.custom_op("adaptxfer::fusion_mix", mutates_args=())
def forward(row: Tensor, seed: Tensor | None, count: int, width: int, act: str, p: float) -> tuple[Tensor, Tensor]:
    """(out, p) of `forward_kernel`; row is (T, aligned(2 N D + N)), out (T, aligned(N D + N)), p (T, N) float32."""
    constants = meta(count, width, act, row.shape[1], p)
    out = row.new_empty(len(row), constants["OUT"])
    shares = torch.empty(len(row), count, dtype=torch.float32, device=row.device)
    with on_device(row):
        grid = (triton.cdiv(len(row), constants["ROWS"]),)
        forward_kernel[grid](row, seed, out, shares, len(row), p, **constants)
    return out, shares


@forward.register_fake
def _(row, seed, count, width, act, p):
    shares = row.new_empty((row.shape[0], count), dtype=torch.float32)
    return row.new_empty(row.shape[0], aligned(count * (width + 1))), shares


@torch.library.custom_op("adaptxfer::fusion_mix_backward", mutates_args=())
def backward(
    dout: Tensor, row: Tensor, shares: Tensor, seed: Tensor | None, count: int, width: int, act: str, p: float
) -> Tensor:
    """Gradient of the row."""
    constants, drow = meta(count, width, act, row.shape[1], p), torch.empty_like(row)
    with on_device(row):
        grid = (triton.cdiv(len(row), constants["ROWS"]),)
        backward_kernel[grid](row, seed, shares, dout, drow, len(row), p, **constants)
    return drow


@backward.register_fake
def _(dout, row, shares, seed, count, width, act, p):
    return torch.empty_like(row)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    row, seed, *ctx.rest = inputs
    ctx.save_for_backward(row, output[1], seed)


def _gradients(ctx: Any, dout: Tensor, _: Tensor):
    return backward(dout.contiguous(), *ctx.saved_tensors, *ctx.rest), None, None, None, None, None


forward.register_autograd(_gradients, setup_context=_keep)


def mixture(
    z: Tensor,
    wide: Tensor,
    offsets: Tensor,
    values: Tensor,
    count: int,
    act: str,
    p: float = 0.0,
    seed: Tensor | None = None,
) -> Tensor:
    """The part of `adaptxfer.kernels.fusion.adapter_fusion` that depends on the tokens.

    Args:
        z: (T, H) the LN of the running sum.
        wide: (2 N D + N, H) the folded weights that read z.
        offsets: (2 N D + N,) what is added to their products.
        values: (H, N D + N) the folded weights that write the result.
        count: N, few enough for the registers of a block (`adaptxfer.kernels.dispatch.MOST_FUSED`).
        act: activation of the bottlenecks.
        p: dropout probability of the scores.
        seed: (1,) int64 of this dropout; None draws one.

    Returns:
        (T, H), without the residual.
    """
    (z,) = activations(z)
    if p > 0 and seed is None:
        seed = draw_seed(z)
    with torch.autocast(z.device.type, enabled=False):
        rows, cols = aligned(len(wide)) - len(wide), aligned(values.shape[1]) - values.shape[1]
        wide, offsets = F.pad(wide.to(z.dtype), (0, 0, 0, rows)), F.pad(offsets.to(z.dtype), (0, rows))
        row = torch.addmm(offsets, z, wide.t())
        mixed, _ = forward(row, seed, count, values.shape[1] // count - 1, act, p)
        return mixed @ F.pad(values.to(z.dtype), (0, cols)).t()
