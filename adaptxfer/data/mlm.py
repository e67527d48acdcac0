"""Masked-language-model features and masking for continued multilingual pre-training beside a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from adaptxfer.data.features import IGNORED, Features, make_features
from adaptxfer.data.pairs import join


def line_features(lines: Sequence[str], tokenizer: Any, max_length: int) -> Features:
    """One sequence per non-empty line, cut at ``max_length`` tokens."""
    kept = np.array([number for number, line in enumerate(lines) if line.strip()], np.int64)
    texts = [line for line in lines if line.strip()]
    ids, bounds, cut = join(tokenizer, texts, [None] * len(texts), max_length, "right")
    notes = {"truncated": cut, "empty_dropped": len(lines) - len(kept)}
    return make_features("mlm", ids, bounds, kept, len(lines), {}, notes)


def mask_tokens(
    ids: torch.Tensor, tokenizer: Any, generator: torch.Generator, share: float = 0.15
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose ``share`` of the ordinary tokens; 80 % of them become the mask, 10 % a random token, 10 % stay.

    Source: Devlin et al. 2019, section 3.1, drawn anew for every batch.

    Args:
        ids: (T,) int64 on the CPU, special tokens included; left as it is.
        tokenizer: tells the special tokens, which are neither chosen nor drawn.
        generator: on the CPU; its state is all that the result depends on besides ``ids``.
        share: of tokens to predict.

    Returns:
        the masked ids (T,), and the labels (T,), -100 where nothing is to be predicted.
    """
    special = torch.tensor(sorted(tokenizer.all_special_ids))
    ordinary = torch.ones(len(tokenizer), dtype=torch.bool)
    ordinary[special] = False
    draw = torch.rand((3, len(ids)), generator=generator)
    chosen = (draw[0] < share) & ordinary[ids]
    words = torch.nonzero(ordinary).flatten()
    random = words[(draw[2].double() * len(words)).long().clamp(max=len(words) - 1)]
    masked = torch.where(chosen & (draw[1] < 0.8), tokenizer.mask_token_id, ids)
    masked = torch.where(chosen & (draw[1] >= 0.9), random, masked)
    return masked, torch.where(chosen, ids, IGNORED)
