"""One or two bottleneck adapters between the addition and the LayerNorm of a sub-layer, as three kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from adaptxfer.kernels.parts import Adapter, Norm
from adaptxfer.kernels.tiles import Tile
from adaptxfer.kernels.triton.bottleneck_backward import moments_kernel, rows_kernel, weights_kernel
from adaptxfer.kernels.triton.bottleneck_forward import forward_kernel
from adaptxfer.kernels.triton.parts import (
    ACTS,
    activations,
    blocks_of,
    bound,
    draw_seed,
    group_table,
    on_device,
    options,
    padded,
    precision,
    tile_for,
)

READS = {"sum": 0, "sublayer": 1, "input": 2}
PARTS = 16
"""Parts of the sums over rows, added up in a fixed order."""


@torch.library.custom_op("adaptxfer::bottleneck", mutates_args=())
def forward(
    h: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, seed: Tensor | None, weights: Sequence[Tensor],
    sizes: Sequence[int] | None, acts: str, scales: Sequence[float], drops: Sequence[float], p_hidden: float,
    reads: str, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(out, s, a, stats): a is (T, D + D2), stats (2 * adapters + 2) * T float32. ``acts`` are joined by commas.

    With ``sizes`` rows come in groups: weights are stacked over them, seeds are (groups,), stats lie group by group.
    """
    count, inner = len(h), sum(weight.shape[-2] for weight in weights[::4])
    out, s, a = torch.empty_like(h), torch.empty_like(h), h.new_empty(count, inner)
    stats = h.new_empty((2 * len(scales) + 2) * count, dtype=torch.float32)
    tile = tile_for("bottleneck", h, weights[0].shape[-2], len(scales))
    table, blocks = blocks_of(sizes, tile.rows, h)
    with on_device(h):
        forward_kernel[(blocks,)](
            h, x, gamma, beta, seed, *slots_of(weights, scales, drops), out, s, a, stats, table, count, p_hidden, eps,
            **meta_of(h, weights, acts, drops, p_hidden, reads, tile), GROUPED=table is not None,
        )  # fmt: skip
    return out, s, a, stats


@forward.register_fake
def _(h, x, gamma, beta, seed, weights, sizes, acts, scales, drops, p_hidden, reads, eps):
    a = h.new_empty(h.shape[0], sum(weight.shape[-2] for weight in weights[::4]))
    stats = h.new_empty((2 * len(scales) + 2) * h.shape[0], dtype=torch.float32)
    return torch.empty_like(h), torch.empty_like(h), a, stats


@torch.library.custom_op("adaptxfer::bottleneck_backward", mutates_args=())
def backward(
    dout: Tensor, source: Tensor | None, s: Tensor, a: Tensor, stats: Tensor, gamma: Tensor, beta: Tensor,
    seed: Tensor | None, weights: Sequence[Tensor], trains: Sequence[bool], sizes: Sequence[int] | None,
    acts: str, scales: Sequence[float], drops: Sequence[float], p_hidden: float, reads: str,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:  # fmt: skip
    """(ds, dt, dh, flat): see `rows_kernel`; dh is empty without hidden dropout.

    ``flat`` has the weight gradients of each adapter, (groups, all of them) float32, see `weights_kernel`; empty if
    frozen.
    """
    pair = len(scales) == 2
    dt, ds, da = torch.empty_like(s), torch.empty_like(s), torch.empty_like(a)
    dt2 = torch.empty_like(s) if pair else None
    dh = torch.empty_like(s) if p_hidden > 0 else s.new_empty(0)
    tile = tile_for("bottleneck_backward", s, weights[0].shape[-2], len(scales))
    table, blocks = blocks_of(sizes, tile.rows, s)
    meta = meta_of(s, weights, acts, drops, p_hidden, reads, tile)
    with on_device(s):
        moments = [moments_of(down, gamma, beta, s) if reads == "sum" else None for down in weights[::4]]
        rows_kernel[(blocks,)](
            dout, s, a, stats, gamma, seed, *slots_of(weights, scales, drops, moments),
            dt, dt2, da, ds, dh, table, len(s), p_hidden, **meta, GROUPED=table is not None,
        )  # fmt: skip
        flat = [
            _weight_gradients(
                i, source, s, dt2 if i else dt, a, da, stats, gamma, beta, seed, weights, sizes, scales, drops, meta
            )
            if needed
            else s.new_empty(0)
            for i, needed in enumerate(trains)
        ]
    return ds, dt, dh, flat


@backward.register_fake
def _(dout, source, s, a, stats, gamma, beta, seed, weights, trains, sizes, acts, scales, drops, p_hidden, reads):
    groups = len(sizes or [0])
    counts = [sum(w.numel() for w in weights[start : start + 4]) // groups for start in range(0, len(weights), 4)]
    flat = [
        s.new_empty((groups, count), dtype=torch.float32) if needed else s.new_empty(0)
        for count, needed in zip(counts, trains, strict=True)
    ]
    return torch.empty_like(s), torch.empty_like(s), torch.empty_like(s) if p_hidden > 0 else s.new_empty(0), flat


def slots_of(
    weights: Sequence[Tensor], scales: Sequence[float], drops: Sequence[float], moments: Any = None
) -> list[Any]:
    """Kernel arguments of both adapters; a missing second one repeats the first, its width 0 leaves it out."""
    slots: list[Any] = []
    for i in (0, len(scales) - 1):
        slots += [*weights[4 * i : 4 * i + 4], *([moments[i]] if moments else []), scales[i], drops[i]]
    return slots


def meta_of(
    rows: Tensor, weights: Sequence[Tensor], acts: str, drops: Sequence[float], p_hidden: float, reads: str, tile: Tile
) -> dict[str, Any]:
    """Constants of the forward and the backward kernel for these rows; see `forward_kernel`."""
    numbers, inner = [ACTS[name] for name in acts.split(",")], [weight.shape[-2] for weight in weights[::4]]
    pair = len(inner) == 2
    return {
        "H": rows.shape[1], "D": inner[0], "WIDTH": padded(inner[0]), "ACT": numbers[0],
        "D2": inner[1] if pair else 0, "WIDTH2": padded(inner[-1]), "ACT2": numbers[-1],
        "READS": READS[reads], "DROP_HIDDEN": p_hidden > 0, "DROP": max(drops) > 0,
        "ROWS": tile.rows, "COLS": tile.cols, "PRECISION": precision(rows.dtype), **options(tile),
    }  # fmt: skip


def moments_of(down: Tensor, gamma: Tensor, beta: Tensor, like: Tensor) -> Tensor:
    """Run `moments_kernel` over (D, H) weights, or (groups, D, H), rounded to the dtype of ``like``."""
    inner, width = down.shape[-2:]
    out = torch.empty(*down.shape[:-2], 2, inner, dtype=torch.float32, device=down.device)
    dtype = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}[like.dtype]
    grid = (inner, down.numel() // (inner * width))
    moments_kernel[grid](down, gamma, beta, out, width, triton.next_power_of_2(width), dtype)
    return out


def _weight_gradients(
    i: int, source: Tensor | None, s: Tensor, dt: Tensor, a: Tensor, da: Tensor, stats: Tensor, gamma: Tensor,
    beta: Tensor, seed: Tensor | None, weights: Sequence[Tensor], sizes: Sequence[int] | None,
    scales: Sequence[float], drops: Sequence[float], meta: dict[str, Any],
) -> Tensor:  # fmt: skip
    """The flat gradients of adapter ``i``, added up over parts of the rows in a fixed order."""
    (count, width), inner, before = s.shape, weights[4 * i].shape[-2], meta["D"] if i else 0
    groups, most = len(sizes or [0]), max(sizes or [count])
    tile = tile_for("bottleneck_weights", s, inner, i + 1)
    parts = max(1, min(PARTS, triton.cdiv(most, tile.rows)))
    steps = bound(triton.cdiv(most, parts * tile.rows))
    part = torch.empty(groups, parts, 2 * inner * width + inner + width, dtype=torch.float32, device=s.device)
    table = group_table(tuple(sizes), None, s.device) if sizes else None
    weights_kernel[(width // tile.cols, parts, groups)](
        source, s, dt, a[:, before:], da[:, before:], stats, gamma, beta, seed, scales[i], drops[i], i + 1,
        weights[2], weights[3], a, scales[0], drops[0], part, table, count, parts, steps,
        H=width, D=inner, WIDTH=padded(inner), ACT=meta["ACT2" if i else "ACT"], INNER=a.shape[1],
        D0=before, WIDTH0=meta["WIDTH"], ACT0=meta["ACT"], READS=meta["READS"], DROP=meta["DROP"],
        GROUPED=table is not None, ROWS=tile.rows, COLS=tile.cols, PRECISION=meta["PRECISION"], **options(tile),
    )  # fmt: skip
    return part[:, 0] if parts == 1 else part.sum(1)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    h, x, gamma, beta, seed, weights, *ctx.rest, _ = inputs
    source = {"sum": None, "sublayer": h, "input": x}[ctx.rest[-1]]
    ctx.save_for_backward(source, *output[1:], gamma, beta, seed, *weights)


def _gradients(ctx: Any, dout: Tensor, *_: Tensor):
    source, s, a, stats, gamma, beta, seed, *weights = ctx.saved_tensors
    needs = ctx.needs_input_grad[5]
    trains = [any(needs[start : start + 4]) for start in range(0, len(weights), 4)]
    reads, p_hidden = ctx.rest[-1], ctx.rest[-2]
    ds, dt, dh, flat = backward(dout.contiguous(), source, s, a, stats, gamma, beta, seed, weights, trains, *ctx.rest)
    other = dt if reads != "sum" else ds
    if p_hidden > 0:
        own = dh
    else:
        own = other if reads == "input" else ds
    dx = ds if reads == "input" else other
    gradients: list[Tensor | None] = []
    for i, part in enumerate(flat):
        gradients += _split(part, weights[4 * i : 4 * i + 4]) if trains[i] else [None] * 4
    return own, dx, None, None, None, gradients, *[None] * 7


def _split(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor | None]:
    """The flat gradients of one adapter in the shapes and dtypes of down, down_bias, up and up_bias."""
    down, down_bias, up, up_bias = like
    sizes = [weight.numel() // len(flat) for weight in (down, up, down_bias, up_bias)]
    d_down, d_up, d_down_bias, d_up_bias = flat.split(sizes, dim=1)
    grads = (d_down, d_down_bias, d_up, d_up_bias)
    return [grad.reshape(weight.shape).to(weight.dtype) for grad, weight in zip(grads, like, strict=True)]


forward.register_autograd(_gradients, setup_context=_keep)


def launch(
    h: Tensor, x: Tensor, norm: Norm, weights: Sequence[Tensor], kinds: Sequence[Adapter], seed: Tensor | None,
    sizes: Sequence[int] | None, reads: str, p_hidden: float,
) -> Tensor:  # fmt: skip
    """Run `forward` with the activations, scales and dropout of ``kinds``, one adapter for each place in the stack."""
    acts, scales = ",".join(kind.act for kind in kinds), [float(kind.scale) for kind in kinds]
    drops, rows = [kind.dropout for kind in kinds], activations(h, x)
    return forward(*rows, norm.weight, norm.bias, seed, weights, sizes, acts, scales, drops, p_hidden, reads, norm.eps)[
        0
    ]


def bottleneck(
    h: Tensor,
    x: Tensor,
    norm: Norm,
    adapters: Sequence[Adapter],
    reads: str = "sum",
    p_hidden: float = 0.0,
    seed: Tensor | None = None,
) -> Tensor:
    """As `adaptxfer.kernels.bottleneck.bottleneck`, for a norm that does not train and one or two adapters.

    Args:
        h: (T, H) output of the sub-layer, H a multiple of 64.
        x: (T, H) input of the sub-layer.
        norm: LayerNorm without gradients.
        adapters: one, or two that read the sum. Their weights may be float32 beside activations of 16 bits.
        reads: what the adapters read.
        p_hidden: dropout on h, not for adapters that read it (``sublayer``).
        seed: (1,) int64 of all dropout; None draws one.

    Returns:
        (T, H).
    """
    if seed is None and max(*(adapter.dropout for adapter in adapters), p_hidden) > 0:
        seed = draw_seed(h)
    weights = [part.contiguous() for adapter in adapters for part in adapter[:4]]
    return launch(h, x, norm, weights, adapters, seed, None, reads, p_hidden)
