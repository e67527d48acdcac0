"""Bottlenecks of several runs in one launch: each block of rows reads the weights and the seed of its own group.

The kernels are those of a single run (`adaptxfer.kernels.triton.bottleneck`); a table says whose rows a block has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from adaptxfer.kernels.parts import Adapter, Norm
from adaptxfer.kernels.triton.bottleneck import PARTS, meta_of, moments_of, slots_of
from adaptxfer.kernels.triton.bottleneck_backward import rows_kernel, weights_kernel
from adaptxfer.kernels.triton.bottleneck_forward import forward_kernel
from adaptxfer.kernels.triton.parts import activations, bound, group_table, on_device, options, tile_for


@torch.library.custom_op("adaptxfer::grouped_bottleneck", mutates_args=())
def forward(
    h: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, seeds: Tensor | None, weights: Sequence[Tensor],
    sizes: Sequence[int], act: str, scale: float, p: float, p_hidden: float, reads: str, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(out, s, a, stats) as of a single run; ``weights`` are stacked over the groups, stats (4 T,) group by group."""
    out, s, a = torch.empty_like(h), torch.empty_like(h), h.new_empty(len(h), weights[0].shape[1])
    stats = h.new_empty(4 * len(h), dtype=torch.float32)
    tile = tile_for("bottleneck", h, weights[0].shape[1])
    table = group_table(tuple(sizes), tile.rows, h.device)
    meta = meta_of(h, [weights[0][0]], act, [p], p_hidden, reads, tile) | {"GROUPED": True}
    with on_device(h):
        forward_kernel[(len(table),)](
            h, x, gamma, beta, table if seeds is None else seeds, *slots_of(weights, [scale], [p]),
            out, s, a, stats, table, 0, p_hidden, eps, **meta,
        )  # fmt: skip
    return out, s, a, stats


@forward.register_fake
def _(h, x, gamma, beta, seeds, weights, sizes, act, scale, p, p_hidden, reads, eps):
    a = h.new_empty(h.shape[0], weights[0].shape[1])
    return torch.empty_like(h), torch.empty_like(h), a, h.new_empty(4 * h.shape[0], dtype=torch.float32)


@torch.library.custom_op("adaptxfer::grouped_bottleneck_backward", mutates_args=())
def backward(
    dout: Tensor, source: Tensor | None, s: Tensor, a: Tensor, stats: Tensor, gamma: Tensor, beta: Tensor,
    seeds: Tensor | None, weights: Sequence[Tensor], trains: bool, sizes: Sequence[int], act: str, scale: float,
    p: float, p_hidden: float, reads: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(ds, dt, dh, flat): as of a single run; flat is (groups, weights) float32, empty if they are frozen."""
    groups, inner, width = weights[0].shape
    dt, ds, da = torch.empty_like(s), torch.empty_like(s), torch.empty_like(a)
    dh = torch.empty_like(s) if p_hidden > 0 else s.new_empty(0)
    tile = tile_for("bottleneck_backward", s, inner)
    table = group_table(tuple(sizes), tile.rows, s.device)
    meta = meta_of(s, [weights[0][0]], act, [p], p_hidden, reads, tile) | {"GROUPED": True}
    with on_device(s):
        moments = weights[1]  # not read
        if reads == "sum":
            moments = moments_of(weights[0].view(-1, width), gamma, beta, s)
            moments = moments.view(2, groups, inner).transpose(0, 1).contiguous()
        rows_kernel[(len(table),)](
            dout, s, a, stats, gamma, table if seeds is None else seeds, *slots_of(weights, [scale], [p], [moments]),
            dt, None, da, ds, dh, table, 0, p_hidden, **meta,
        )  # fmt: skip
        flat = s.new_empty(0, dtype=torch.float32)
        if trains:
            flat = _weight_gradients((source, s, dt, a, da, stats), gamma, beta, seeds, weights, sizes, scale, p, meta)
    return ds, dt, dh, flat


@backward.register_fake
def _(dout, source, s, a, stats, gamma, beta, seeds, weights, trains, sizes, act, scale, p, p_hidden, reads):
    count = sum(weight[0].numel() for weight in weights) if trains else 0
    flat = s.new_empty((weights[0].shape[0], count) if trains else 0, dtype=torch.float32)
    return torch.empty_like(s), torch.empty_like(s), torch.empty_like(s) if p_hidden > 0 else s.new_empty(0), flat


def _weight_gradients(
    rows: tuple[Any, ...], gamma: Tensor, beta: Tensor, seeds: Tensor | None, weights: Sequence[Tensor],
    sizes: Sequence[int], scale: float, p: float, meta: dict[str, Any],
) -> Tensor:  # fmt: skip
    """(groups, weights) gradients, added up over parts of the rows in a fixed order."""
    source, s, dt, a, da, stats = rows
    (_, width), inner, most = s.shape, a.shape[1], max(sizes)
    tile = tile_for("bottleneck_weights", s, inner)
    parts = max(1, min(PARTS, triton.cdiv(most, tile.rows)))
    steps = bound(triton.cdiv(most, parts * tile.rows))
    part = torch.empty(len(sizes), parts, 2 * inner * width + inner + width, dtype=torch.float32, device=s.device)
    names = ("READS", "DROP", "GROUPED", "PRECISION", "WIDTH", "ACT", "H", "D")
    table = group_table(tuple(sizes), None, s.device)
    weights_kernel[(width // tile.cols, parts, len(sizes))](
        source, s, dt, a, da, stats, gamma, beta, table if seeds is None else seeds, scale, p, 1,
        weights[2], weights[3], a, scale, p, part, table, 0, parts, steps, **{name: meta[name] for name in names},
        INNER=inner, D0=0, WIDTH0=meta["WIDTH"], ACT0=meta["ACT"], ROWS=tile.rows, COLS=tile.cols, **options(tile),
    )  # fmt: skip
    return part.sum(1)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    h, x, gamma, beta, seeds, weights, *ctx.rest, _ = inputs
    source = {"sum": None, "sublayer": h, "input": x}[ctx.rest[-1]]
    ctx.save_for_backward(source, *output[1:], gamma, beta, seeds, *weights)


def _gradients(ctx: Any, dout: Tensor, *_: Tensor):
    source, s, a, stats, gamma, beta, seeds, *weights = ctx.saved_tensors
    trains, reads, p_hidden = any(ctx.needs_input_grad[5]), ctx.rest[-1], ctx.rest[-2]
    ds, dt, dh, flat = backward(
        dout.contiguous(), source, s, a, stats, gamma, beta, seeds, weights, trains, *ctx.rest
    )  # fmt: skip
    other = dt if reads != "sum" else ds
    own = dh if p_hidden > 0 else other if reads == "input" else ds
    gradients: list[Tensor | None] = [None] * 4
    if trains:
        down, down_bias, up, up_bias = weights
        found = flat.split([weight[0].numel() for weight in (down, up, down_bias, up_bias)], dim=1)
        gradients = [found[i].reshape(w.shape).to(w.dtype) for i, w in zip((0, 2, 1, 3), weights, strict=True)]
    return own, ds if reads == "input" else other, None, None, None, gradients, *[None] * 7


forward.register_autograd(_gradients, setup_context=_keep)


def grouped_bottleneck(
    h: Tensor, x: Tensor, norm: Norm, sizes: Sequence[int], adapters: Sequence[Adapter], seeds: Tensor | None,
    reads: str = "sum", p_hidden: float = 0.0,
) -> Tensor:  # fmt: skip
    """As `adaptxfer.kernels.grouped.grouped_bottleneck`, for groups with one adapter each, alike but for the weights.

    Args:
        h: (T, H) output of the sub-layer, H a multiple of 64.
        x: (T, H) input of the sub-layer.
        norm: LayerNorm without gradients.
        sizes: rows of each group, in order; they sum up to T.
        adapters: one for each group, equal in width, activation, scale and dropout.
        seeds: (groups,) int64 of all dropout; group i draws what a run alone draws from ``seeds[i]``.
        reads: what the adapters read.
        p_hidden: dropout on h, not for adapters that read it (``sublayer``).

    Returns:
        (T, H).
    """
    first = adapters[0]
    weights = [torch.stack(parts) for parts in zip(*(adapter[:4] for adapter in adapters), strict=True)]
    rows = activations(h, x)
    return forward(
        *rows, norm.weight, norm.bias, seeds, weights, list(sizes), first.act, float(first.scale), first.dropout,
        p_hidden, reads, norm.eps,
    )[0]  # fmt: skip
