"""Pieces of tiles that the forward and the backward kernels of the bottleneck share."""

from __future__ import annotations

import triton
import triton.language as tl

from adaptxfer.kernels.triton.parts import activate, kept, placed, product, rounded


@triton.jit
def load_rows(ptr, start, first, inside, COLS: tl.constexpr):
    """(rows, COLS) of a (T, H) tensor from column ``first`` on, in its dtype; 0 beyond the last row."""
    return tl.load(ptr + start + (first + tl.arange(0, COLS))[None, :], mask=inside[:, None], other=0.0)


@triton.jit
def store_rows(ptr, start, first, inside, tile, COLS: tl.constexpr):
    """Write a float32 tile, rounded to the dtype of the tensor."""
    place = ptr + start + (first + tl.arange(0, COLS))[None, :]
    tl.store(place, rounded(tile, ptr.dtype.element_ty), mask=inside[:, None])


@triton.jit
def load_cols(ptr, first, COLS: tl.constexpr):
    """(1, COLS) float32 of a vector."""
    return tl.load(ptr + first + tl.arange(0, COLS)).to(tl.float32)[None, :]


@triton.jit
def load_inner(ptr, D: tl.constexpr, WIDTH: tl.constexpr):
    """(1, WIDTH) float32 of a vector of D numbers, 0 beyond them."""
    inner = tl.arange(0, WIDTH)
    return tl.load(ptr + inner, mask=inner < D, other=0.0).to(tl.float32)[None, :]


@triton.jit
def load_weight(
    ptr, outer, inner, STRIDE: tl.constexpr, INNER_STRIDE: tl.constexpr, D: tl.constexpr, dtype: tl.constexpr
):
    """Weights at positions ``outer`` and, up to D, ``inner`` (which broadcast), in the dtype of the activations."""
    place = ptr + outer * STRIDE + inner * INNER_STRIDE
    if D % 16 == 0 and (D & (D - 1)) == 0:
        weight = tl.load(place)
    else:
        weight = tl.load(place, mask=inner < D, other=0.0)
    if ptr.dtype.element_ty != dtype:
        weight = rounded(weight.to(tl.float32), dtype)
    return weight


@triton.jit
def rows_of_block(number, table_ptr, T, H: tl.constexpr, ROWS: tl.constexpr, GROUPED: tl.constexpr):
    """Group of a block, first row and number of rows of the group, and (rows, inside, start) as `running` takes it.

    Rows count within their group. Without a `group_table` all rows are of one group.
    """
    group, before = 0, 0
    if GROUPED:
        group, number, before, T = placed(table_ptr, number)
    rows = number * ROWS + tl.arange(0, ROWS)
    return group, before, T, (rows, rows < T, (rows + before).to(tl.int64)[:, None] * H)


@triton.jit
def of_group(group, down_ptr, down_bias_ptr, up, D: tl.constexpr, H: tl.constexpr):
    """Weights of one group out of those that are stacked over groups; see `running` for ``up``."""
    wide = group * D * H
    return down_ptr + wide, down_bias_ptr + group * D, (up[0] + wide, up[1] + group * H, up[2], up[3])


@triton.jit
def load_narrow(ptr, rows, inside, STRIDE: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr):
    """(rows, WIDTH) of D columns of a (T, STRIDE) tensor, 0 beyond them."""
    inner = tl.arange(0, WIDTH)
    place = ptr + rows.to(tl.int64)[:, None] * STRIDE + inner[None, :]
    return tl.load(place, mask=inside[:, None] & (inner < D)[None, :], other=0.0)


@triton.jit
def store_narrow(ptr, rows, inside, tile, STRIDE: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr):
    """Write what `load_narrow` reads."""
    inner = tl.arange(0, WIDTH)
    place = ptr + rows.to(tl.int64)[:, None] * STRIDE + inner[None, :]
    tl.store(place, tile, mask=inside[:, None] & (inner < D)[None, :])


@triton.jit
def load_stats(ptr, number, rows, inside, T):
    """Mean and 1 / deviation of every row for LayerNorm ``number``, each (rows, 1)."""
    mean = tl.load(ptr + (2 * number) * T + rows, mask=inside, other=0.0)
    scale = tl.load(ptr + (2 * number + 1) * T + rows, mask=inside, other=0.0)
    return mean[:, None], scale[:, None]


@triton.jit
def finish_stats(ptr, number, rows, inside, T, mean, spread, eps, H: tl.constexpr):
    """Store what `load_stats` reads and give it back."""
    scale = tl.rsqrt(spread / H + eps)
    tl.store(ptr + (2 * number) * T + rows, mean, mask=inside)
    tl.store(ptr + (2 * number + 1) * T + rows, scale, mask=inside)
    return mean[:, None], scale[:, None]


@triton.jit
def activated(a, ACT: tl.constexpr):
    """The activation of a stored pre-activation, in its dtype."""
    return rounded(activate(a.to(tl.float32), ACT), a.dtype)


@triton.jit
def update(
    d, up_ptr, up_bias_ptr, first, rows, seed_ptr, stream, scale, p,
    D: tl.constexpr, DROP: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(rows, COLS) float32 of dropout(scale * (up d + up_bias)) from column ``first`` on."""
    cols = first + tl.arange(0, COLS)
    up = load_weight(up_ptr, cols[None, :], tl.arange(0, d.shape[1])[:, None], D, 1, D, d.dtype)
    u = product(d, up, tl.zeros((d.shape[0], COLS), tl.float32), PRECISION)
    u = (u + load_cols(up_bias_ptr, first, COLS)) * scale
    if DROP:
        u = tl.where(kept(seed_ptr, stream, rows, first, p, COLS), u / (1.0 - p), 0.0)
    return u


@triton.jit
def running(
    s_ptr, block, first, seed_ptr, d, up, d2, up2,
    D: tl.constexpr, D2: tl.constexpr, DROP: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(rows, COLS) float32 of s plus the update of the first adapter, and with D2 > 0 that of the second.

    ``block`` is (rows, inside, start), ``up`` and ``up2`` are (up_ptr, up_bias_ptr, scale, p).
    """
    rows, inside, start = block
    t = load_rows(s_ptr, start, first, inside, COLS).to(tl.float32)
    t += update(d, up[0], up[1], first, rows, seed_ptr, 1, up[2], up[3], D, DROP, COLS, PRECISION)
    if D2 > 0:
        t += update(d2, up2[0], up2[1], first, rows, seed_ptr, 2, up2[2], up2[3], D2, DROP, COLS, PRECISION)
    return t
