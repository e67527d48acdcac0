"""Heads beyond the four of a single task: a dual encoder for trained retrieval, and masked words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptxfer.kernels.masked_lm import labelled, masked_lm_loss
from adaptxfer.modules.heads import Head, HeadSpec
from adaptxfer.modules.weights import copy_into

START_SCALE = 100.0
"""Initial scale of the cosines (XTREME-R's retrieval baseline)."""


class DualHead(Head):
    """A dual encoder: dense and tanh on the first token, length 1; in-batch softmax with a learned scale.

    Both sides share everything. Trained on batches of pairs, every other candidate of the batch is a wrong one.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self.dense = nn.Linear(spec.width, spec.width)
        self.log_scale = nn.Parameter(torch.tensor([math.log(START_SCALE)]))

    def forward(self, hidden: Tensor, bounds: Tensor) -> Tensor:
        """(S, width) vectors of length 1."""
        return F.normalize(torch.tanh(self.dense(self.dropout(hidden[bounds[:-1]]))).float(), dim=1)

    def loss(self, scores: Tensor, bounds: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of each query's own candidate among the candidates of the batch.

        ``side`` (S,) is 0 for queries and 1 for candidates; the n-th query belongs to the n-th candidate. Steps of a
        fixed shape name their places as well: ``queries`` (N,) and ``candidates`` (N,).
        """
        if "queries" in targets:
            queries, candidates = targets["queries"], targets["candidates"]
        else:
            queries, candidates = targets["side"] == 0, targets["side"] == 1
        cosines = scores[queries] @ scores[candidates].T
        right = torch.arange(len(cosines), device=cosines.device)
        return F.cross_entropy(self.log_scale.exp() * cosines, right, reduction="sum")

    def count(self, targets: Mapping[str, Tensor]) -> Tensor:
        """Queries."""
        return (targets["side"] == 0).sum()


class MaskedHead(Head):
    """The pretrained masked-word head, frozen or not with the encoder it belongs to.

    Dense, GELU, LayerNorm, then the word embeddings as decoder (they are shared with the encoder). Only positions that
    have a label are decoded: all others would cost as much as the rest of the network together at 250,002 words.

    Args:
        spec: kind ``mlm``.
        embeddings: (words, width) word embeddings of the encoder.
    """

    trains = False

    def __init__(self, spec: HeadSpec, embeddings: Tensor) -> None:
        super().__init__(spec)
        self.dense = nn.Linear(spec.width, spec.width)
        self.layer_norm = nn.LayerNorm(spec.width, eps=1e-5)
        self.bias = nn.Parameter(torch.zeros(len(embeddings)))
        self._embeddings = [embeddings]  # in a list: shared, not a weight of this head

    def forward(self, hidden: Tensor, bounds: Tensor) -> Tensor:
        """(T, width) transformed states, not yet decoded."""
        return self.layer_norm(F.gelu(self.dense(hidden)))

    def loss(self, scores: Tensor, bounds: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of ``label`` (T,) at the masked positions."""
        return masked_lm_loss(scores, targets["label"], self._embeddings[0], self.bias)

    def train_loss(self, hidden: Tensor, bounds: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """As `loss`, with the masked rows gathered before the transform.

        Steps of a fixed shape name these rows themselves: ``rows`` (R,), with ``label`` (R,).
        """
        if "rows" in targets:
            rows, labels = hidden.index_select(0, targets["rows"]), targets["label"]
        else:
            rows, labels = labelled(hidden, targets["label"])
        return self.loss(self(rows, bounds), bounds, {"label": labels})


def masked_head(network: nn.Module, weights: Mapping[str, Tensor]) -> MaskedHead:
    """The pretrained masked-word head of a base model.

    Args:
        network: the encoder whose word embeddings decode.
        weights: ``dense.weight``, ``dense.bias``, ``layer_norm.weight``, ``layer_norm.bias``, ``bias``.
    """
    embeddings = network.get_input_embeddings().weight  # type: ignore[operator]
    head = MaskedHead(HeadSpec("mlm", embeddings.shape[1], dropout=0.0), embeddings)
    head.layer_norm.eps = float(network.config.layer_norm_eps)  # type: ignore[union-attr]
    copy_into(dict(head.named_parameters()), weights, "the base model's masked-word head")
    return head
