"""LoRA on a frozen linear layer: what is not a plain matrix product, with dropout by counter instead of masks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from adaptxfer.kernels.triton.bottleneck_tiles import load_rows, rows_of_block, store_rows
from adaptxfer.kernels.triton.parts import (
    activations,
    blocks_of,
    bound,
    draw_seed,
    group_table,
    kept,
    on_device,
    options,
    padded,
    placed,
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
    x_ptr, a_ptr, seed_ptr, out_ptr, table_ptr, T, p,
    K: tl.constexpr, RANK: tl.constexpr, DROP: tl.constexpr, GROUPED: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out[:, i] = dropout_i(x) A_i^T; a is (groups, updates, RANK, K), out (T, updates, RANK)."""
    number, count = tl.program_id(0), tl.num_programs(0)
    group, before, T, block = rows_of_block(tl.program_id(1), table_ptr, T, K, ROWS, GROUPED)
    rows, inside, start = block
    inner = tl.arange(0, RANK)
    total = tl.zeros((ROWS, RANK), tl.float32)
    for first in range(0, K, COLS):
        x = load_rows(x_ptr, start, first, inside, COLS)
        if DROP:
            x = dropped(x, seed_ptr + group, number, rows, first, p, COLS)
        cols = first + tl.arange(0, COLS)
        a = tl.load(a_ptr + ((group * count + number) * RANK + inner)[None, :] * K + cols[:, None])
        total = product(x, a, total, PRECISION)
    place = out_ptr + ((rows + before).to(tl.int64)[:, None] * count + number) * RANK + inner[None, :]
    tl.store(place, rounded(total, x_ptr.dtype.element_ty), mask=inside[:, None])


@triton.jit
def spread_kernel(
    dx_ptr, a_ptr, ds_ptr, seed_ptr, table_ptr, T, p,
    K: tl.constexpr, RANK: tl.constexpr, COUNT: tl.constexpr, DROP: tl.constexpr, GROUPED: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Dx += sum_i dropout_i(ds_i A_i), in place, for all updates in one pass; ds is (T, updates, RANK)."""
    first = tl.program_id(0) * COLS
    group, before, T, block = rows_of_block(tl.program_id(1), table_ptr, T, K, ROWS, GROUPED)
    rows, inside, start = block
    inner = tl.arange(0, RANK)
    cols = first + tl.arange(0, COLS)
    total = load_rows(dx_ptr, start, first, inside, COLS).to(tl.float32)
    for number in tl.static_range(COUNT):
        place = ds_ptr + ((rows + before).to(tl.int64)[:, None] * COUNT + number) * RANK + inner[None, :]
        ds = tl.load(place, mask=inside[:, None], other=0.0)
        a = tl.load(a_ptr + ((group * COUNT + number) * RANK + inner)[:, None] * K + cols[None, :])
        change = product(ds, a, tl.zeros((ROWS, COLS), tl.float32), PRECISION)
        if DROP:
            change = tl.where(kept(seed_ptr + group, number, rows, first, p, COLS), change / (1.0 - p), 0.0)
        total += change
    store_rows(dx_ptr, start, first, inside, total, COLS)


@triton.jit
def grads_kernel(
    x_ptr, ds_ptr, seed_ptr, part_ptr, table_ptr, T, p, parts, steps,
    K: tl.constexpr, RANK: tl.constexpr, COUNT: tl.constexpr, DROP: tl.constexpr, GROUPED: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dA_i = ds_i^T dropout_i(x), from every ``parts``-th block of rows; (groups, parts, updates, RANK, K)."""
    first = tl.program_id(0) * COLS
    part = tl.program_id(1)
    group, number, before = tl.program_id(2) // COUNT, tl.program_id(2) % COUNT, 0
    if GROUPED:
        _, _, before, T = placed(table_ptr, group)
    inner = tl.arange(0, RANK)
    total = tl.zeros((RANK, COLS), tl.float32)
    for step in range(0, steps):
        rows = (step * parts + part) * ROWS + tl.arange(0, ROWS)
        inside = rows < T
        wide = (rows + before).to(tl.int64)[:, None]
        x = load_rows(x_ptr, wide * K, first, inside, COLS)
        if DROP:
            x = dropped(x, seed_ptr + group, number, rows, first, p, COLS)
        ds = tl.load(ds_ptr + (wide * COUNT + number) * RANK + inner[None, :], mask=inside[:, None], other=0.0)
        total = product(tl.trans(ds), x, total, PRECISION)
    base = ((group * parts + part) * COUNT + number).to(tl.int64) * RANK
    cols = first + tl.arange(0, COLS)
    tl.store(part_ptr + (base + inner)[:, None] * K + cols[None, :], total)


def _meta(op: str, x: Tensor, rank: int, p: float, sizes: Sequence[int] | None) -> dict[str, Any]:
    tile = tile_for(op, x, rank)
    meta = {"K": x.shape[1], "RANK": rank, "ROWS": tile.rows, "COLS": tile.cols, "DROP": p > 0}
    return {**meta, "GROUPED": sizes is not None, "PRECISION": precision(x.dtype), **options(tile)}


@torch.library.custom_op("adaptxfer::lora_shrink", mutates_args=())
def shrink(x: Tensor, a: Tensor, seed: Tensor | None, p: float, sizes: Sequence[int] | None) -> Tensor:
    """(T, updates, rank) of dropout_i(x) A_i^T; ``a`` is (groups, updates, rank, K), the rank padded.

    With ``sizes`` rows come in groups, and seeds are (groups,); else there is one group.
    """
    _, count, rank, width = a.shape
    if p == 0 and sizes is None:
        return (x @ a.view(-1, width).t()).view(-1, count, rank)
    out, meta = x.new_empty(len(x), count, rank), _meta("lora_shrink", x, rank, p, sizes)
    table, blocks = blocks_of(sizes, meta["ROWS"], x)
    with on_device(x):
        shrink_kernel[(count, blocks)](x, a, seed, out, table, len(x), p, **meta)
    return out


@shrink.register_fake
def _(x, a, seed, p, sizes):
    return x.new_empty(x.shape[0], *a.shape[1:3])


@torch.library.custom_op("adaptxfer::lora_spread", mutates_args={"dx"})
def spread(dx: Tensor, a: Tensor, ds: Tensor, seed: Tensor | None, p: float, sizes: Sequence[int] | None) -> None:
    """Run `spread_kernel`."""
    _, count, rank, width = a.shape
    meta = _meta("lora_spread", dx, rank, p, sizes)
    table, blocks = blocks_of(sizes, meta["ROWS"], dx)
    with on_device(dx):
        spread_kernel[(width // meta["COLS"], blocks)](dx, a, ds, seed, table, len(dx), p, COUNT=count, **meta)


@torch.library.custom_op("adaptxfer::lora_gradients", mutates_args=())
def gradients(x: Tensor, ds: Tensor, seed: Tensor | None, p: float, sizes: Sequence[int] | None) -> Tensor:
    """(groups, updates, rank, K) float32 gradients of all A."""
    (_, count, rank), meta = ds.shape, _meta("lora_gradients", x, ds.shape[2], p, sizes)
    groups, most = len(sizes or [0]), max(sizes or [len(x)])
    parts = max(1, min(PARTS, triton.cdiv(most, meta["ROWS"])))
    steps = bound(triton.cdiv(most, parts * meta["ROWS"]))
    part = torch.empty(groups, parts, count, rank, x.shape[1], dtype=torch.float32, device=x.device)
    table = None if sizes is None else group_table(tuple(sizes), None, x.device)
    with on_device(x):
        grads_kernel[(x.shape[1] // meta["COLS"], parts, groups * count)](
            x, ds, seed, part, table, len(x), p, parts, steps, COUNT=count, **meta
        )
    return part.sum(1)


@gradients.register_fake
def _(x, ds, seed, p, sizes):
    return x.new_empty(len(sizes or [0]), *ds.shape[1:], x.shape[1], dtype=torch.float32)


class Setup(NamedTuple):
    """What is not a tensor: scale and first column of each update, their dropout, and the rows of each group."""

    scales: tuple[float, ...]
    columns: tuple[int, ...]
    p: float
    sizes: list[int] | None

    def places(self) -> Iterator[tuple[slice, int, float, int]]:
        """Rows, number, scale and column of each update, group by group."""
        ends = [0, *itertools.accumulate(self.sizes)] if self.sizes else [None, None]
        for rows in itertools.starmap(slice, itertools.pairwise(ends)):
            for number, (scale, column) in enumerate(zip(self.scales, self.columns, strict=True)):
                yield rows, number, scale, column


class LoraLinear(torch.autograd.Function):
    """As `adaptxfer.kernels.reference.lora.LoraLinear`; kept: x and the narrow products, no masks."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, seed: Tensor | None, setup: Setup, *ab: Tensor
    ):
        """(T, N); ``ab`` are all A, group by group, then all B."""
        downs, ups = ab[: len(ab) // 2], ab[len(ab) // 2 :]
        weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
        a = _joined(downs, x.dtype, len(setup.scales))
        narrow = shrink(x, a, seed, setup.p, setup.sizes)
        y = x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())
        for b, (rows, i, scale, column) in zip(ups, setup.places(), strict=True):
            own = narrow[rows, i, : b.shape[1]]
            y[rows, column : column + len(b)].addmm_(own, b.to(x.dtype).t(), alpha=scale)
        ctx.setup = setup
        ctx.save_for_backward(x, weight, seed, a, narrow, *ab)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor):
        """Gradients of x and of whatever weights ask for one."""
        x, weight, seed, a, narrow, *ab = ctx.saved_tensors
        setup, needs, count = ctx.setup, ctx.needs_input_grad, len(ab) // 2
        ds, dups = torch.zeros_like(narrow), []
        for wanted, b, (rows, i, scale, column) in zip(needs[5 + count :], ab[count:], setup.places(), strict=True):
            part, rank = dy[rows, column : column + len(b)], b.shape[1]
            ds[rows, i, :rank] = (part @ b.to(dy.dtype)).mul_(scale)
            dups.append((part.t() @ narrow[rows, i, :rank]).mul_(scale).to(b.dtype) if wanted else None)
        dx = None
        if needs[0]:
            dx = dy @ weight
            spread(dx, a, ds, seed, setup.p, setup.sizes)
        ddowns: list[Tensor | None] = [None] * count
        if any(needs[5 : 5 + count]):
            da = gradients(x, ds, seed, setup.p, setup.sizes).flatten(0, 1)
            ddowns = [own[: len(down)].to(down.dtype) for own, down in zip(da, ab[:count], strict=True)]
        dweight = dy.t() @ x if needs[1] else None
        return dx, dweight, dy.sum(0) if needs[2] else None, None, None, *ddowns, *dups


def _joined(downs: Sequence[Tensor], dtype: torch.dtype, count: int) -> Tensor:
    """(groups, updates, rank, K): all A in one dtype, padded with zeros to one rank."""
    rank = padded(max(len(down) for down in downs))
    rows = torch.stack([F.pad(down.to(dtype), (0, 0, 0, rank - len(down))) for down in downs])
    return rows.view(-1, count, rank, rows.shape[2])


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
    if updates[0].dropout > 0 and seed is None:
        seed = draw_seed(x)
    return launch(x, weight, bias, [updates], seed, None)


def launch(
    x: Tensor, weight: Tensor, bias: Tensor | None, updates: Sequence[Sequence[Update]], seed: Tensor | None,
    sizes: list[int] | None,
) -> Tensor:  # fmt: skip
    """Run `LoraLinear` with the updates of every group; see `adaptxfer.kernels.triton.grouped.grouped_lora_linear`."""
    (x,), first = activations(x), updates[0]
    setup = Setup(tuple(u.scale for u in first), tuple(u.column for u in first), first[0].dropout, sizes)
    every = [update for own in updates for update in own]
    with torch.autocast(x.device.type, enabled=False):
        return LoraLinear.apply(x, weight, bias, seed, setup, *(u.a for u in every), *(u.b for u in every))
