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


def entailment_contrast(values: np.ndarray, gold: np.ndarray, entail: int, contradict: int) -> float:
    """Mean value of entailment minus that of contradiction; NaN if either never occurs.

    Of p(entailment) it is 1 for a perfect and certain classifier, 0 for one that gives every pair the same.

    Args:
        values: of each pair (N,): p(entailment), or the cosine of its two sentences.
        gold: index of the right label (N,).
        entail: index of the label entailment.
        contradict: index of the label contradiction.
    """
    one, other = values[gold == entail], values[gold == contradict]
    return float(one.mean() - other.mean()) if len(one) and len(other) else float("nan")


def entailment_auroc(values: np.ndarray, gold: np.ndarray, entail: int, contradict: int) -> float:
    """How often a pair of entailment has a higher value than one of contradiction, 0 to 1; equal ones count half.

    The area under the ROC curve (Hanley and McNeil 1982): 0.5 is chance, 1 a perfect order, whatever the scale of the
    values. Arguments, and NaN, as `entailment_contrast`.
    """
    one, other = values[gold == entail], np.sort(values[gold == contradict])
    if not (len(one) and len(other)):
        return float("nan")
    below = np.searchsorted(other, one, "left") + np.searchsorted(other, one, "right")
    return float(below.mean() / (2 * len(other)))


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine of each row of ``one`` with the same row of ``other``, both (N, width)."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(1) / lengths
