from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.studies.stats.jackknife import cluster_regression


def test_a_mean_has_the_variance_of_its_cluster_means() -> None:
    generator = np.random.default_rng(1)
    cluster = np.repeat(np.arange(8), 5)
    y = generator.normal(size=40) + generator.normal(size=8)[cluster]
    value, variance = cluster_regression(np.ones((40, 1)), y, cluster)
    means = y.reshape(8, 5).mean(1)
    assert value[0] == pytest.approx(y.mean()) and variance[0] == pytest.approx(means.var(ddof=1) / 8)


def test_coefficients_are_those_of_least_squares() -> None:
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(50, 3)), generator.normal(size=50)
    found, variance = cluster_regression(x, y, None)
    assert found == pytest.approx(np.linalg.lstsq(x, y, rcond=None)[0]) and np.isnan(variance).all()


def test_rows_of_one_cluster_count_once() -> None:
    """Doubling every row within its cluster changes nothing; as rows of their own they would halve the variance."""
    generator = np.random.default_rng(3)
    x, y, cluster = generator.normal(size=(30, 2)), generator.normal(size=30), np.arange(30) // 3
    once = cluster_regression(x, y, cluster)
    twice = cluster_regression(np.repeat(x, 2, 0), np.repeat(y, 2), np.repeat(cluster, 2))
    assert twice[0] == pytest.approx(once[0]) and twice[1] == pytest.approx(once[1])
