"""Cross-entropy over a large vocabulary, a chunk of rows at a time, with the gradients made on the way forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORE = -100
"""The label of rows without one."""


class MaskedLm(torch.autograd.Function):
    """sum_r logsumexp(W x_r + b) - (W x_r + b)[label_r]; logits exist for one chunk only.

    The gradient of the logits is ``softmax - onehot`` whatever comes later, up to one factor; so ``dx`` and, where they
    train, ``dW`` and ``db`` are all that is kept. Rows labelled `IGNORE` get a loss and gradients of 0.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None, chunks: int, grad: bool):
        """The sum of the losses (a scalar); rows (R, H), labels (R,), weight (V, H), bias (V,) or None."""
        needs = [ctx.needs_input_grad[i] and grad for i in (0, 2, 3)]
        tensors = (rows, weight, bias)
        drows, dweight, dbias = (
            torch.zeros_like(t) if need and t is not None else None for t, need in zip(tensors, needs, strict=True)
        )
        total = torch.zeros((), dtype=torch.promote_types(rows.dtype, torch.float32), device=rows.device)
        counts = (labels != IGNORE)[:, None]
        parts = (rows.where(counts, 0), labels[:, None].where(counts, 0), counts, rows if drows is None else drows)
        for x, label, counted, dx in zip(*(part.tensor_split(chunks) for part in parts), strict=True):
            logits = (x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())).to(total.dtype)
            largest = logits.logsumexp(1, keepdim=True)
            total += (largest - logits.gather(1, label)).where(counted, 0.0).sum()
            if not any(needs):
                continue
            slope = logits.sub_(largest).exp_()
            slope.scatter_add_(1, label, slope.new_full(label.shape, -1.0))
            slope = slope.to(rows.dtype)
            if drows is not None:
                torch.mm(slope, weight, out=dx).mul_(counted)
            if dweight is not None:
                dweight.addmm_(slope.t(), x)
            if dbias is not None:
                dbias += (counted.to(slope.dtype).t() @ slope)[0]
        ctx.save_for_backward(drows, dweight, dbias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        """Gradients of rows, weight and bias."""
        drows, dweight, dbias = (None if t is None else t * grad.to(t.dtype) for t in ctx.saved_tensors)
        return drows, None, dweight, dbias, None, None
