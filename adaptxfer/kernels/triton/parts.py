"""What the kernels share: rounding, products, activations, row statistics, dropout by counter, and launching."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from adaptxfer.kernels.tiles import SAFE, Tile, tile

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
"""Kernels run on the CPU by the interpreter, which needs help with bf16: see `rounded` and `product`."""
ACTS = {"relu": 0, "gelu": 1, "swish": 2}


@triton.jit
def rounded(values, dtype: tl.constexpr):
    """Float32 to the dtype of the activations, to the nearest, ties to even."""
    if INTERPRETED and dtype == tl.bfloat16:  # the interpreter cuts the low bits off instead
        bits = values.to(tl.uint32, bitcast=True)
        values = (bits + 0x7FFF + ((bits >> 16) & 1)).to(tl.float32, bitcast=True)
    return values.to(dtype)


@triton.jit
def product(left, right, total, PRECISION: tl.constexpr):
    """Total + left @ right, added up in float32."""
    if INTERPRETED:  # it would multiply the bit patterns of bf16
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, total, input_precision=PRECISION)


@triton.jit
def activate(a, ACT: tl.constexpr):
    """The activation numbered in ACTS, elementwise on float32."""
    if ACT == 0:
        return tl.where(a != a, a, tl.maximum(a, 0.0))  # NaN stays NaN
    elif ACT == 1:
        return 0.5 * a * (1.0 + tl.erf(a * 0.7071067811865476))
    else:
        return a * tl.sigmoid(a)


@triton.jit
def slope(a, ACT: tl.constexpr):
    """Derivative of `activate`."""
    if ACT == 0:
        return tl.where(a > 0, 1.0, 0.0)
    elif ACT == 1:
        return 0.5 * (1.0 + tl.erf(a * 0.7071067811865476)) + a * 0.3989422804014327 * tl.exp(-0.5 * a * a)
    else:
        share = tl.sigmoid(a)
        return share * (1.0 + a * (1.0 - share))


@triton.jit
def merged(mean, spread, seen, tile, WIDTH: tl.constexpr):
    """Row means and summed squared deviations of ``seen`` columns, joined with those of a tile (Chan et al. 1983).

    The difference of E[x^2] and E[x]^2 would cancel in rows with outliers, and XLM-R has them.
    """
    tile_mean = tl.sum(tile, 1) / WIDTH
    off = tile - tile_mean[:, None]
    step = tile_mean - mean
    share = WIDTH / (seen + WIDTH)
    return mean + step * share, spread + tl.sum(off * off, 1) + step * step * (seen * share)


@triton.jit
def kept(seed_ptr, stream, rows, first, p, WIDTH: tl.constexpr):
    """(rows, WIDTH) elements that dropout with probability ``p`` leaves, for the columns from ``first`` on.

    Depends on the seed, the stream, row and column alone, not on tiles: Philox 4x32 with 7 rounds (Salmon et al. 2011),
    four neighbouring columns from one draw.
    """
    groups = first // 4 + tl.arange(0, WIDTH // 4)
    zero = (rows[:, None] * 0 + groups[None, :] * 0).to(tl.uint32)
    one, two, three, four = tl.philox(
        tl.load(seed_ptr), zero + rows[:, None], zero + groups[None, :], zero + stream, zero, 7
    )
    bits = tl.join(tl.join(one, three), tl.join(two, four))
    return tl.uint_to_uniform_float(tl.reshape(bits, (rows.shape[0], WIDTH))) >= p


@triton.jit
def kept_kernel(seed_ptr, mask_ptr, T, p, stream, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Write `kept` as inverted dropout factors, (T, WIDTH) float32."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    first = tl.program_id(1) * COLS
    cols = first + tl.arange(0, COLS)
    factor = tl.where(kept(seed_ptr, stream, rows, first, p, COLS), 1.0 / (1.0 - p), 0.0)
    inside = (rows < T)[:, None] & (cols < WIDTH)[None, :]
    tl.store(mask_ptr + rows.to(tl.int64)[:, None] * WIDTH + cols[None, :], factor, mask=inside)


@triton.jit
def placed(table_ptr, number):
    """An entry of a `group_table`: group, block of the group, first row of the group, its number of rows."""
    entry = table_ptr + number * 4
    return tl.load(entry), tl.load(entry + 1), tl.load(entry + 2).to(tl.int64), tl.load(entry + 3)


@lru_cache(maxsize=256)
def group_table(sizes: tuple[int, ...], rows: int | None, device: torch.device) -> Tensor:
    """(entries, 4) int32 for kernels over groups of consecutive rows.

    Args:
        sizes: rows of each group.
        rows: of a block, for one entry per block; None for one entry per group.
        device: where the kernel runs.
    """
    entries, first = [], 0
    for group, size in enumerate(sizes):
        blocks = 1 if rows is None else triton.cdiv(size, rows)
        entries += [(group, block, first, size) for block in range(blocks)]
        first += size
    return torch.tensor(entries, dtype=torch.int32, device=device).view(-1, 4)


def blocks_of(sizes: Sequence[int] | None, rows: int, like: Tensor) -> tuple[Tensor | None, int]:
    """The `group_table` of blocks of ``rows`` rows, None where all rows are of one run, and the number of blocks."""
    if sizes is None:
        return None, triton.cdiv(len(like), rows)
    table = group_table(tuple(sizes), rows, like.device)
    return table, len(table)


def mask_of(seed: Tensor, stream: int, rows: int, width: int, p: float) -> Tensor:
    """(rows, width) float32 factors that a kernel with this seed and stream applies: for tests and references."""
    mask = torch.empty(rows, width, device=seed.device)
    with on_device(seed):
        kept_kernel[(triton.cdiv(rows, 16), triton.cdiv(width, 64))](seed, mask, rows, p, stream, width, 16, 64)
    return mask


def draw_seed(like: Tensor) -> Tensor:
    """(1,) int64 on the device, from torch's generator: reproducible, and new in each replay of a CUDA graph."""
    return torch.randint(2**63 - 1, (1,), device=like.device)


def on_device(tensor: Tensor) -> AbstractContextManager[Any]:
    """Kernels launch on the current device: make it the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def activations(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors contiguous and in one dtype: autocast's where that is on, else that of the first."""
    device = tensors[0].device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensors[0].dtype
    return tuple(tensor.to(dtype).contiguous() for tensor in tensors)


def options(tile: Tile) -> dict[str, Any]:
    """Launch options; contraction to fused multiply-adds is set because its default changes between releases."""
    return {"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True}


def tile_for(op: str, rows: Tensor, inner: int, count: int = 1) -> Tile:
    """The tile of an operation on (T, H) rows whose columns divide H; ``count`` adapters in one kernel.

    The table is for 16 bits; float32 would need twice the shared memory and takes the safe tile.
    """
    if rows.is_cuda and rows.dtype != torch.float32:
        found = tile(f"{op}_{count}", padded(inner), len(rows), torch.cuda.get_device_capability(rows.device))
    else:
        found = SAFE
    return found._replace(cols=math.gcd(found.cols, rows.shape[1]))


def bound(number: int) -> Any:
    """A number that a loop runs up to: the interpreter takes no run-time value there (with numpy 2.4)."""
    return tl.constexpr(number) if INTERPRETED else number


def precision(dtype: torch.dtype) -> str:
    """Products of float32 in float32, not tf32."""
    return "ieee" if dtype == torch.float32 else "tf32"


def padded(width: int) -> int:
    """The inner width of tiles: a power of two, 16 at least."""
    return max(16, triton.next_power_of_2(width))
