"""The per-token part of AdapterFusion, in the width of the bottlenecks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adaptxfer.kernels.parts import activate, activate_backward, masked


class Mix(torch.autograd.Function):
    """From a row [pre-activations a | projected queries e | offsets f] to the weighted activations [p * d | p].

    With N adapters of width D: ``d = act(a)``, ``scores_i = <d_i, e_i> + f_i``, ``p = softmax(mask * scores)``.
    Kept for the backward pass: the row itself and p. Computed in 32 bits at least.
    """

    @staticmethod
    def forward(ctx: Any, row: Tensor, mask: Tensor | None, count: int, act: str):
        """(T, 2 N D + N) to (T, N D + N); the mask is (T, N) or None."""
        a, e, f = _parts(row, count)
        d = activate(a, act)
        p = torch.softmax(masked((d * e).sum(-1) + f, mask), dim=-1)
        ctx.count, ctx.act = count, act
        ctx.save_for_backward(row, mask, p)
        return torch.cat([(d * p[..., None]).flatten(1), p], dim=1).to(row.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        """Gradient of the row."""
        row, mask, p = ctx.saved_tensors
        a, e, _ = _parts(row, ctx.count)
        d = activate(a, ctx.act)
        grad = grad.to(d.dtype)
        weighted, own = grad[:, : d[0].numel()].view_as(d), grad[:, d[0].numel() :]
        dp = (weighted * d).sum(-1) + own
        scores = masked(p * (dp - (p * dp).sum(-1, keepdim=True)), mask)[..., None]
        da = activate_backward(torch.addcmul(weighted * p[..., None], scores, e), a, ctx.act)
        drow = torch.cat([da.flatten(1), (scores * d).flatten(1), scores.flatten(1)], dim=1)
        return drow.to(row.dtype), None, None, None


def _parts(row: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """(T, N, D), (T, N, D) and (T, N), in 32 bits at least."""
    width = (row.shape[1] - count) // (2 * count)
    a, e, f = row.to(torch.promote_types(row.dtype, torch.float32)).split([count * width, count * width, count], dim=1)
    return a.reshape(-1, count, width), e.reshape(-1, count, width), f
