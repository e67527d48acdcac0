"""Forward kernel of the bottleneck: sum, LayerNorm, one or two adapters, LayerNorm in one launch."""

from __future__ import annotations

import triton
import triton.language as tl

from adaptxfer.kernels.triton.bottleneck_tiles import (
    activated,
    finish_stats,
    load_cols,
    load_inner,
    load_rows,
    load_weight,
    of_group,
    rows_of_block,
    running,
    store_narrow,
    store_rows,
)
from adaptxfer.kernels.triton.parts import kept, merged, product, rounded

SUM, SUBLAYER, INPUT = (tl.constexpr(number) for number in range(3))
"""What adapters read: the LayerNorm of the running sum, h, or x."""


@triton.jit
def down(z, down_ptr, first, total, H: tl.constexpr, D: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr):
    """Total + z @ down.T for the columns from ``first`` on."""
    cols = first + tl.arange(0, COLS)
    weight = load_weight(down_ptr, cols[:, None], tl.arange(0, total.shape[1])[None, :], 1, H, D, z.dtype)
    return product(z, weight, total, PRECISION)


@triton.jit
def add(
    h_ptr, x_ptr, s_ptr, seed_ptr, block, p_hidden,
    H: tl.constexpr, READS: tl.constexpr, DROP_HIDDEN: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Store s = dropout(h) + x; its row means and squared deviations where the adapters need them."""
    rows, inside, start = block
    mean = tl.zeros((rows.shape[0],), tl.float32)
    spread = tl.zeros((rows.shape[0],), tl.float32)
    for first in range(0, H, COLS):
        h = load_rows(h_ptr, start, first, inside, COLS).to(tl.float32)
        if DROP_HIDDEN:
            h = tl.where(kept(seed_ptr, 0, rows, first, p_hidden, COLS), h / (1.0 - p_hidden), 0.0)
        s = rounded(h + load_rows(x_ptr, start, first, inside, COLS).to(tl.float32), s_ptr.dtype.element_ty)
        store_rows(s_ptr, start, first, inside, s.to(tl.float32), COLS)
        if READS == SUM:
            mean, spread = merged(mean, spread, first, s.to(tl.float32), COLS)
    return mean, spread


@triton.jit
def normed(t, mean, steep, gamma_ptr, beta_ptr, first, COLS: tl.constexpr):
    """LayerNorm of a float32 tile."""
    return (t - mean) * steep * load_cols(gamma_ptr, first, COLS) + load_cols(beta_ptr, first, COLS)


@triton.jit
def deviations(
    s_ptr, block, seed_ptr, d, up, d2, up2,
    H: tl.constexpr, D: tl.constexpr, D2: tl.constexpr, DROP: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Row means and squared deviations of `running`."""
    mean = tl.zeros((d.shape[0],), tl.float32)
    spread = tl.zeros((d.shape[0],), tl.float32)
    for first in range(0, H, COLS):
        t = running(s_ptr, block, first, seed_ptr, d, up, d2, up2, D, D2, DROP, COLS, PRECISION)
        mean, spread = merged(mean, spread, first, t, COLS)
    return mean, spread


@triton.jit
def forward_kernel(
    h_ptr, x_ptr, gamma_ptr, beta_ptr, seed_ptr,
    down_ptr, down_bias_ptr, up_ptr, up_bias_ptr, scale, p,
    down2_ptr, down2_bias_ptr, up2_ptr, up2_bias_ptr, scale2, p2,
    out_ptr, s_ptr, a_ptr, stats_ptr, table_ptr, T, p_hidden, eps,
    H: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, ACT: tl.constexpr,
    D2: tl.constexpr, WIDTH2: tl.constexpr, ACT2: tl.constexpr,
    READS: tl.constexpr, DROP_HIDDEN: tl.constexpr, DROP: tl.constexpr, GROUPED: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Sweeps over the columns of a block of rows; later ones read s = dropout(h) + x again, from the cache.

    D2 > 0 adds a second adapter that reads the LayerNorm of s plus the update of the first. GROUPED: adapters have
    weights for each group of rows, and everything else of a group lies as if it were alone.
    """
    group, before, T, block = rows_of_block(tl.program_id(0), table_ptr, T, H, ROWS, GROUPED)
    a_ptr, stats_ptr = a_ptr + before * (D + D2), stats_ptr + before * (6 if D2 > 0 else 4)
    if DROP or DROP_HIDDEN:
        seed_ptr += group
    down_ptr, down_bias_ptr, up = of_group(group, down_ptr, down_bias_ptr, (up_ptr, up_bias_ptr, scale, p), D, H)
    up2 = (up2_ptr, up2_bias_ptr, scale2, p2)
    down2_ptr, down2_bias_ptr, up2 = of_group(group, down2_ptr, down2_bias_ptr, up2, D2, H)
    rows, inside, start = block
    dtype: tl.constexpr = s_ptr.dtype.element_ty
    mean, spread = add(h_ptr, x_ptr, s_ptr, seed_ptr, block, p_hidden, H, READS, DROP_HIDDEN, COLS)
    mean, steep = finish_stats(stats_ptr, 0, rows, inside, T, mean, spread, eps, H)
    tl.debug_barrier()  # other threads of the block read what was stored
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    for first in range(0, H, COLS):
        if READS == SUM:
            t = load_rows(s_ptr, start, first, inside, COLS).to(tl.float32)
            z = rounded(normed(t, mean, steep, gamma_ptr, beta_ptr, first, COLS), dtype)
        else:
            z = load_rows(h_ptr if READS == SUBLAYER else x_ptr, start, first, inside, COLS)
        total = down(z, down_ptr, first, total, H, D, COLS, PRECISION)
    a = rounded(total + load_inner(down_bias_ptr, D, WIDTH), dtype)
    store_narrow(a_ptr, rows, inside, a, D + D2, D, WIDTH)
    d = activated(a, ACT)
    d2 = d
    mean, spread = deviations(s_ptr, block, seed_ptr, d, up, d2, up2, H, D, 0, DROP, COLS, PRECISION)
    mean, steep = finish_stats(stats_ptr, 1, rows, inside, T, mean, spread, eps, H)
    if D2 > 0:
        total2 = tl.zeros((ROWS, WIDTH2), tl.float32)
        for first in range(0, H, COLS):
            t = running(s_ptr, block, first, seed_ptr, d, up, d, up, D, 0, DROP, COLS, PRECISION)
            z = rounded(normed(t, mean, steep, gamma_ptr, beta_ptr, first, COLS), dtype)
            total2 = down(z, down2_ptr, first, total2, H, D2, COLS, PRECISION)
        a2 = rounded(total2 + load_inner(down2_bias_ptr, D2, WIDTH2), dtype)
        store_narrow(a_ptr + D, rows, inside, a2, D + D2, D2, WIDTH2)
        d2 = activated(a2, ACT2)
        mean, spread = deviations(s_ptr, block, seed_ptr, d, up, d2, up2, H, D, D2, DROP, COLS, PRECISION)
        mean, steep = finish_stats(stats_ptr, 2, rows, inside, T, mean, spread, eps, H)
    for first in range(0, H, COLS):
        t = running(s_ptr, block, first, seed_ptr, d, up, d2, up2, D, D2, DROP, COLS, PRECISION)
        y = normed(t, mean, steep, gamma_ptr, beta_ptr, first, COLS)
        store_rows(out_ptr, start, first, inside, y, COLS)
