from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.data.samplers import language_weights, probabilities, schedule
from adaptxfer.errors import AdaptxferError

# Training sizes of the nine intermediate tasks and their chances, as published for the multi-task setting.
SIZES = [1_104_934, 392_702, 363_846, 87_599, 130_319, 39_905, 38_015, 25_262, 9_741]
TABLE = {
    "capped": [0.1810, 0.1810, 0.1810, 0.1210, 0.1800, 0.0551, 0.0525, 0.0349, 0.0135],
    "proportional": [0.5040, 0.1791, 0.1660, 0.0400, 0.0594, 0.0182, 0.0173, 0.0115, 0.0044],
    "sqrt": [0.2928, 0.1745, 0.1680, 0.0824, 0.1005, 0.0556, 0.0543, 0.0443, 0.0275],
}


@pytest.mark.parametrize("rule", TABLE)
def test_probability_table(rule):
    assert probabilities(SIZES, rule).round(4).tolist() == TABLE[rule]


def test_temperature_lies_between_capped_and_uniform():
    assert np.allclose(probabilities(SIZES, "temperature", temperature=1), probabilities(SIZES, "capped"))
    assert np.allclose(probabilities(SIZES, "temperature", temperature=1e9), probabilities(SIZES, "uniform"))
    assert np.allclose(probabilities([400, 100], "temperature", cap=225, temperature=2), [0.6, 0.4])


@pytest.mark.parametrize("sizes", [[], [5, 0]])
def test_bad_sizes(sizes):
    with pytest.raises(AdaptxferError, match="at least one example"):
        probabilities(sizes)


def test_unknown_rule():
    with pytest.raises(AdaptxferError, match="Did you mean 'capped'"):
        probabilities([1], "caped")


def test_schedule_follows_the_chances_and_repeats():
    drawn = schedule(probabilities(SIZES), 200_000, seed=3)
    assert np.allclose(np.bincount(drawn) / len(drawn), probabilities(SIZES), atol=0.005)
    assert np.array_equal(drawn, schedule(probabilities(SIZES), 200_000, seed=3))
    assert not np.array_equal(drawn[:100], schedule(probabilities(SIZES), 100, seed=4))


def test_language_weights():
    weights = language_weights({"en": 1024, "sw": 1})
    assert weights == pytest.approx({"en": 8 / 9, "sw": 1 / 9})
