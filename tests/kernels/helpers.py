"""Comparison of an operation with the same formula left to autograd."""

from __future__ import annotations

import torch


def leaves(*shapes, seed: int = 0, scale: float = 1.0, dtype=torch.float64):
    """Random tensors that want gradients."""
    random = torch.Generator().manual_seed(seed)
    return [(torch.randn(shape, generator=random, dtype=dtype) * scale).requires_grad_() for shape in shapes]


def outcome(function, tensors):
    """The value of a function, and the gradients of a random linear function of it."""
    for tensor in tensors:
        tensor.grad = None
    value = function()
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    (value * weights.to(value)).sum().backward()
    return [value.detach(), *(tensor.grad for tensor in tensors)]


def assert_equal(found, expected, within: float = 1e-12):
    """Each pair of tensors agrees in norm, or to a hundredth of the largest norm; None only with None."""
    assert len(found) == len(expected)
    least = 1e-2 * max(float(other.norm()) for other in expected if other is not None)
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert (one is None) == (other is None), number
        if one is not None:
            assert one.shape == other.shape and one.dtype == other.dtype
            assert float((one - other).norm()) <= within * max(float(other.norm()), least), number


def kept_per_token(run, rows: int = 100) -> float:
    """How many numbers per row stay alive for the backward pass, among tensors with so many rows."""
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        value = run()
    assert value.requires_grad
    return sum(t.numel() for t in kept.values() if t.dim() and len(t) == rows) / rows
