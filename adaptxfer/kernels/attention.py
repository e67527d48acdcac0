"""Self-attention among the tokens of each packed sequence, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

SHORT = 16
"""Below this length attention is written out: torch 2.13's fused operation for CPUs turns NaN queries into 0 there."""
LONG = 128
"""In 16 bits on a CPU attention up to this length runs in 32 bits, and is written out above: the backward pass of torch
2.13's fused operation takes three times as long there."""


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
        q, k, v = qkv.view(len(qkv), 3, heads, -1).unbind(1)
        places = bounds.to(torch.int32)
        return _flash(q, k, v, (places, places), (max(lengths), max(lengths)), p)
    return _grouped(qkv, lengths, heads, p)


def first_token_attention(
    q: Tensor, kv: Tensor, bounds: Tensor, lengths: Sequence[int], heads: int, p: float = 0.0
) -> Tensor:
    """As `varlen_attention`, but only what the first token of each sequence gets.

    Args:
        q: (S, heads * size) queries of the first tokens.
        kv: (T, 2 * heads * size), keys and values of all tokens side by side.
        bounds: (S+1,) where each sequence starts.
        lengths: the differences of ``bounds`` as plain numbers, none of them 0.
        heads: number of heads.
        p: dropout on the attention weights.

    Returns:
        (S, heads * size).
    """
    if q.is_cuda and q.dtype in (torch.float16, torch.bfloat16):
        k, v = kv.view(len(kv), 2, heads, -1).unbind(1)
        places = bounds.to(torch.int32)
        ones = torch.arange(len(q) + 1, dtype=torch.int32, device=q.device)
        return _flash(q.view(len(q), heads, -1), k, v, (ones, places), (1, max(lengths)), p)
    runs = [(len(list(run)), length) for length, run in groupby(lengths)]
    parts = []
    pieces = zip(q.split([n for n, _ in runs]), kv.split([n * length for n, length in runs]), strict=True)
    for (count, length), (own, rows) in zip(runs, pieces, strict=True):
        k, v = rows.view(count, length, 2, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        parts.append(_attend(own.view(count, heads, 1, -1), k, v, p).reshape(count, -1))
    return torch.cat(parts)


def _grouped(qkv: Tensor, lengths: Sequence[int], heads: int, p: float) -> Tensor:
    runs = [(len(list(run)), length) for length, run in groupby(lengths)]
    width = qkv.shape[1] // 3
    parts = []
    for (count, length), rows in zip(runs, qkv.split([count * length for count, length in runs]), strict=True):
        q, k, v = rows.view(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = _attend(q, k, v, p)
        parts.append(mixed.transpose(1, 2).reshape(count * length, width))
    return torch.cat(parts)


def _attend(q: Tensor, k: Tensor, v: Tensor, p: float) -> Tensor:
    """Attention of (S, heads, queries, size) over (S, heads, L, size) by what is fastest here."""
    length, small = k.shape[2], k.dtype in (torch.float16, torch.bfloat16)
    if not q.is_cuda and (length < SHORT or (small and length > LONG)):
        weights = torch.softmax(torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)), dim=-1)
        return torch.matmul(F.dropout(weights, p) if p else weights, v)
    if not q.is_cuda and small:
        with torch.autocast("cpu", enabled=False):  # which would bring them back to 16 bits
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), dropout_p=p).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, dropout_p=p)


def _flash(
    q: Tensor, k: Tensor, v: Tensor, bounds: tuple[Tensor, Tensor], longest: tuple[int, int], p: float
) -> Tensor:
    # torch.nn.attention.varlen.varlen_attn fixes dropout at 0; the operation below it does not.
    mixed = torch.ops.aten._flash_attention_forward(
        q,
        k,
        v,
        cum_seq_q=bounds[0],
        cum_seq_k=bounds[1],
        max_q=longest[0],
        max_k=longest[1],
        dropout_p=p,
        is_causal=False,
        return_debug_mask=False,
    )[0]
    return mixed.reshape(len(q), -1)
