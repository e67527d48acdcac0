"""What several operations share: the records of their weights, activations, dropout, and the dtype to compute in."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS = ("relu", "gelu", "swish")
"""gelu is the exact (erf) form that XLM-R uses; swish is x * sigmoid(x)."""


class Norm(NamedTuple):
    """A LayerNorm over the last dimension; weight and bias are (H,)."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, rows: Tensor) -> Tensor:
        """Normalise (T, H)."""
        return F.layer_norm(rows, (rows.shape[-1],), self.weight, self.bias, self.eps)


class Adapter(NamedTuple):
    """A bottleneck: ``scale * (up act(down z + down_bias) + up_bias)``; down is (D, H), up (H, D)."""

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor
    act: str
    scale: float
    dropout: float


def trains(norm: Norm) -> bool:
    """Whether the norm wants gradients of its own."""
    return norm.weight.requires_grad or norm.bias.requires_grad


def activate(values: Tensor, name: str) -> Tensor:
    """One of ``ACTIVATIONS``, elementwise."""
    return {"relu": F.relu, "gelu": F.gelu, "swish": F.silu}[name](values)


def activate_backward(grad: Tensor, values: Tensor, name: str) -> Tensor:
    """Gradient of `activate` with respect to ``values``, its input."""
    if name == "relu":
        return torch.ops.aten.threshold_backward(grad, values, 0)
    if name == "gelu":
        return torch.ops.aten.gelu_backward(grad, values)
    return torch.ops.aten.silu_backward(grad, values)


def draw_mask(like: Tensor, p: float) -> Tensor | None:
    """Inverted dropout as a factor per element: 0 with probability ``p``, else 1 / (1 - p); None where p is 0."""
    if p == 0.0:
        return None
    return torch.empty_like(like).bernoulli_(1.0 - p).div_(1.0 - p) if p < 1.0 else torch.zeros_like(like)


def masked(values: Tensor, mask: Tensor | None) -> Tensor:
    """Apply a factor of `draw_mask`."""
    return values if mask is None else values * mask


def in_one_dtype(function: Any, first: Tensor, *others: Any) -> Any:
    """Call an operation with all its float tensors in one dtype: autocast's where that is on, else that of ``first``.

    Operations with their own backward formula are not split up by autocast, so their operands are cast beforehand;
    and modules kept in 32 bits fit activations of 16.
    """
    device = first.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else first.dtype
    arguments = [
        value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for value in (first, *others)
    ]
    with torch.autocast(device, enabled=False):
        return function(*arguments)
