"""How well frozen features fit a target task, without training: scores that rank intermediate modules."""

from __future__ import annotations

import math

import numpy as np

from adaptxfer.errors import data_error

ROUNDS, CLOSE = 100, 1e-6


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """Log evidence per item of a linear model on the features, mean over one-against-rest targets (You et al. 2021).

    Features and targets are centred, which stands for an intercept; the score does not change with the scale of the
    features or the order of the items.

    Args:
        features: (N, D).
        labels: class of each item (N,).

    Raises:
        AdaptxferError: if there are fewer than two classes or items.
    """
    x, classes, index = _checked(features, labels)
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    kept = singular > singular[0] * 1e-10
    left, squares = left[:, kept], singular[kept] ** 2
    return float(np.mean([_evidence(left, squares, (index == k).astype(float)) for k in range(len(classes))]))


def _evidence(left: np.ndarray, squares: np.ndarray, target: np.ndarray) -> float:
    """Maximum over precisions of weights and noise, by MacKay's fixed point."""
    y = target - target.mean()
    n, along = len(y), (left.T @ y) ** 2
    outside = max(float(y @ y - along.sum()), 0.0)
    alpha, beta = 1.0, 1.0
    for _ in range(ROUNDS):
        ratio = alpha / beta
        used = float((squares / (squares + ratio)).sum())
        weights = float((squares * along / (squares + ratio) ** 2).sum())
        rest = float((along / (1 + squares / ratio) ** 2).sum()) + outside
        alpha, beta = used / max(weights, 1e-12), (n - used) / max(rest, 1e-12)
        if abs(alpha / beta - ratio) <= CLOSE * ratio:
            break
    ratio = alpha / beta
    weights = float((squares * along / (squares + ratio) ** 2).sum())
    rest = float((along / (1 + squares / ratio) ** 2).sum()) + outside
    log_det = float(np.log1p(squares * beta / alpha).sum())
    fit = n * math.log(beta) - log_det - beta * rest - alpha * weights - n * math.log(2 * math.pi)
    return fit / (2 * n)


def h_score(features: np.ndarray, labels: np.ndarray, shrinkage: float = 0.1) -> float:
    """Between-class variance of the features in units of their covariance (Bao et al. 2019), shrunk.

    Without shrinkage it is meaningless where there are fewer items than dimensions, as with few-shot data.

    Args:
        features: (N, D).
        labels: class of each item (N,).
        shrinkage: share of a multiple of the identity in the covariance.

    Raises:
        AdaptxferError: as ``logme``, or if the shrinkage is not above 0 and below 1.
    """
    if not 0 < shrinkage < 1:
        raise data_error(f"The shrinkage is {shrinkage}, expected a share between 0 and 1.")
    x, classes, index = _checked(features, labels)
    covariance = x.T @ x / len(x)
    level = np.trace(covariance) / len(covariance)
    shrunk = (1 - shrinkage) * covariance + shrinkage * level * np.eye(len(covariance))
    means = np.stack([x[index == k].mean(0) for k in range(len(classes))])
    between = (means * np.bincount(index)[:, None] / len(x)).T @ means
    return float(np.trace(np.linalg.solve(shrunk, (1 - shrinkage) * between)))


def _checked(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.asarray(features, np.float64)
    classes, index = np.unique(np.asarray(labels), return_inverse=True)
    if x.ndim != 2 or len(x) != len(index):
        raise data_error(f"Expected features (N, D) for {len(index)} labels, found {x.shape}.")
    if len(classes) < 2:
        raise data_error(f"The labels are of {len(classes)} class, expected two or more.", "Take more examples.")
    x = x - x.mean(0)
    if not np.isfinite(x).all() or not x.any():
        raise data_error("The features are constant or not finite.", "Check the module they come from.")
    return x, classes, index
