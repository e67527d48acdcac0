from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.counts import Counts, check_aligned, check_same_ids, precision_recall_f1, share


def test_nothing_to_divide_by_is_zero():
    assert share(0, 0) == 0.0
    assert precision_recall_f1(Counts(0, 0, 0))["f1"] == 0.0


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    scores = precision_recall_f1(Counts(tp=3, predicted=4, gold=8))
    assert (scores["precision"], scores["recall"]) == (75.0, 37.5)
    assert scores["f1"] == pytest.approx(2 * 75 * 37.5 / (75 + 37.5), abs=1e-12)


def test_counts_of_parts_add_up_to_the_counts_of_the_whole():
    whole = precision_recall_f1(Counts(5, 9, 7))
    assert (whole["tp"], whole["predicted"], whole["gold"]) == (5, 9, 7)


@pytest.mark.parametrize(("gold", "predicted", "said"), [([1, 2], [1], "each of 2"), ([], [], "no items")])
def test_unaligned_lists_are_refused(gold, predicted, said):
    with pytest.raises(AdaptxferError, match=said):
        check_aligned(gold, predicted, "items")


@pytest.mark.parametrize(
    ("gold", "predicted", "said"),
    [({"a": 1}, {}, "no prediction, the first is 'a'"), ({}, {"b": 1}, "no gold, the first is 'b'"), ({}, {}, "no q")],
)
def test_ids_must_match(gold, predicted, said):
    with pytest.raises(AdaptxferError, match=said):
        check_same_ids(gold, predicted, "questions")
