"""Self-attention among the tokens of each packed sequence, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

SHORT = 16
"""Below this length attention is written out: torch 2.13's fused operation for CPUs turns NaN queries into 0 there."""


def varlen_attention(qkv: Tensor, bounds: Tensor, lengths: Sequence[int], heads: int, p: float = 0.0) -> Tensor:
    """Softmax attention of every sequence over itself, scores divided by the root of the head size.

    On CUDA in 16 bits this is torch's flash operation for sequences of any lengths. Elsewhere neighbours of equal
    length run as one batch without a mask, so sequences should come sorted by length.

    Args:
        qkv: (T, 3 * heads * size), queries, keys and values side by side.
        bounds: (S+1,) where each sequence starts.
        lengths: the differences of ``bounds`` as plain numbers, none of them 0.
        heads: number of heads.
        p: dropout on the attention weights.

    Returns:
        (T, heads * size).
    """
    if qkv.is_cuda and qkv.dtype in (torch.float16, torch.bfloat16):
        return _flash(qkv, bounds.to(torch.int32), max(lengths), heads, p)
    return _grouped(qkv, lengths, heads, p)


def _grouped(qkv: Tensor, lengths: Sequence[int], heads: int, p: float) -> Tensor:
    runs = [(len(list(run)), length) for length, run in groupby(lengths)]
    width = qkv.shape[1] // 3
    parts = []
    for (count, length), rows in zip(runs, qkv.split([count * length for count, length in runs]), strict=True):
        q, k, v = rows.view(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
        attend = _written_out if length < SHORT and not qkv.is_cuda else F.scaled_dot_product_attention
        mixed = attend(q, k, v, dropout_p=p)
        parts.append(mixed.transpose(1, 2).reshape(count * length, width))
    return torch.cat(parts)


def _written_out(q: Tensor, k: Tensor, v: Tensor, dropout_p: float) -> Tensor:
    weights = torch.softmax(torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)), dim=-1)
    return torch.matmul(F.dropout(weights, dropout_p) if dropout_p else weights, v)


def _flash(qkv: Tensor, bounds: Tensor, longest: int, heads: int, p: float) -> Tensor:
    # torch.nn.attention.varlen.varlen_attn fixes dropout at 0; the operation below it does not.
    q, k, v = qkv.view(len(qkv), 3, heads, -1).unbind(1)
    mixed = torch.ops.aten._flash_attention_forward(
        q,
        k,
        v,
        cum_seq_q=bounds,
        cum_seq_k=bounds,
        max_q=longest,
        max_k=longest,
        dropout_p=p,
        is_causal=False,
        return_debug_mask=False,
    )[0]
    return mixed.reshape(len(qkv), -1)
