"""Corrections for many tests at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjusted p-values (K,) that control the chance of any false claim (Holm 1979); missing ones stay missing."""
    return _adjust(p, _holm)


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
    """Adjusted p-values (K,) that control the share of false claims (1995); missing ones stay missing."""
    return _adjust(p, _benjamini_hochberg)


def _adjust(p: Sequence[float], rule: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    values = np.asarray(p, float)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    adjusted = np.full(len(values), np.nan)
    if len(order):
        adjusted[order] = np.minimum(rule(values[order]), 1.0)
    return adjusted


def _holm(ordered: np.ndarray) -> np.ndarray:
    return np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1))


def _benjamini_hochberg(ordered: np.ndarray) -> np.ndarray:
    n = len(ordered)
    return np.minimum.accumulate((ordered * n / np.arange(1, n + 1))[::-1])[::-1]
