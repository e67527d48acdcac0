"""Least squares with an interval that knows of clusters: leave one out after the other."""

from __future__ import annotations

import numpy as np


def cluster_regression(
    columns: np.ndarray, values: np.ndarray, cluster: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares coefficients and their variance when rows of a cluster are not independent.

    The variance is the jackknife over clusters (CV3 of MacKinnon, Nielsen and Webb 2023), which keeps its level with
    fewer and less equal clusters than the usual sandwich does; its degrees of freedom are clusters less one.

    Args:
        columns: of the design (N, K).
        values: (N,).
        cluster: number of each row's cluster, from 0 without gaps (N,); None for coefficients alone.

    Returns:
        coefficients and variances (K,), the latter not a number with fewer than two clusters.
    """
    x, y = np.asarray(columns, float), np.asarray(values, float)
    square, product = x.T @ x, x.T @ y
    found = np.linalg.pinv(square, hermitian=True) @ product
    count = 0 if cluster is None else int(cluster.max()) + 1
    if cluster is None or count < 2:
        return found, np.full(len(found), np.nan)
    order = np.argsort(cluster, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(cluster, minlength=count))[:-1])
    off = np.empty((count, len(found)))
    for g, rows in enumerate(parts):
        a, b = x[rows], y[rows]
        off[g] = np.linalg.pinv(square - a.T @ a, hermitian=True) @ (product - a.T @ b) - found
    return found, (count - 1) / count * (off**2).sum(0)
