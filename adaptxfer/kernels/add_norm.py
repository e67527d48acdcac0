"""The end of every sub-layer: dropout, residual addition, LayerNorm."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from adaptxfer.kernels.parts import Norm


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
    return norm((F.dropout(h, p) if p else h) + x)
