"""Bottleneck adapters after a sub-layer: sequential (Pfeiffer), stacked, Houlsby and parallel."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from adaptxfer.kernels.dispatch import choose
from adaptxfer.kernels.parts import Adapter, Norm, draw_mask, in_one_dtype, trains
from adaptxfer.kernels.reference.bottleneck import Bottlenecks, Setup

READS = ("sum", "sublayer", "input")


def bottleneck(
    h: Tensor, x: Tensor, norm: Norm, adapters: Sequence[Adapter], reads: str = "sum", p_hidden: float = 0.0
) -> Tensor:
    """Hidden dropout, residual addition, adapters and LayerNorm in one operation.

    With ``u(z) = dropout(scale * (up act(down z + down_bias) + up_bias))`` and the one frozen LN of the sub-layer:

    - ``sum``, one adapter (seq_bn, Pfeiffer et al. 2021): ``LN(u(LN(h + x)) + h + x)``. Several (a stack): each reads
      the LN of the running sum and adds to it, so the LN runs once more than there are adapters.
    - ``sublayer`` (double_seq_bn, Houlsby et al. 2019): ``LN(u(h) + h + x)``.
    - ``input`` (par_bn, He et al. 2022): ``LN(h + u(x) + x)``.

    Args:
        h: (T, H) output of the sub-layer; it stands for its dropped-out form above.
        x: (T, H) input of the sub-layer.
        norm: LayerNorm of the sub-layer.
        adapters: one, or for ``sum`` any number in order.
        reads: what the adapters read.
        p_hidden: probability of the dropout on h.

    Returns:
        (T, H).
    """
    if reads != "sum" and len(adapters) != 1:
        raise ValueError(f"only adapters that read the sum can be stacked, got {len(adapters)} that read {reads}")
    if reads == "sublayer" and p_hidden:  # h is read twice: drawn once, here
        h, p_hidden = F.dropout(h, p_hidden), 0.0
    inner, acts, drops = zip(*((len(a.down), a.act, a.dropout) for a in adapters), strict=True)
    if choose("bottleneck", h, inner=inner, acts=acts, drops=(*drops, p_hidden), trains_norm=trains(norm)):
        from adaptxfer.kernels.triton.bottleneck import bottleneck as fast

        return fast(h, x, norm, adapters, reads, p_hidden)
    h = F.dropout(h, p_hidden) if p_hidden else h
    setup = Setup(reads, tuple(a.act for a in adapters), tuple(a.scale for a in adapters), norm.eps)
    weights = [part for a in adapters for part in (*a[:4], draw_mask(h, a.dropout))]
    return in_one_dtype(Bottlenecks.apply, h, x, norm.weight, norm.bias, setup, *weights)
