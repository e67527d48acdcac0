"""The activation of the feed-forward layers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from adaptxfer.kernels.dispatch import choose


def gelu(x: Tensor) -> Tensor:
    """``x * Phi(x)`` with the exact normal distribution, as XLM-R uses it; keeps its input alone.

    Args:
        x: (T, N).
    """
    if choose("gelu", x):
        from adaptxfer.kernels.triton.gelu import gelu as fast

        return fast(x)
    return F.gelu(x)
