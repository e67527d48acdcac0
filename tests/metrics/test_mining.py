from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.metrics.mining import Pair, margin_pairs


def test_a_hub_loses_to_the_margin():
    # y0 is close to everything; x1 is a little closer to it than to y1, yet y1 has no other friend
    cosine_x, near_x = np.array([[0.9, 0.2], [0.8, 0.78]]), np.array([[0, 1], [0, 1]])
    cosine_y, near_y = np.array([[0.9, 0.8], [0.78, 0.2]]), np.array([[0, 1], [1, 0]])
    pairs = margin_pairs(cosine_x, near_x, cosine_y, near_y)
    assert [pair[:2] for pair in pairs] == [(0, 0), (1, 1)]
    assert pairs[0] == Pair(0, 0, pytest.approx(0.9 / ((0.55 + 0.85) / 2)))


def test_a_neighbourhood_without_positive_mean_gives_no_pair():
    one = np.array([[0]])
    assert margin_pairs(np.array([[-0.5]]), one, np.array([[-0.5]]), one) == []
    assert margin_pairs(np.array([[0.0]]), one, np.array([[0.0]]), one) == []


def test_equal_scores_go_to_the_lower_rows():
    half, ids = np.full((3, 2), 0.5), np.array([[0, 1]] * 3)
    assert margin_pairs(half, ids, half, ids) == [Pair(0, 0, 1.0)]
    one, own = np.full((50, 1), 0.5), np.arange(50)[:, None]
    assert margin_pairs(one, own, one, own) == [Pair(i, i, 1.0) for i in range(50)]
