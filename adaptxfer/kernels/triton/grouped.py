"""Modules of several runs in one launch: each block of rows reads the weights and the seed of its own group.

The kernels are those of a single run; a table says whose rows a block has.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptxfer.kernels.lora_linear import Update
from adaptxfer.kernels.parts import Adapter, Norm
from adaptxfer.kernels.triton import bottleneck, lora_linear


def grouped_bottleneck(
    h: Tensor, x: Tensor, norm: Norm, sizes: Sequence[int], adapters: Sequence[Sequence[Adapter]],
    seeds: Tensor | None, reads: str = "sum", p_hidden: float = 0.0,
) -> Tensor:  # fmt: skip
    """As `adaptxfer.kernels.grouped.grouped_bottleneck`, for groups that are alike but for the weights.

    Args:
        h: (T, H) output of the sub-layer, H a multiple of 64.
        x: (T, H) input of the sub-layer.
        norm: LayerNorm without gradients.
        sizes: rows of each group, in order; they sum up to T.
        adapters: for each group one, or two that read the sum; those at the same place are equal in width, activation,
            scale and dropout.
        seeds: (groups,) int64 of all dropout; group i draws what a run alone draws from ``seeds[i]``.
        reads: what the adapters read.
        p_hidden: dropout on h, not for adapters that read it (``sublayer``).

    Returns:
        (T, H).
    """
    places = [zip(*(adapter[:4] for adapter in place), strict=True) for place in zip(*adapters, strict=True)]
    weights = [torch.stack(parts) for place in places for parts in place]
    return bottleneck.launch(h, x, norm, weights, adapters[0], seeds, list(sizes), reads, p_hidden)


def grouped_lora_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, sizes: Sequence[int], updates: Sequence[Sequence[Update]],
    seeds: Tensor | None,
) -> Tensor:  # fmt: skip
    """As `adaptxfer.kernels.grouped.grouped_lora_linear`, for groups that are alike but for the weights.

    Args:
        x: (T, K), K a multiple of 64.
        weight: (N, K), frozen.
        bias: (N,) or None.
        sizes: rows of each group, in order; they sum up to T.
        updates: for each group one or more, of one dropout probability; those at the same place are equal in rank,
            scale and columns.
        seeds: (groups,) int64 of the dropout; group i draws what a run alone draws from ``seeds[i]``.

    Returns:
        (T, N).
    """
    return lora_linear.launch(x, weight, bias, updates, seeds, list(sizes))
