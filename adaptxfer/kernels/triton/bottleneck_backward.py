"""Backward kernels of the bottleneck: gradients of the rows, then those of the weights."""

from __future__ import annotations

import triton
import triton.language as tl

from adaptxfer.kernels.triton.bottleneck_forward import INPUT, SUM
from adaptxfer.kernels.triton.bottleneck_tiles import (
    activated,
    load_cols,
    load_inner,
    load_narrow,
    load_rows,
    load_stats,
    load_weight,
    of_group,
    rows_of_block,
    running,
    store_narrow,
    store_rows,
    update,
)
from adaptxfer.kernels.triton.parts import kept, placed, product, rounded, slope


@triton.jit
def moments_kernel(down_ptr, gamma_ptr, beta_ptr, out_ptr, H: tl.constexpr, COLS: tl.constexpr, dtype: tl.constexpr):
    """Down @ gamma and down @ beta, (groups, 2, D) float32: with them `norm_sums` skips a sweep."""
    row, inner, group = tl.program_id(0), tl.num_programs(0), tl.program_id(1)
    cols = tl.arange(0, COLS)
    weight = tl.load(down_ptr + (group * inner + row) * H + cols, mask=cols < H, other=0.0).to(tl.float32)
    weight = rounded(weight, dtype).to(tl.float32)
    gamma = tl.load(gamma_ptr + cols, mask=cols < H, other=0.0).to(tl.float32)
    beta = tl.load(beta_ptr + cols, mask=cols < H, other=0.0).to(tl.float32)
    tl.store(out_ptr + 2 * group * inner + row, tl.sum(weight * gamma, 0))
    tl.store(out_ptr + (2 * group + 1) * inner + row, tl.sum(weight * beta, 0))


@triton.jit
def pull(du, up_ptr, first, total, D: tl.constexpr, COLS: tl.constexpr, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """Total + du @ up for the columns from ``first`` on: the gradient of the activations d."""
    cols = first + tl.arange(0, COLS)
    up = load_weight(up_ptr, cols[:, None], tl.arange(0, total.shape[1])[None, :], D, 1, D, dtype)
    return product(rounded(du, dtype), up, total, PRECISION)


@triton.jit
def push(da, down_ptr, first, H: tl.constexpr, D: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr):
    """(rows, COLS) of da @ down: the gradient of z."""
    cols = first + tl.arange(0, COLS)
    weight = load_weight(down_ptr, cols[None, :], tl.arange(0, da.shape[1])[:, None], 1, H, D, da.dtype)
    return product(da, weight, tl.zeros((da.shape[0], COLS), tl.float32), PRECISION)


@triton.jit
def norm_sums(da, a, down_bias_ptr, moments_ptr, H: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr):
    """Row means of gamma * dz and gamma * dz * unit, in the width of the bottleneck, each (rows, 1).

    With a = down z + down_bias and z = gamma * unit + beta they are da (down gamma) and da (a - down_bias - down beta).
    """
    wide = da.to(tl.float32)
    level = tl.sum(wide * load_inner(moments_ptr, D, WIDTH), 1) / H
    rest = a.to(tl.float32) - load_inner(down_bias_ptr, D, WIDTH) - load_inner(moments_ptr + D, D, WIDTH)
    return level[:, None], (tl.sum(wide * rest, 1) / H)[:, None]


@triton.jit
def dropped(du, seed_ptr, stream, rows, first, p, DROP: tl.constexpr, COLS: tl.constexpr):
    """Dropout of the forward pass on a gradient."""
    if DROP:
        du = tl.where(kept(seed_ptr, stream, rows, first, p, COLS), du / (1.0 - p), 0.0)
    return du


@triton.jit
def slopes(
    dout_ptr, s_ptr, gamma_ptr, seed_ptr, block, mean, steep, d, up, d2, up2,
    H: tl.constexpr, D: tl.constexpr, D2: tl.constexpr, DROP: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Row means of gamma * dout and of gamma * dout * unit for the last LayerNorm, each (rows, 1)."""
    _, inside, start = block
    level = tl.zeros((d.shape[0],), tl.float32)
    along = tl.zeros((d.shape[0],), tl.float32)
    for first in range(0, H, COLS):
        t = running(s_ptr, block, first, seed_ptr, d, up, d2, up2, D, D2, DROP, COLS, PRECISION)
        dy = load_rows(dout_ptr, start, first, inside, COLS).to(tl.float32) * load_cols(gamma_ptr, first, COLS)
        level += tl.sum(dy, 1)
        along += tl.sum(dy * ((t - mean) * steep), 1)
    return (level / H)[:, None], (along / H)[:, None]


@triton.jit
def last_norm(
    dout_ptr, s_ptr, gamma_ptr, seed_ptr, dt_ptr, block, mean, steep, d, up, d2, up2, total, own,
    H: tl.constexpr, D: tl.constexpr, D2: tl.constexpr, OWN: tl.constexpr,
    DROP: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Store the gradient of what the last LayerNorm reads; pull it through the up-projection ``own`` of width OWN."""
    rows, inside, start = block
    level, along = slopes(
        dout_ptr, s_ptr, gamma_ptr, seed_ptr, block, mean, steep, d, up, d2, up2, H, D, D2, DROP, COLS, PRECISION
    )
    for first in range(0, H, COLS):
        t = running(s_ptr, block, first, seed_ptr, d, up, d2, up2, D, D2, DROP, COLS, PRECISION)
        dy = load_rows(dout_ptr, start, first, inside, COLS).to(tl.float32) * load_cols(gamma_ptr, first, COLS)
        dt = (dy - level - (t - mean) * steep * along) * steep
        store_rows(dt_ptr, start, first, inside, dt, COLS)
        du = dropped(dt * own[2], seed_ptr, 2 if D2 > 0 else 1, rows, first, own[3], DROP, COLS)
        total = pull(du, own[0], first, total, OWN, COLS, s_ptr.dtype.element_ty, PRECISION)
    return total


@triton.jit
def middle_norm(
    s_ptr, gamma_ptr, seed_ptr, dt_ptr, dt2_ptr, block, mean, steep, level, along, d, up, total, da2, down2_ptr,
    H: tl.constexpr, D: tl.constexpr, D2: tl.constexpr, DROP: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """As `last_norm` for the LayerNorm that the second of two adapters reads."""
    rows, inside, start = block
    for first in range(0, H, COLS):
        t = running(s_ptr, block, first, seed_ptr, d, up, d, up, D, 0, DROP, COLS, PRECISION)
        dz = push(da2, down2_ptr, first, H, D2, COLS, PRECISION) * load_cols(gamma_ptr, first, COLS)
        dt = (dz - level - (t - mean) * steep * along) * steep
        dt += load_rows(dt2_ptr, start, first, inside, COLS).to(tl.float32)
        store_rows(dt_ptr, start, first, inside, dt, COLS)
        du = dropped(dt * up[2], seed_ptr, 1, rows, first, up[3], DROP, COLS)
        total = pull(du, up[0], first, total, D, COLS, s_ptr.dtype.element_ty, PRECISION)
    return total


@triton.jit
def first_norm(
    s_ptr, gamma_ptr, seed_ptr, dt_ptr, ds_ptr, dh_ptr, block, mean, steep, level, along, da, down_ptr, p_hidden,
    H: tl.constexpr, D: tl.constexpr, READS: tl.constexpr, DROP_HIDDEN: tl.constexpr,
    COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Store the gradient of s, or of what the adapter read, and with hidden dropout that of h."""
    rows, inside, start = block
    for first in range(0, H, COLS):
        ds = push(da, down_ptr, first, H, D, COLS, PRECISION)
        if READS == SUM:
            unit = (load_rows(s_ptr, start, first, inside, COLS).to(tl.float32) - mean) * steep
            ds = (ds * load_cols(gamma_ptr, first, COLS) - level - unit * along) * steep
        dt = load_rows(dt_ptr, start, first, inside, COLS).to(tl.float32)
        ds += dt
        store_rows(ds_ptr, start, first, inside, ds, COLS)
        if DROP_HIDDEN:
            dh = dropped(dt if READS == INPUT else ds, seed_ptr, 0, rows, first, p_hidden, True, COLS)
            store_rows(dh_ptr, start, first, inside, dh, COLS)


@triton.jit
def rows_kernel(
    dout_ptr, s_ptr, a_ptr, stats_ptr, gamma_ptr, seed_ptr,
    down_ptr, down_bias_ptr, up_ptr, up_bias_ptr, moments_ptr, scale, p,
    down2_ptr, down2_bias_ptr, up2_ptr, up2_bias_ptr, moments2_ptr, scale2, p2,
    dt_ptr, dt2_ptr, da_ptr, ds_ptr, dh_ptr, table_ptr, T, p_hidden,
    H: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, ACT: tl.constexpr,
    D2: tl.constexpr, WIDTH2: tl.constexpr, ACT2: tl.constexpr,
    READS: tl.constexpr, DROP_HIDDEN: tl.constexpr, DROP: tl.constexpr, GROUPED: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dt: gradient behind the first adapter (dt2: the second); da: of pre-activations; ds: of s and of what is read."""
    group, before, T, block = rows_of_block(tl.program_id(0), table_ptr, T, H, ROWS, GROUPED)
    a_ptr, da_ptr = a_ptr + before * (D + D2), da_ptr + before * (D + D2)
    stats_ptr += before * (6 if D2 > 0 else 4)
    if DROP or DROP_HIDDEN:
        seed_ptr += group
    down_ptr, down_bias_ptr, up = of_group(group, down_ptr, down_bias_ptr, (up_ptr, up_bias_ptr, scale, p), D, H)
    up2 = (up2_ptr, up2_bias_ptr, scale2, p2)
    down2_ptr, down2_bias_ptr, up2 = of_group(group, down2_ptr, down2_bias_ptr, up2, D2, H)
    rows, inside, _ = block
    a = load_narrow(a_ptr, rows, inside, D + D2, D, WIDTH)
    d = activated(a, ACT)
    dd = tl.zeros((ROWS, WIDTH), tl.float32)
    if D2 > 0:
        a2 = load_narrow(a_ptr + D, rows, inside, D + D2, D2, WIDTH2)
        mean, steep = load_stats(stats_ptr, 2, rows, inside, T)
        dd2 = last_norm(
            dout_ptr, s_ptr, gamma_ptr, seed_ptr, dt2_ptr, block, mean, steep, d, up, activated(a2, ACT2), up2,
            tl.zeros((ROWS, WIDTH2), tl.float32), up2, H, D, D2, D2, DROP, COLS, PRECISION,
        )  # fmt: skip
        da2 = rounded(dd2 * slope(a2.to(tl.float32), ACT2), a.dtype)
        store_narrow(da_ptr + D, rows, inside, da2, D + D2, D2, WIDTH2)
        level, along = norm_sums(da2, a2, down2_bias_ptr, moments2_ptr + group * 2 * D2, H, D2, WIDTH2)
        mean, steep = load_stats(stats_ptr, 1, rows, inside, T)
        tl.debug_barrier()  # other threads of the block read what was stored
        dd = middle_norm(
            s_ptr, gamma_ptr, seed_ptr, dt_ptr, dt2_ptr, block, mean, steep, level, along, d, up, dd, da2, down2_ptr,
            H, D, D2, DROP, COLS, PRECISION,
        )  # fmt: skip
    else:
        mean, steep = load_stats(stats_ptr, 1, rows, inside, T)
        dd = last_norm(
            dout_ptr, s_ptr, gamma_ptr, seed_ptr, dt_ptr, block, mean, steep, d, up, d, up, dd, up,
            H, D, 0, D, DROP, COLS, PRECISION,
        )  # fmt: skip
    da = rounded(dd * slope(a.to(tl.float32), ACT), a.dtype)
    store_narrow(da_ptr, rows, inside, da, D + D2, D, WIDTH)
    mean, steep = load_stats(stats_ptr, 0, rows, inside, T)
    level, along = mean, mean
    if READS == SUM:
        level, along = norm_sums(da, a, down_bias_ptr, moments_ptr + group * 2 * D, H, D, WIDTH)
    tl.debug_barrier()
    first_norm(
        s_ptr, gamma_ptr, seed_ptr, dt_ptr, ds_ptr, dh_ptr, block, mean, steep, level, along, da, down_ptr, p_hidden,
        H, D, READS, DROP_HIDDEN, COLS, PRECISION,
    )  # fmt: skip


@triton.jit
def weights_kernel(
    source_ptr, s_ptr, dt_ptr, a_ptr, da_ptr, stats_ptr, gamma_ptr, beta_ptr, seed_ptr, scale, p, stream,
    up0_ptr, up0_bias_ptr, a0_ptr, scale0, p0,
    part_ptr, table_ptr, T, parts, steps,
    H: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, ACT: tl.constexpr, INNER: tl.constexpr,
    D0: tl.constexpr, WIDTH0: tl.constexpr, ACT0: tl.constexpr,
    READS: tl.constexpr, DROP: tl.constexpr, GROUPED: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of one adapter for COLS columns, from every ``parts``-th block of rows; one part of the sums each.

    A part holds d down (D, H), d up (H, D), d down_bias (D), d up_bias (H). D0 > 0: an adapter comes before this one,
    and z is the LayerNorm of s plus its update.
    """
    first = tl.program_id(0) * COLS
    number, before = tl.program_id(1), 0
    if GROUPED:
        group, _, before, T = placed(table_ptr, tl.program_id(2))
        stats_ptr += before * (6 if INNER > D else 4)
        a_ptr, da_ptr, a0_ptr = a_ptr + before * INNER, da_ptr + before * INNER, a0_ptr + before * INNER
        up0_ptr, up0_bias_ptr = up0_ptr + group.to(tl.int64) * H * D0, up0_bias_ptr + group * H
        part_ptr += group.to(tl.int64) * parts * (2 * D * H + D + H)
        if DROP:
            seed_ptr += group
    cols, inner = first + tl.arange(0, COLS), tl.arange(0, WIDTH)
    dtype: tl.constexpr = s_ptr.dtype.element_ty
    gamma, beta = load_cols(gamma_ptr, first, COLS), load_cols(beta_ptr, first, COLS)
    d_down = tl.zeros((WIDTH, COLS), tl.float32)
    d_up = tl.zeros((COLS, WIDTH), tl.float32)
    d_down_bias = tl.zeros((WIDTH,), tl.float32)
    d_up_bias = tl.zeros((COLS,), tl.float32)
    for step in range(0, steps):
        rows = (step * parts + number) * ROWS + tl.arange(0, ROWS)
        inside = rows < T
        start = (rows + before).to(tl.int64)[:, None] * H
        if READS == SUM:
            t = load_rows(s_ptr, start, first, inside, COLS).to(tl.float32)
            if D0 > 0:
                d0 = activated(load_narrow(a0_ptr, rows, inside, INNER, D0, WIDTH0), ACT0)
                t += update(d0, up0_ptr, up0_bias_ptr, first, rows, seed_ptr, 1, scale0, p0, D0, DROP, COLS, PRECISION)
            mean, steep = load_stats(stats_ptr, stream - 1, rows, inside, T)
            z = rounded((t - mean) * steep * gamma + beta, dtype)
        else:
            z = load_rows(source_ptr, start, first, inside, COLS)
        du = load_rows(dt_ptr, start, first, inside, COLS).to(tl.float32) * scale
        du = dropped(du, seed_ptr, stream, rows, first, p, DROP, COLS)
        d = activated(load_narrow(a_ptr, rows, inside, INNER, D, WIDTH), ACT)
        da = load_narrow(da_ptr, rows, inside, INNER, D, WIDTH)  # 0 beyond the last row, as is du
        d_down = product(tl.trans(da), z, d_down, PRECISION)
        d_up = product(tl.trans(rounded(du, dtype)), d, d_up, PRECISION)
        d_down_bias += tl.sum(da.to(tl.float32), 0)
        d_up_bias += tl.sum(du, 0)
    part_ptr += number.to(tl.int64) * (2 * D * H + D + H)
    real = inner < D
    tl.store(part_ptr + inner[:, None] * H + cols[None, :], d_down, mask=real[:, None])
    tl.store(part_ptr + D * H + cols[:, None] * D + inner[None, :], d_up, mask=real[None, :])
    tl.store(part_ptr + 2 * D * H + D + cols, d_up_bias)
    if tl.program_id(0) == 0:
        tl.store(part_ptr + 2 * D * H + inner, d_down_bias, mask=real)
