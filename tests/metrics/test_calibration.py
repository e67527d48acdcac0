"""Scores of how sure a classifier is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptxfer.metrics.calibration import (
    calibration_error,
    cosines,
    entailment_auroc,
    entailment_contrast,
    negative_log_likelihood,
    softmax,
)

GOLD = np.array([0, 1, 2, 0, 2])
PERFECT = np.eye(3)[GOLD]


def test_softmax_survives_large_scores() -> None:
    assert softmax(np.array([[1000.0, 1000.0]])) == pytest.approx(np.array([[0.5, 0.5]]))


def test_likelihood_of_certainty_and_of_none() -> None:
    assert negative_log_likelihood(list(PERFECT), list(GOLD)) == pytest.approx(0)
    assert negative_log_likelihood([np.full(4, 0.25), np.full(2, 0.5)], [0, 1]) == pytest.approx(
        (math.log(4) + math.log(2)) / 2
    )
    assert math.isfinite(negative_log_likelihood([np.array([1.0, 0.0])], [1]))


def test_calibration_is_accuracy_against_confidence() -> None:
    sure = [np.array([0.9, 0.1])] * 10
    assert calibration_error(sure, [0] * 9 + [1]) == pytest.approx(0)
    assert calibration_error(sure, [1] * 10) == pytest.approx(0.9)
    assert calibration_error(list(PERFECT), list(GOLD)) == pytest.approx(0)


def test_contrast_and_order_of_a_perfect_and_a_constant_classifier() -> None:
    for of, values in ((entailment_contrast, (1, 0, -1)), (entailment_auroc, (1, 0.5, 0))):
        found = [of(p, GOLD, 0, 2) for p in (PERFECT[:, 0], np.full(5, 1 / 3), PERFECT[:, 2])]
        assert found == pytest.approx(values)
        assert math.isnan(of(PERFECT[:1, 0], GOLD[:1], 0, 2)), "no contradiction to stand against"


def test_order_is_the_share_of_pairs_in_it_and_ties_count_half() -> None:
    generator = np.random.default_rng(0)
    values, gold = generator.integers(0, 6, 60) / 5, generator.integers(0, 3, 60)
    pairs = [(a > b) + 0.5 * (a == b) for a in values[gold == 1] for b in values[gold == 0]]
    assert entailment_auroc(values, gold, 1, 0) == pytest.approx(np.mean(pairs))
    assert entailment_auroc(values**3, gold, 1, 0) == pytest.approx(np.mean(pairs)), "whatever the scale"


def test_cosines_of_rows() -> None:
    one, other = np.array([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 5.0], [0.0, -1.0]])
    assert cosines(one, other) == pytest.approx([1, math.sqrt(0.5), -1])
