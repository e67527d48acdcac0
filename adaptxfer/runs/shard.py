"""A part of a grid for machines that share nothing; the folders of their runs are merged by copying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adaptxfer.errors import use_error
from adaptxfer.runs.grid import Grid, Node


def shard(grid: Grid, number: int, of: int) -> Grid:
    """Part ``number`` (from 1) of ``of``.

    Stages that build on one another stay together, so nothing is trained twice and no result depends on a stage of
    another machine. Every machine divides alike.

    Raises:
        AdaptxferError: if there is no such part, or not enough that can be done apart.
    """
    if not 1 <= number <= of:
        raise use_error(f"--shard {number}/{of} is not one of {of} parts.", f"Write 1/{of} to {of}/{of}.")
    groups = _groups(grid.nodes)
    if len(groups) < of:
        raise use_error(
            f"The grid falls into {len(groups)} independent parts, not {of}.",
            f"Use at most --shard 1/{len(groups)}: an intermediate and all that builds on it stay together.",
        )
    parts: list[set[str]] = [set() for _ in range(of)]
    for group in sorted(groups, key=len, reverse=True):  # each to the part that has least to do
        min(parts, key=len).update(group)
    return replace(grid, nodes=tuple(node for node in grid.nodes if node.key in parts[number - 1]))


def _groups(nodes: Sequence[Node]) -> list[list[str]]:
    """Keys of stages that are connected through parents, in the order of their first stages."""
    heads = {node.key: node.key for node in nodes}

    def head(key: str) -> str:
        while heads[key] != key:
            key = heads[key]
        return key

    for node in nodes:
        for parent in node.parents:
            heads[head(node.key)] = head(parent)
    groups: dict[str, list[str]] = {}
    for node in nodes:
        groups.setdefault(head(node.key), []).append(node.key)
    return list(groups.values())


def parse_shard(text: str) -> tuple[int, int]:
    """``2/3`` as numbers.

    Raises:
        AdaptxferError: for anything else.
    """
    number, sign, of = text.partition("/")
    if not (sign and number.isascii() and number.isdecimal() and of.isascii() and of.isdecimal()):
        raise use_error(f"--shard {text!r} is not of the form K/N.", "Write --shard 1/3 for the first of three parts.")
    return int(number), int(of)
