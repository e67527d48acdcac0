"""How far a kernel may be from float64: as far as plain torch in the same dtype, and a little more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16)


def draw(device: torch.device, dtype: torch.dtype, *shapes: tuple[int, ...], scale: float = 1.0) -> list[Tensor]:
    return [(torch.randn(shape) * scale).to(device, dtype) for shape in shapes]


def agree(
    fast: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: Sequence[Tensor], frozen: Sequence[int] = ()
) -> None:
    """Output and gradients of ``fast(*inputs)`` against those of ``plain`` in float64 and in the dtype itself."""
    found = results(fast, inputs, None, frozen)
    exact = results(plain, inputs, torch.float64, frozen)
    eager = results(plain, inputs, None, frozen)
    for number, (one, true, other) in enumerate(zip(found, exact, eager, strict=True)):
        assert one.shape == true.shape and one.isfinite().all(), f"result {number}"
        error, allowed = distance(one, true), distance(other, true)
        single = inputs[0].dtype == torch.float32
        bound = max(2e-6, 2 * allowed) if single else 1.1 * allowed + 1e-4
        assert error <= bound, f"result {number}: {error:.2e}, plain torch {allowed:.2e}"
        worst, usual = (one.double() - true).abs().max(), (other.double() - true).abs().max()
        slack = 1e-5 * true.abs().max() + 1e-12
        assert worst <= (2 if number == 0 else 3) * usual + slack, f"result {number}: {worst:.2e}, {usual:.2e}"


def results(
    run: Callable[..., Tensor], inputs: Sequence[Tensor], dtype: torch.dtype | None, frozen: Sequence[int]
) -> list[Tensor]:
    leaves = [
        tensor.detach().to(dtype or tensor.dtype).clone().requires_grad_(i not in frozen)
        for i, tensor in enumerate(inputs)
    ]
    out = run(*leaves)
    generator = torch.Generator().manual_seed(7)
    out.backward(torch.randn(out.shape, generator=generator).to(inputs[0].dtype).to(out))
    assert all(leaves[i].grad is None for i in frozen)
    return [out.detach(), *(leaf.grad for i, leaf in enumerate(leaves) if i not in frozen)]


def distance(one: Tensor, true: Tensor) -> float:
    """Relative norm of the difference; below rounding noise of float32 everything counts as equal to 0."""
    return ((one.double() - true).norm() / true.norm().clamp_min(1e-6)).item()
