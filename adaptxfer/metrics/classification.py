"""Accuracy, F1 and Matthews correlation of one label per item."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from adaptxfer.errors import data_error
from adaptxfer.metrics.counts import Counts, check_aligned, f1_points, share

Labels = Sequence[Hashable]


def accuracy(gold: Labels, predicted: Labels) -> float:
    """Share of equal labels in points.

    Raises:
        AdaptxferError: if the lists are empty, differ in length, or a gold label is missing (``None``).
    """
    _check(gold, predicted)
    return share(sum(right == guess for right, guess in zip(gold, predicted, strict=True)), len(gold))


def binary_f1(gold: Labels, predicted: Labels, positive: Hashable) -> float:
    """F1 of the label ``positive`` in points; 0 when neither list holds it; raises as ``accuracy``."""
    _check(gold, predicted)
    return f1_points(*_label_counts(gold, predicted, positive))


def macro_f1(gold: Labels, predicted: Labels, labels: Labels | None = None) -> float:
    """Plain mean of the F1 of ``labels`` (default: all that occur in either list) in points.

    Raises:
        AdaptxferError: as ``accuracy``, or if ``labels`` is empty.
    """
    _check(gold, predicted)
    names = set(gold) | set(predicted) if labels is None else set(labels)
    if not names:
        raise data_error("There are no labels to average over.", "Name the labels of the task.")
    scores = [f1_points(*_label_counts(gold, predicted, name)) for name in names]
    return math.fsum(scores) / len(scores)


def matthews(gold: Labels, predicted: Labels) -> float:
    """Matthews correlation times 100 (-100 to 100), for any number of labels; 0 when either list is constant.

    The multi-class form R_K of Gorodkin (2004), computed from the totals per label. Raises as ``accuracy``.
    """
    _check(gold, predicted)
    n = len(gold)
    right = sum(a == b for a, b in zip(gold, predicted, strict=True))
    golds, guesses = Counter(gold), Counter(predicted)
    above = right * n - sum(count * guesses[name] for name, count in golds.items())
    below = (n * n - sum(c * c for c in golds.values())) * (n * n - sum(c * c for c in guesses.values()))
    return 100.0 * above / math.sqrt(below) if below else 0.0


def accuracy_scores(gold: Labels, predicted: Labels) -> dict[str, float]:
    """``accuracy`` and ``n``. Raises as ``accuracy``."""
    return {"accuracy": accuracy(gold, predicted), "n": len(gold)}


def acc_f1_scores(gold: Labels, predicted: Labels, positive: Hashable) -> dict[str, float]:
    """``accuracy``, ``f1`` of ``positive``, their mean ``acc_f1`` (the main number of QQP), and ``n``.

    Raises:
        AdaptxferError: as ``accuracy``.
    """
    points, f1 = accuracy(gold, predicted), binary_f1(gold, predicted, positive)
    return {"accuracy": points, "f1": f1, "acc_f1": (points + f1) / 2, "n": len(gold)}


def _label_counts(gold: Labels, predicted: Labels, name: Hashable) -> Counts:
    hits = sum(right == guess == name for right, guess in zip(gold, predicted, strict=True))
    return Counts(hits, sum(guess == name for guess in predicted), sum(right == name for right in gold))


def _check(gold: Labels, predicted: Labels) -> None:
    check_aligned(gold, predicted, "items")
    if None in gold:
        raise data_error(f"Item {list(gold).index(None)} has no gold label.", "Score a split that is labelled.")
