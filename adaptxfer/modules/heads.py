"""Heads of our own, one per kind, on packed hidden states.

All heads take ``hidden`` (T, width) for the T tokens of S packed sequences and ``bounds`` (S+1,), and give scores in
packed order. ``loss`` returns a sum and ``count`` what to divide it by, so that a batch may be cut into pieces and
still have one mean.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptxfer.encoder import pad_packed
from adaptxfer.errors import data_error
from adaptxfer.modules.method import seeded

IGNORE = -100


@dataclass(frozen=True)
class HeadSpec:
    """All that is needed to build a head again."""

    kind: str
    width: int
    labels: tuple[str, ...] = ()  # classify and tag
    dropout: float = 0.1
    init_range: float = 0.02

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""
        return {
            "kind": self.kind,
            "width": self.width,
            "labels": list(self.labels),
            "dropout": self.dropout,
            "init_range": self.init_range,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> HeadSpec:
        """Rebuild from `to_dict`.

        Raises:
            AdaptxferError: if fields are missing or of a wrong type.
        """
        try:
            spec = cls(
                str(found["kind"]),
                int(found["width"]),
                tuple(map(str, found["labels"])),
                float(found["dropout"]),
                float(found["init_range"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise data_error(f"The head of this bundle is not described completely ({error}).") from error
        if spec.width < 1 or not 0 <= spec.dropout < 1 or (spec.kind in ("classify", "tag") and not spec.labels):
            raise data_error("The head of this bundle has an impossible width, dropout or number of labels.")
        return spec


class Head(nn.Module):
    """Base of all heads."""

    trains = True
    """Whether the head's weights train with the modules."""
    reads_first = False
    """Whether the first token of each sequence is all it reads."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        self.dropout = nn.Dropout(spec.dropout)

    @abstractmethod
    def forward(self, hidden: Tensor, bounds: Tensor) -> Tensor:
        """Scores from hidden states."""

    @abstractmethod
    def loss(self, scores: Tensor, bounds: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Sum of the losses."""

    def train_loss(self, hidden: Tensor, bounds: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Sum of the losses from hidden states."""
        return self.loss(self(hidden, bounds), bounds, targets)

    def bounds_of(self, bounds: Tensor) -> Tensor:
        """Borders of the sequences in what the head gets: of one token each where it reads no more."""
        return torch.arange(len(bounds), device=bounds.device) if self.reads_first else bounds

    def count(self, targets: Mapping[str, Tensor]) -> Tensor:
        """How many losses `loss` sums up."""
        return (targets["label"] != IGNORE).sum()

    def chance_loss(self) -> float | None:
        """The loss of a head that has learnt nothing, where it is known."""
        return None

    def _init(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=self.spec.init_range)
                nn.init.zeros_(layer.bias)


class ClassifyHead(Head):
    """Dense, tanh, dropout, linear on the first token of each sequence, as in XLM-R's own classifier."""

    reads_first = True

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self.dense = nn.Linear(spec.width, spec.width)
        self.out = nn.Linear(spec.width, self.outputs)

    @property
    def outputs(self) -> int:
        """Scores per sequence."""
        return len(self.spec.labels)

    def forward(self, hidden: Tensor, bounds: Tensor) -> Tensor:
        """(S, labels) scores."""
        first = self.dropout(hidden[bounds[:-1]])
        return self.out(self.dropout(torch.tanh(self.dense(first))))

    def loss(self, scores: Tensor, bounds: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of ``label`` (S,)."""
        return _cross_entropy(scores, targets["label"])

    def chance_loss(self) -> float | None:
        """ln(labels)."""
        return math.log(len(self.spec.labels))


class ChooseHead(ClassifyHead):
    """The classifier with one score per sequence; softmax over the sequences of a unit.

    The number of choices is no part of the weights: a head trained on four choices scores two.
    """

    @property
    def outputs(self) -> int:
        """One score per choice."""
        return 1

    def forward(self, hidden: Tensor, bounds: Tensor) -> Tensor:
        """(S,) scores."""
        return super().forward(hidden, bounds)[:, 0]

    def loss(self, scores: Tensor, bounds: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of ``label`` (U,) over the sequences of each unit, borders in ``units`` (U+1,)."""
        return _cross_entropy(pad_packed(scores, targets["units"], -math.inf, _longest(targets)), targets["label"])

    def chance_loss(self) -> float | None:
        """Depends on the number of choices, which belongs to the data."""
        return None


class TagHead(Head):
    """Dropout and a linear layer per token."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self.out = nn.Linear(spec.width, len(spec.labels))

    def forward(self, hidden: Tensor, bounds: Tensor) -> Tensor:
        """(T, labels) scores."""
        return self.out(self.dropout(hidden))

    def loss(self, scores: Tensor, bounds: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of ``label`` (T,) where it is not -100: the first sub-word of every word."""
        return _cross_entropy(scores, targets["label"])


class SpanHead(Head):
    """A start and an end score per token, normalised over each window."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self.out = nn.Linear(spec.width, 2)

    def forward(self, hidden: Tensor, bounds: Tensor) -> Tensor:
        """(T, 2) start and end scores."""
        return self.out(hidden)

    def loss(self, scores: Tensor, bounds: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Mean of the cross-entropies of ``start`` and ``end`` (S,), positions within the window."""
        padded = pad_packed(scores, bounds, -math.inf, _longest(targets))
        start = _cross_entropy(padded[..., 0], targets["start"])
        return (start + _cross_entropy(padded[..., 1], targets["end"])) / 2

    def count(self, targets: Mapping[str, Tensor]) -> Tensor:
        """Windows."""
        return (targets["start"] != IGNORE).sum()


HEADS: dict[str, type[Head]] = {"classify": ClassifyHead, "choose": ChooseHead, "tag": TagHead, "span": SpanHead}


def build_head(spec: HeadSpec, seed: int, name: str) -> Head:
    """A fresh head whose weights depend on ``seed`` and ``name`` alone.

    Raises:
        AdaptxferError: for a kind that has no head.
    """
    from adaptxfer.modules.dual import DualHead

    kinds = {**HEADS, "retrieve": DualHead}
    if spec.kind not in kinds:
        raise data_error(f"Kind {spec.kind!r} has no head.", f"Heads exist for {', '.join(kinds)}.")
    with seeded(seed, "head", name):
        head = kinds[spec.kind](spec)
        head._init()
    return head


def _longest(targets: Mapping[str, Tensor]) -> int | None:
    """To how many a head pads, where steps have a fixed shape (`adaptxfer.training.graphs`)."""
    return int(targets["longest"]) if "longest" in targets else None


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(scores.float(), labels, ignore_index=IGNORE, reduction="sum")
