"""What can be said about a task from its English text alone, and about a pair of a task and a language's text.

Everything is counted in sub-words of the base model, so that it means the same in every script. Numbers of two tasks
are compared over equally many tokens: more text always covers and repeats more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adaptxfer.data.features import IGNORED, Features

TOKENS = 8192
"""Tokens of a sample; texts with fewer are taken whole."""
WINDOW = 100
SPECIAL = 4
"""XLM-R's vocabulary begins with <s>, <pad>, </s> and <unk>."""


def sample(features: Features) -> NDArray:
    """The first sub-words of a text without special ones, at most ``TOKENS`` (N,)."""
    ids = features.ids[features.ids >= SPECIAL]
    return ids[:TOKENS]


def variety(ids: NDArray) -> float:
    """Different sub-words over sub-words, mean over windows of 100 (MATTR, Covington and McFall 2010), 0 to 1."""
    if len(ids) <= WINDOW:
        return len(np.unique(ids)) / max(1, len(ids))
    steps = range(0, len(ids) - WINDOW + 1, WINDOW // 10)
    return float(np.mean([len(np.unique(ids[start : start + WINDOW])) for start in steps])) / WINDOW


def overlap(english: NDArray, other: NDArray) -> float:
    """Share of the other text's sub-words (with repetitions) that the English text knows, 0 to 1.

    Args:
        english: sub-words of the intermediate task (N,).
        other: sub-words of text in the target language (M,).
    """
    return float(np.isin(other, np.unique(english)).mean()) if len(other) else 0.0


def entropy(values: NDArray) -> float:
    """Shannon entropy of a sample of whole numbers, in bits."""
    counts = np.unique(values, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def length_entropy(features: Features) -> float:
    """Entropy of the sequences' lengths in classes of a factor of two, in bits."""
    return entropy(np.log2(np.maximum(features.lengths, 1)).astype(int)) if len(features.lengths) else 0.0


def label_entropy(features: Features) -> float | None:
    """Entropy of the labels in bits; None for kinds whose labels are no classes (choose, span, retrieve)."""
    if features.kind not in ("classify", "tag"):
        return None
    labels = features.targets["label"]
    known = labels[labels != IGNORED]
    return entropy(known) if len(known) else None
