from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adaptxfer.data.ragged import borders, constant, join_parts, ranges, row_of, take_rows

rows = st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=6)


def flat(lists):
    return np.array([value for row in lists for value in row], np.int64), borders(
        np.array([len(row) for row in lists], np.int64)
    )


@given(rows)
def test_ranges_and_rows(lists):
    values, bounds = flat(lists)
    assert np.array_equal(ranges(bounds[:-1], np.diff(bounds)), np.arange(len(values)))
    assert row_of(bounds).tolist() == [number for number, row in enumerate(lists) for _ in row]
    back = np.arange(len(lists))[::-1]
    assert take_rows(values, bounds, back).tolist() == [value for row in lists[::-1] for value in row]


@given(rows)
def test_parts_are_joined_row_by_row(lists):
    values, bounds = flat(lists)
    inner = (values, bounds[:-1], np.diff(bounds))
    special = constant(np.array([7, 8]), len(lists))
    ids, new, places = join_parts([special, inner, special])
    assert [ids[a:b].tolist() for a, b in pairwise(new)] == [[7, 8, *row, 7, 8] for row in lists]
    assert places[:, 1].tolist() == (new[:-1] + 2).tolist()
