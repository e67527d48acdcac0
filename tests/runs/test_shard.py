from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.shard import parse_shard, shard


def test_parts_are_apart_and_together_the_whole(grid_of) -> None:
    grid = grid_of()
    for of in (1, 2, 3):
        parts = [shard(grid, number, of) for number in range(1, of + 1)]
        keys = [node.key for part in parts for node in part.nodes]
        assert sorted(keys) == sorted(node.key for node in grid.nodes)
        for part in parts:
            own = {node.key for node in part.nodes}
            assert all(own.issuperset((*node.parents, *node.modules)) for node in part.nodes)
            order = [node.key for node in grid.nodes if node.key in own]
            assert [node.key for node in part.nodes] == order, "in the grid's order"
    assert len({len(part.nodes) for part in (shard(grid, 1, 2), shard(grid, 2, 2))}) == 1, "two seeds, two halves"


def test_what_cannot_be_divided(grid_of) -> None:
    with pytest.raises(AdaptxferError, match="--shard 3/2 is not one of 2 parts"):
        shard(grid_of(), 3, 2)
    with pytest.raises(AdaptxferError, match="independent parts, not 99"):
        shard(grid_of(), 1, 99)


def test_words() -> None:
    assert parse_shard("2/3") == (2, 3)
    for wrong in ("", "2", "/", "a/b", "-1/3", "1/3/4", "²/3"):
        with pytest.raises(AdaptxferError, match="K/N"):
            parse_shard(wrong)
