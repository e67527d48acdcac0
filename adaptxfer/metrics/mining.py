"""Sentence pairs by ratio margin, given the nearest neighbours of both sides (Artetxe and Schwenk 2019)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np


class Pair(NamedTuple):
    """A mined pair: two rows or two sentence ids, and its margin score (higher is better)."""

    source: Hashable
    target: Hashable
    score: float


def margin_pairs(cosine_x: np.ndarray, near_x: np.ndarray, cosine_y: np.ndarray, near_y: np.ndarray) -> list[Pair]:
    """One-to-one pairs of rows, best first, scores above 0.

    The score of a pair is its cosine over the mean of both rows' average cosine to their neighbours. Every row proposes
    its best neighbour, and proposals are taken in order of score while both rows are free; of equal scores the earlier
    row comes first, x before y.

    Args:
        cosine_x: (n, k) cosines of each x to its nearest y, best first.
        near_x: (n, k) rows of these y.
        cosine_y: (m, k) cosines of each y to its nearest x.
        near_y: (m, k) rows of these x.
    """
    mean_x, mean_y = cosine_x.mean(1), cosine_y.mean(1)
    score_x, pick_x = _best_margin(cosine_x, near_x, mean_x, mean_y)
    score_y, pick_y = _best_margin(cosine_y, near_y, mean_y, mean_x)
    rows = np.concatenate([np.arange(len(near_x)), pick_y])
    columns = np.concatenate([pick_x, np.arange(len(near_y))])
    return _one_to_one(rows, columns, np.concatenate([score_x, score_y]))


def _best_margin(
    cosines: np.ndarray, ids: np.ndarray, own: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Score and id of each row's best neighbour; a neighbourhood that averages 0 or less has no ratio and scores 0."""
    around = (own[:, None] + other[ids]) / 2
    margins = np.divide(cosines, around, out=np.zeros_like(cosines), where=around > 0)
    pick = margins.argmax(1)[:, None]
    return np.take_along_axis(margins, pick, 1)[:, 0], np.take_along_axis(ids, pick, 1)[:, 0]


def _one_to_one(rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> list[Pair]:
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    pairs = []
    order = np.argsort(-scores, kind="stable")
    for i, j, score in zip(rows[order].tolist(), columns[order].tolist(), scores[order].tolist(), strict=True):
        if score <= 0:
            break
        if i not in taken_rows and j not in taken_columns:
            taken_rows.add(i)
            taken_columns.add(j)
            pairs.append(Pair(i, j, score))
    return pairs
