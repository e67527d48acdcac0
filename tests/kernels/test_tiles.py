from __future__ import annotations

import pytest

from adaptxfer.kernels.tiles import SAFE, TABLE, tile


def test_more_tokens_take_taller_tiles():
    assert [tile("bottleneck_1", 64, rows, (9, 0)).rows for rows in (1, 2048, 2049, 8192, 8193)] == [16, 16, 32, 32, 64]


@pytest.mark.parametrize(("op", "inner", "capability"), [("bottleneck_1", 48, (9, 0)), ("nothing", 64, (8, 0))])
def test_what_is_not_in_the_table_is_safe(op, inner, capability):
    assert tile(op, inner, 10**6, capability) == SAFE


def test_unknown_gpus_take_the_entries_of_a_known_one():
    assert tile("bottleneck_1", 64, 10**5, (10, 0)) == tile("bottleneck_1", 64, 10**5, (9, 0))
    assert tile("bottleneck_1", 64, 10**5, (12, 0)) == tile("bottleneck_1", 64, 10**5, (8, 0))


def test_tiles_are_powers_of_two_that_matrix_products_take():
    for found in [SAFE, *(entry for entries in TABLE.values() for entry in entries)]:
        assert found.rows in (16, 32, 64) and found.cols in (32, 64) and found.warps in (4, 8)
