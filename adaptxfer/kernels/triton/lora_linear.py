"""LoRA on a frozen linear layer: what is not a plain matrix product, with dropout by counter instead of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from adaptxfer.kernels.triton.bottleneck_tiles import load_rows, store_rows
from adaptxfer.kernels.triton.parts import (
    activations,
    bound,
    draw_seed,
    kept,
    on_device,
    options,
    padded,
    precision,
    product,
    rounded,
    tile_for,
)

if TYPE_CHECKING:
    from adaptxfer.kernels.lora_linear import Update

PARTS = 16
"""Parts of the sums over rows, added up in a fixed order."""


@triton.jit
def dropped(x, seed_ptr, stream, rows, first, p, COLS: tl.constexpr):
    """Dropout on a tile, rounded to its dtype."""
    wide = tl.where(kept(seed_ptr, stream, rows, first, p, COLS), x.to(tl.float32) / (1.0 - p), 0.0)
    return rounded(wide, x.dtype)


@triton.jit
def shrink_kernel(
    x_ptr, a_ptr, seed_ptr, out_ptr, T, p,
    K: tl.constexpr, RANK: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out[:, i] = dropout_i(x) A_i^T; a is (updates, RANK, K), out (T, updates, RANK)."""
    number = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    inside = rows < T
    start = rows.to(tl.int64)[:, None] * K
    inner = tl.arange(0, RANK)
    total = tl.zeros((ROWS, RANK), tl.float32)
    for first in range(0, K, COLS):
        x = load_rows(x_ptr, start, first, inside, COLS)
        x = dropped(x, seed_ptr, number, rows, first, p, COLS)
        cols = first + tl.arange(0, COLS)
        a = tl.load(a_ptr + (number * RANK + inner)[None, :] * K + cols[:, None])
        total = product(x, a, total, PRECISION)
    place = out_ptr + (rows.to(tl.int64)[:, None] * tl.num_programs(0) + number) * RANK + inner[None, :]
    tl.store(place, rounded(total, x_ptr.dtype.element_ty), mask=inside[:, None])


@triton.jit
def spread_kernel(
    dx_ptr, a_ptr, ds_ptr, seed_ptr, T, p,
    K: tl.constexpr, RANK: tl.constexpr, COUNT: tl.constexpr, DROP: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Dx += sum_i dropout_i(ds_i A_i), in place, for all updates in one pass; ds is (T, updates, RANK)."""
    first = tl.program_id(0) * COLS
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    inside = rows < T
    start = rows.to(tl.int64)[:, None] * K
    inner = tl.arange(0, RANK)
    cols = first + tl.arange(0, COLS)
    total = load_rows(dx_ptr, start, first, inside, COLS).to(tl.float32)
    for number in tl.static_range(COUNT):
        place = ds_ptr + (rows.to(tl.int64)[:, None] * COUNT + number) * RANK + inner[None, :]
        ds = tl.load(place, mask=inside[:, None], other=0.0)
        a = tl.load(a_ptr + (number * RANK + inner)[:, None] * K + cols[None, :])
        change = product(ds, a, tl.zeros((ROWS, COLS), tl.float32), PRECISION)
        if DROP:
            change = tl.where(kept(seed_ptr, number, rows, first, p, COLS), change / (1.0 - p), 0.0)
        total += change
    store_rows(dx_ptr, start, first, inside, total, COLS)


@triton.jit
def grads_kernel(
    x_ptr, ds_ptr, seed_ptr, part_ptr, T, p, parts, steps,
    K: tl.constexpr, RANK: tl.constexpr, COUNT: tl.constexpr, DROP: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dA_i = ds_i^T dropout_i(x), from every ``parts``-th block of rows; parts are (parts, updates, RANK, K)."""
    first = tl.program_id(0) * COLS
    part = tl.program_id(1)
    number = tl.program_id(2)
    inner = tl.arange(0, RANK)
    total = tl.zeros((RANK, COLS), tl.float32)
    for step in range(0, steps):
        rows = (step * parts + part) * ROWS + tl.arange(0, ROWS)
        inside = rows < T
        x = load_rows(x_ptr, rows.to(tl.int64)[:, None] * K, first, inside, COLS)
        if DROP:
            x = dropped(x, seed_ptr, number, rows, first, p, COLS)
        place = ds_ptr + (rows.to(tl.int64)[:, None] * COUNT + number) * RANK + inner[None, :]
        ds = tl.load(place, mask=inside[:, None], other=0.0)
        total = product(tl.trans(ds), x, total, PRECISION)
    base = (part * COUNT + number).to(tl.int64) * RANK
    cols = first + tl.arange(0, COLS)
    tl.store(part_ptr + (base + inner)[:, None] * K + cols[None, :], total)


def _meta(op: str, x: Tensor, rank: int) -> dict[str, Any]:
    tile = tile_for(op, x, rank)
    meta = {"K": x.shape[1], "RANK": rank, "ROWS": tile.rows, "COLS": tile.cols}
    return {**meta, "PRECISION": precision(x.dtype), **options(tile)}


@torch.library.custom_op("adaptxfer::lora_shrink", mutates_args=())
def shrink(x: Tensor, a: Tensor, seed: Tensor | None, p: float) -> Tensor:
    """(T, updates, rank) of dropout_i(x) A_i^T; ``a`` is (updates, rank, K), the rank padded."""
    count, rank, width = a.shape
    if p == 0:
        return (x @ a.view(-1, width).t()).view(-1, count, rank)
    out, meta = x.new_empty(len(x), count, rank), _meta("lora_shrink", x, rank)
    with on_device(x):
        shrink_kernel[(count, triton.cdiv(len(x), meta["ROWS"]))](x, a, seed, out, len(x), p, **meta)
    return out


@shrink.register_fake
def _(x, a, seed, p):
    return x.new_empty(x.shape[0], *a.shape[:2])


@torch.library.custom_op("adaptxfer::lora_spread", mutates_args={"dx"})
def spread(dx: Tensor, a: Tensor, ds: Tensor, seed: Tensor | None, p: float) -> None:
    """Run `spread_kernel`."""
    count, width, meta = len(a), a.shape[2], _meta("lora_spread", dx, a.shape[1])
    with on_device(dx):
        spread_kernel[(width // meta["COLS"], triton.cdiv(len(dx), meta["ROWS"]))](
            dx, a, ds, seed, len(dx), p, COUNT=count, DROP=p > 0, **meta
        )


@torch.library.custom_op("adaptxfer::lora_gradients", mutates_args=())
def gradients(x: Tensor, ds: Tensor, seed: Tensor | None, p: float) -> Tensor:
    """(updates, rank, K) float32 gradients of all A."""
    (_, count, rank), meta = ds.shape, _meta("lora_gradients", x, ds.shape[2])
    parts = max(1, min(PARTS, triton.cdiv(len(x), meta["ROWS"])))
    steps = bound(triton.cdiv(len(x), parts * meta["ROWS"]))
    part = torch.empty(parts, count, rank, x.shape[1], dtype=torch.float32, device=x.device)
    with on_device(x):
        grads_kernel[(x.shape[1] // meta["COLS"], parts, count)](
            x, ds, seed, part, len(x), p, parts, steps, COUNT=count, DROP=p > 0, **meta
        )
    return part.sum(0)


@gradients.register_fake
def _(x, ds, seed, p):
    return x.new_empty(*ds.shape[1:], x.shape[1], dtype=torch.float32)


class LoraLinear(torch.autograd.Function):
    """As `adaptxfer.kernels.reference.lora.LoraLinear`; kept: x and the narrow products, no masks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, seed: Tensor | None, setup: Any, *ab: Tensor):
        """(T, N); ``setup`` is (scales, columns, p), ``ab`` all A then all B."""
        scales, columns, p = setup
        downs, ups = ab[: len(scales)], ab[len(scales) :]
        weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
        a = _joined(downs, x.dtype)
        narrow = shrink(x, a, seed, p)
        y = x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())
        for i, (b, scale, column) in enumerate(zip(ups, scales, columns, strict=True)):
            y[:, column : column + len(b)].addmm_(narrow[:, i, : b.shape[1]], b.to(x.dtype).t(), alpha=scale)
        ctx.setup = setup
        ctx.save_for_backward(x, weight, seed, a, narrow, *ab)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor):
        """Gradients of x and of whatever weights ask for one."""
        x, weight, seed, a, narrow, *ab = ctx.saved_tensors
        scales, columns, p = ctx.setup
        count, needs = len(scales), ctx.needs_input_grad
        ds, dups = torch.zeros_like(narrow), []
        for i, (b, scale, column) in enumerate(zip(ab[count:], scales, columns, strict=True)):
            part, rank = dy[:, column : column + len(b)], b.shape[1]
            ds[:, i, :rank] = (part @ b.to(dy.dtype)).mul_(scale)
            dups.append((part.t() @ narrow[:, i, :rank]).mul_(scale).to(b.dtype) if needs[5 + count + i] else None)
        dx = None
        if needs[0]:
            dx = dy @ weight
            spread(dx, a, ds, seed, p)
        da = gradients(x, ds, seed, p) if any(needs[5 : 5 + count]) else None
        ddowns = [None if da is None else da[i, : len(d)].to(d.dtype) for i, d in enumerate(ab[:count])]
        dweight = dy.t() @ x if needs[1] else None
        return dx, dweight, dy.sum(0) if needs[2] else None, None, None, *ddowns, *dups


def _joined(downs: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """(updates, rank, K): all A in one dtype, padded with zeros to one rank."""
    rank = padded(max(len(down) for down in downs))
    return torch.stack([F.pad(down.to(dtype), (0, 0, 0, rank - len(down))) for down in downs])


def lora_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, updates: Sequence[Update], seed: Tensor | None = None
) -> Tensor:
    """As `adaptxfer.kernels.lora_linear.lora_linear`, for updates that share one dropout probability.

    Args:
        x: (T, K), K a multiple of 64.
        weight: (N, K).
        bias: (N,) or None.
        updates: one or more. Their weights may be float32 beside activations of 16 bits.
        seed: (1,) int64 of the dropout; update i has stream i of it. None draws one.

    Returns:
        (T, N).
    """
    (x,), p = activations(x), updates[0].dropout
    if p > 0 and seed is None:
        seed = draw_seed(x)
    setup = (tuple(u.scale for u in updates), tuple(u.column for u in updates), p)
    with torch.autocast(x.device.type, enabled=False):
        return LoraLinear.apply(x, weight, bias, seed, setup, *(u.a for u in updates), *(u.b for u in updates))
