"""Linear layers with LoRA updates (Hu et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from adaptxfer.kernels.dispatch import choose
from adaptxfer.kernels.parts import draw_mask, in_one_dtype
from adaptxfer.kernels.reference.lora import LoraLinear, Setup


class Update(NamedTuple):
    """One low-rank update: a is (r, K), b is (M, r); it adds to the output columns from ``column`` on."""

    a: Tensor
    b: Tensor
    scale: float
    dropout: float
    column: int = 0


def lora_linear(x: Tensor, weight: Tensor, bias: Tensor | None, updates: Sequence[Update] = ()) -> Tensor:
    """``x W^T + b + sum_i scale_i * dropout(x) A_i^T B_i^T``.

    Several updates of the same columns add up, as several active adapters of `peft` do. With queries, keys and values
    packed into one weight, each update has the first column of its own part.

    Args:
        x: (T, K).
        weight: (N, K), usually frozen; it gets a gradient only if it asks for one.
        bias: (N,) or None.
        updates: any number; scale is alpha / r (alpha / sqrt(r) for a rank-stabilised LoRA).

    Returns:
        (T, N).
    """
    if not updates:
        return F.linear(x, weight, bias)
    if choose("lora_linear", x, inner=[len(u.a) for u in updates], drops=[u.dropout for u in updates]):
        from adaptxfer.kernels.triton.lora_linear import lora_linear as fast

        return fast(x, weight, bias, updates)
    setup = Setup(tuple(u.scale for u in updates), tuple(u.column for u in updates))
    tensors = [part for u in updates for part in (u.a, u.b, draw_mask(x, u.dropout))]
    return in_one_dtype(LoraLinear.apply, x, weight, bias, setup, *tensors)
