from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.estimators import h_score, logme

rng = np.random.default_rng


def planted(n: int, width: int, separation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that differ in a few directions among many that mean nothing."""
    generator = rng(seed)
    labels = generator.integers(0, 3, n)
    centres = np.zeros((3, width))
    centres[:, :4] = separation * generator.normal(size=(3, 4))
    return centres[labels] + generator.normal(size=(n, width)), labels


@pytest.mark.parametrize(("n", "width"), [(200, 64), (300, 400)])
def test_both_rank_modules_by_separation(n: int, width: int) -> None:
    separations = np.linspace(0.2, 2.5, 11)
    made = [planted(n, width, s, i) for i, s in enumerate(separations)]
    truth = [np.linalg.norm(np.std([x[y == k, :4].mean(0) for k in range(3)], axis=0)) for x, y in made]
    for estimator in (logme, h_score):
        assert stats.spearmanr(truth, [estimator(*one) for one in made]).statistic > 0.85


def test_logme_is_the_largest_evidence() -> None:
    """Against the density of a normal distribution with the covariance of the linear model, maximised numerically."""
    x, labels = planted(60, 5, 1.0, 3)
    x = x - x.mean(0)
    best = []
    for k in range(3):
        y = (labels == k) - (labels == k).mean()

        def cost(logs: np.ndarray, y: np.ndarray = y) -> float:
            noise, weight = np.exp(logs)
            return -stats.multivariate_normal(np.zeros(60), np.eye(60) * noise + x @ x.T * weight).logpdf(y) / 60

        best.append(-optimize.minimize(cost, [-2.0, -4.0], method="Nelder-Mead").fun)
    assert logme(x, labels) == pytest.approx(np.mean(best), abs=1e-4)


@pytest.mark.parametrize("estimator", [logme, h_score])
def test_scale_and_order_do_not_matter(estimator) -> None:
    x, labels = planted(150, 20, 1.0, 4)
    order = rng(5).permutation(150)
    assert estimator(1000 * x[order] + 3, labels[order]) == pytest.approx(estimator(x, labels), rel=1e-4)


def test_more_dimensions_than_items() -> None:
    x, labels = planted(40, 100, 1.0, 6)
    assert np.isfinite(logme(x, labels)) and 0 < h_score(x, labels) < 2


@pytest.mark.parametrize("estimator", [logme, h_score])
def test_refusals(estimator) -> None:
    for x, labels in ((np.eye(4), np.zeros(4)), (np.ones((4, 2)), [0, 1, 0, 1]), (np.eye(3), [0, 1])):
        with pytest.raises(AdaptxferError):
            estimator(x, labels)
    with pytest.raises(AdaptxferError, match="shrinkage"):
        h_score(np.eye(4), [0, 1, 0, 1], 0)
