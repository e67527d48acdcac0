"""AdapterFusion (Pfeiffer et al. 2021) with its projections folded into those of the bottlenecks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from adaptxfer.kernels.dispatch import choose
from adaptxfer.kernels.parts import Adapter, draw_mask, in_one_dtype
from adaptxfer.kernels.reference.fusion import Mix


class Fusion(NamedTuple):
    """Weights of a fusion layer, all (H, H) and (H,), and its N bottlenecks of one width and activation."""

    query: Tensor
    query_bias: Tensor
    key: Tensor
    key_bias: Tensor
    value: Tensor
    children: tuple[Adapter, ...]
    dropout: float


def adapter_fusion(z: Tensor, fusion: Fusion, mask: Tensor | None = None) -> Tensor:
    """``sum_i p_i Wv u_i`` with ``p = softmax_i(dropout(<Wq z + bq, Wk u_i + bk>))``, scores not scaled.

    ``u_i = scale_i (Wu_i d_i + bu_i)``, ``d_i = act(Wd_i z + bd_i)``. Both products with u_i are linear in d_i, so Wk
    and Wv are multiplied with the up-projections once per pass instead of with every u_i of every token. With
    ``P_i = Wk U_i + [0 | bk]`` and ``U_i = scale_i [Wu_i | bu_i]`` the scores are ``<[d_i | 1], P_i^T (Wq z + bq)>``.
    Nothing wider than ``N * (2 D + 1)`` is kept per token. Exact but for rounding.

    Args:
        z: (T, H) the LN of the running sum: query and input of every bottleneck.
        fusion: the weights; `Adapter.dropout` of the children is not used.
        mask: (T, N) factors on the scores in place of drawn dropout.

    Returns:
        (T, H), without the residual.
    """
    first, count = fusion.children[0], len(fusion.children)
    with torch.autocast(z.device.type, enabled=False):
        wide, offsets, values = _folded(fusion)
    inner = [len(child.down) for child in fusion.children]
    if mask is None and choose("fusion", z, inner=inner, acts=[first.act], drops=[fusion.dropout]):
        from adaptxfer.kernels.triton.fusion import mixture

        return mixture(z, wide, offsets, values, count, first.act, fusion.dropout)
    if mask is None:
        mask = draw_mask(z.new_empty(len(z), count), fusion.dropout)
    return in_one_dtype(_mixture, z, wide, offsets, values, mask, count, first.act)


def _folded(fusion: Fusion) -> tuple[Tensor, Tensor, Tensor]:
    """The weights (2 N D + N, H) and offsets that read z, and (H, N D + N) that write; once per pass, in 32 bits."""
    wq, bq, wk, bk, wv = (_exact(weight) for weight in fusion[:5])
    children, count = fusion.children, len(fusion.children)
    ups = [_exact(c.up) * c.scale for c in children] + [_exact(c.up_bias)[:, None] * c.scale for c in children]
    raised = torch.cat(ups, dim=1)
    keys = wk @ raised
    keys = torch.cat([keys[:, :-count], keys[:, -count:] + bk[:, None]], dim=1)
    wide = torch.cat([*(_exact(c.down) for c in children), keys.t() @ wq])
    return wide, torch.cat([*(_exact(c.down_bias) for c in children), keys.t() @ bq]), wv @ raised


def _exact(weight: Tensor) -> Tensor:
    return weight.to(torch.promote_types(weight.dtype, torch.float32))


def _mixture(z: Tensor, wide: Tensor, offsets: Tensor, values: Tensor, mask: Tensor | None, count: int, act: str):
    return Mix.apply(torch.addmm(offsets, z, wide.t()), mask, count, act) @ values.t()
