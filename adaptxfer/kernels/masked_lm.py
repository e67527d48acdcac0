"""The masked-language-modelling loss, computed for labelled tokens only."""

from __future__ import annotations

import torch
from torch import Tensor

from adaptxfer.kernels.dispatch import choose
from adaptxfer.kernels.parts import in_one_dtype
from adaptxfer.kernels.reference.masked_lm import IGNORE, MaskedLm

ROWS = 1024
"""Fewest rows per chunk: every chunk reads the whole decoder, which for 250,000 words is far larger than the rows."""


def labelled(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of (T, H) that have a label, and these labels; to be taken before the transform of an LM head.

    Args:
        hidden: (T, H).
        labels: (T,) token ids, `IGNORE` where nothing is predicted.
    """
    chosen = (labels != IGNORE).nonzero()[:, 0]
    return hidden.index_select(0, chosen), labels.index_select(0, chosen)


def masked_lm_loss(rows: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Sum over rows of the cross-entropy of ``W x + b``; exact, including the gradients.

    A frozen decoder gets no gradient, and nothing of the size of the vocabulary outlives the call otherwise. Nothing is
    read back from the device.

    Args:
        rows: (R, H), see `labelled`.
        labels: (R,) token ids below V; rows with `IGNORE` count nothing but cost as much as others.
        weight: (V, H) decoder, usually tied to the word embeddings.
        bias: (V,) or None.

    Returns:
        A scalar in 32 bits or more; 0 for no rows.
    """
    chunks = max(1, len(rows) // ROWS)
    if not len(rows):
        return rows.sum(dtype=torch.promote_types(rows.dtype, torch.float32))
    if choose("masked_lm", rows):
        from adaptxfer.kernels.triton.masked_lm import masked_lm_loss as fast

        return fast(rows, labels, weight, bias, chunks)
    return in_one_dtype(MaskedLm.apply, rows, labels, weight, bias, chunks, torch.is_grad_enabled())
