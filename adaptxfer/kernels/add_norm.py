"""The end of every sub-layer: dropout, residual addition, LayerNorm."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from adaptxfer.kernels.dispatch import choose
from adaptxfer.kernels.parts import Norm, trains


def add_norm(h: Tensor, x: Tensor, norm: Norm, p: float = 0.0) -> Tensor:
    """``LN(dropout(h) + x)``.

    Plain torch keeps no more than a backward formula of our own would: the sum, two statistics per row, the mask. A
    frozen norm gets no gradients.

    Args:
        h: (T, H) output of the sub-layer.
        x: (T, H) its input.
        norm: usually the frozen one of the base model.
        p: dropout probability.

    Returns:
        (T, H).
    """
    if choose("add_norm", h, drops=[p], trains_norm=trains(norm)):
        from adaptxfer.kernels.triton.add_norm import add_norm as fast

        return fast(h, x, norm, p)
    return norm((F.dropout(h, p) if p else h) + x)
