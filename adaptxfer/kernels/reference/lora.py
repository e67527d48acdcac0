"""A linear layer with low-rank updates that keeps its input once, whatever the number of updates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adaptxfer.kernels.parts import masked


class Setup(NamedTuple):
    """What is not a tensor: for each update its scale, the first output column it adds to, and the rows it is for."""

    scales: tuple[float, ...]
    columns: tuple[int, ...]
    rows: tuple[tuple[int, int], ...] = ()  # first and last + 1; empty: all rows for all updates

    def places(self) -> Iterator[tuple[slice, float, int]]:
        """Rows, scale and column of each update."""
        rows = [slice(*ends) for ends in self.rows] or [slice(None)] * len(self.scales)
        return zip(rows, self.scales, self.columns, strict=True)


class LoraLinear(torch.autograd.Function):
    """y = x W^T + b, then y[:, columns_i] += scale_i (mask_i * x) A_i^T B_i^T; see `adaptxfer.kernels.lora_linear`.

    Kept for the backward pass: x and the narrow products with A; not the masked copies of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, setup: Setup, *updates: Tensor | None):
        """(T, N) from x (T, K); A (r, K), B (M, r) and a mask (its rows, K) or None for each update."""
        y = x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())
        narrow = []
        for (a, b, mask), (rows, scale, column) in zip(_grouped(updates), setup.places(), strict=True):
            narrow.append(masked(x[rows], mask) @ a.t())
            y[rows, column : column + len(b)].addmm_(narrow[-1], b.t(), alpha=scale)
        ctx.setup = setup
        ctx.save_for_backward(x, weight, *updates, *narrow)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        """Gradients of x and of whatever weights ask for one."""
        x, weight, *rest = ctx.saved_tensors
        count = len(ctx.setup.scales)
        updates, narrow = _grouped(rest[: 3 * count]), rest[3 * count :]
        needs = ctx.needs_input_grad
        dx = grad @ weight if needs[0] else None
        dw = grad.t() @ x if needs[1] else None
        db = grad.sum(0) if needs[2] else None
        gradients: list[Tensor | None] = []
        for i, ((a, b, mask), (rows, scale, column)) in enumerate(zip(updates, ctx.setup.places(), strict=True)):
            part = grad[rows, column : column + len(b)]
            ds = (part @ b).mul_(scale)
            gradients.append(ds.t() @ masked(x[rows], mask) if needs[4 + 3 * i] else None)
            gradients += [(part.t() @ narrow[i]).mul_(scale) if needs[5 + 3 * i] else None, None]
            if dx is not None:
                own = dx[rows]
                own.addmm_(ds, a) if mask is None else own.addcmul_(ds @ a, mask)
        return dx, dw, db, None, *gradients


def _grouped(updates: Any) -> list[Any]:
    return [updates[start : start + 3] for start in range(0, len(updates), 3)]
