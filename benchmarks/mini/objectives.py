"""What the encoder is trained on: masked words, and sentences that are translations of each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from adaptxfer.data.mlm import mask_tokens
from adaptxfer.data.ragged import borders
from adaptxfer.encoder.forward import mean_pool
from adaptxfer.encoder.packed import encode_auto
from adaptxfer.kernels.masked_lm import labelled, masked_lm_loss
from benchmarks.mini.corpus import Batch, Corpus

TEMPERATURE = 0.05
"""Of the contrast."""
EVALUATED = 64
"""Held-out sentences per language for the loss that is logged on the way."""
MASK_SEED = 7
"""Of the masks of held-out sentences, the same for every encoder with the same tokenizer."""


class Losses(NamedTuple):
    """Mean loss per masked word, and per pair of the contrast (None without one), in nats."""

    words: Tensor
    contrast: Tensor | None


def word_loss(model: Any, hidden: Tensor, labels: Tensor) -> Tensor:
    """Sum over labelled tokens of the cross-entropy; hidden (T, H), labels (T,)."""
    rows, wanted = labelled(hidden, labels)
    head = model.lm_head
    states = head.layer_norm(F.gelu(head.dense(rows)))
    return masked_lm_loss(states, wanted, model.roberta.embeddings.word_embeddings.weight, head.bias)


def contrast_loss(vectors: Tensor, pairs: Tensor) -> Tensor:
    """XLCo, InfoXLM's cross-lingual contrast (Chi et al. 2021, section 3.2), in both directions.

    Args:
        vectors: (2P, H) of the first sides, then of the second.
        pairs: (P, 2) numbers of the sentences: the same sentence in another pair is no wrong candidate.
    """
    first, second = F.normalize(vectors.float(), dim=1).chunk(2)
    same = (pairs[:, None] == pairs[None]).any(2).fill_diagonal_(False)
    scores = (first @ second.T / TEMPERATURE).masked_fill(same, float("-inf"))
    right = torch.arange(len(pairs))
    return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2


def losses(model: Any, batch: Batch, tokenizer: Any, generator: torch.Generator, share: float) -> Losses:
    """Losses of one batch; both come from a single pass over its packed sequences.

    Args:
        model: a masked-language model of transformers.
        batch: see `Batch`.
        tokenizer: for the mask.
        generator: of the masks.
        share: of the words to predict.
    """
    ids, bounds = torch.from_numpy(batch.ids), torch.from_numpy(batch.bounds)
    masked, labels = mask_tokens(ids[: batch.masked], tokenizer, generator, share)
    hidden = encode_auto(model.roberta, torch.cat([masked, ids[batch.masked :]]), bounds)
    assert isinstance(hidden, Tensor)
    words = word_loss(model, hidden[: batch.masked], labels) / (labels >= 0).sum()
    if not len(batch.pairs):
        return Losses(words, None)
    sides = bounds[len(bounds) - 1 - 2 * len(batch.pairs) :]
    vectors = mean_pool(hidden[batch.masked :], sides - sides[0])
    return Losses(words, contrast_loss(vectors, torch.from_numpy(batch.pairs)))


@torch.no_grad()
def held_out_losses(
    model: Any, corpus: Corpus, tokenizer: Any, count: int = EVALUATED, seed: int = MASK_SEED
) -> Mapping[str, float]:
    """Mean loss per masked word of ``count`` held-out sentences of each language, each alone; ``seed`` of the masks."""
    found = {}
    for language, rows in corpus.held_out.items():
        frame = corpus.template
        parts = [np.concatenate([frame.prefix, corpus.sentence(n), frame.single_end]) for n in rows[:count]]
        ids = torch.from_numpy(np.concatenate(parts)).long()
        masked, labels = mask_tokens(ids, tokenizer, torch.Generator().manual_seed(seed))
        bounds = torch.from_numpy(borders(np.array([len(part) for part in parts])))
        hidden = encode_auto(model.roberta, masked, bounds)
        assert isinstance(hidden, Tensor)
        found[language] = float(word_loss(model, hidden, labels) / (labels >= 0).sum())
    return found
