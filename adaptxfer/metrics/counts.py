"""What every scorer needs: shares in points, F1 from counts, and the refusal of lists that do not match."""

from __future__ import annotations

from collections.abc import Collection, Sized
from typing import Any, NamedTuple

from adaptxfer.errors import data_error


class Counts(NamedTuple):
    """How many found things are right, how many were found, how many there are; sums of counts stay counts."""

    tp: int
    predicted: int
    gold: int


def share(hits: float, total: float) -> float:
    """``hits`` out of ``total`` in points (0-100); 0 when there is nothing to divide by."""
    return 100.0 * hits / total if total else 0.0


def f1_points(tp: float, predicted: float, gold: float) -> float:
    """F1 in points: 2 tp / (predicted + gold), which is the harmonic mean of precision and recall."""
    return share(2 * tp, predicted + gold)


def precision_recall_f1(counts: Counts) -> dict[str, float]:
    """Precision, recall and F1 in points, together with the counts, so that a resampling can add and recompute."""
    tp, predicted, gold = counts
    return {
        "precision": share(tp, predicted),
        "recall": share(tp, gold),
        "f1": f1_points(tp, predicted, gold),
        "tp": tp,
        "predicted": predicted,
        "gold": gold,
    }


def check_aligned(gold: Sized, predicted: Sized, what: str) -> None:
    """Refuse two lists that do not stand side by side.

    Raises:
        AdaptxferError: if they differ in length or are empty.
    """
    if len(gold) != len(predicted):
        raise data_error(
            f"Expected one prediction for each of {len(gold)} {what}, found {len(predicted)}.",
            "Predict every item once, in the order of the gold.",
        )
    if not len(gold):
        raise data_error(f"There are no {what} to score.", "Check the split, the language and the limit.")


def check_same_ids(gold: Collection[Any], predicted: Collection[Any], what: str) -> None:
    """Refuse predictions that leave out a gold id or name an unknown one.

    Raises:
        AdaptxferError: with the first id that is missing or unknown, or if there is no gold at all.
    """
    for found, wanted, fault in ((predicted, gold, "no prediction"), (gold, predicted, "a prediction but no gold")):
        known = set(found)
        lacking = [key for key in wanted if key not in known]
        if lacking:
            raise data_error(
                f"{len(lacking)} {what} have {fault}, the first is {lacking[0]!r}.",
                "Predict exactly the questions that are scored.",
            )
    if not gold:
        raise data_error(f"There are no {what} to score.", "Check the split, the language and the limit.")
