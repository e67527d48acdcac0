"""Scores of how sure a classifier is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptxfer.metrics.calibration import (
    calibration_error,
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


def test_contrast_of_a_perfect_and_a_constant_classifier() -> None:
    assert entailment_contrast(PERFECT, GOLD, 0, 2) == 1
    assert entailment_contrast(np.full((5, 3), 1 / 3), GOLD, 0, 2) == 0
    assert entailment_contrast(PERFECT[:, ::-1], GOLD, 0, 2) == -1
    assert math.isnan(entailment_contrast(PERFECT[:1], GOLD[:1], 0, 2))
