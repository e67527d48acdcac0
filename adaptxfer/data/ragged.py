"""Rows of unequal length in one flat array, handled without a loop over rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Part = tuple[NDArray, NDArray, NDArray]
"""A flat source, and per row where its slice starts and how long it is (S,)."""


def borders(lengths: NDArray) -> NDArray:
    """Borders (S+1) int64 of rows with these ``lengths`` (S,)."""
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


def ranges(starts: NDArray, lengths: NDArray) -> NDArray:
    """The flat indices of all slices ``starts[i] .. starts[i] + lengths[i]``, one after the other."""
    before = borders(lengths)
    return np.repeat(starts - before[:-1], lengths) + np.arange(before[-1])


def take_rows(values: NDArray, bounds: NDArray, rows: NDArray) -> NDArray:
    """The chosen rows of a ragged array, flat."""
    return values[ranges(bounds[rows], bounds[rows + 1] - bounds[rows])]


def join_parts(parts: Sequence[Part]) -> tuple[NDArray, NDArray, NDArray]:
    """Rows that consist of one slice of every part, in order.

    Returns:
        the flat values, their borders (S+1), and where each part of each row begins in the flat values (S, parts).
    """
    lengths = np.stack([length for _, _, length in parts], axis=1)
    bounds = borders(lengths.sum(axis=1))
    places = bounds[:-1, None] + np.cumsum(lengths, axis=1) - lengths
    values = np.empty(bounds[-1], parts[0][0].dtype)
    for column, (source, starts, length) in enumerate(parts):
        values[ranges(places[:, column], length)] = source[ranges(starts, length)]
    return values, bounds, places


def constant(values: NDArray, rows: int) -> Part:
    """A part that is the same, whole, in every row."""
    return values, np.zeros(rows, np.int64), np.full(rows, len(values), np.int64)


def row_of(bounds: NDArray) -> NDArray:
    """For every flat position the row it belongs to."""
    return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
