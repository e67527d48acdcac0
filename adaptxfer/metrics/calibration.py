"""How sure a classifier is, and of what: from the scores of each example rather than from its first choice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS = 15
"""Equal bins of confidence for the calibration error (Guo et al. 2017)."""

CERTAIN = 1e-12
"""Probabilities below this count as this much."""


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities from logits, over the last axis (N, K)."""
    shifted = np.exp(scores - scores.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def negative_log_likelihood(probabilities: Sequence[np.ndarray], gold: Sequence[int]) -> float:
    """Mean of -log p(gold) in nats; each example has a vector of its own length."""
    return float(np.mean([-np.log(max(p[g], CERTAIN)) for p, g in zip(probabilities, gold, strict=True)]))


def calibration_error(probabilities: Sequence[np.ndarray], gold: Sequence[int]) -> float:
    """Expected calibration error, 0 to 1: mean over bins of |accuracy - confidence|, weighted by their size."""
    confidence = np.array([p.max() for p in probabilities])
    right = np.array([p.argmax() == g for p, g in zip(probabilities, gold, strict=True)], float)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, right - confidence, BINS)
    return float(np.abs(gaps).sum() / len(right))


def entailment_contrast(probabilities: np.ndarray, gold: np.ndarray, entail: int, contradict: int) -> float:
    """Mean p(entailment) where that is right minus where contradiction is, -1 to 1; NaN if either never occurs.

    1 for a perfect and certain classifier, 0 for one that gives every pair the same probabilities.

    Args:
        probabilities: (N, labels).
        gold: index of the right label (N,).
        entail: index of the label entailment.
        contradict: index of the label contradiction.
    """
    for label in (entail, contradict):
        if not (gold == label).any():
            return float("nan")
    p = probabilities[:, entail]
    return float(p[gold == entail].mean() - p[gold == contradict].mean())
