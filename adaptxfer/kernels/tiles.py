"""Sizes of the blocks that Triton kernels work on: a table, with a safe entry for everything that is not in it.

The entries come from ahead-of-time builds (`benchmarks/aot.py`): shared memory that fits and, at width 64, no spilled
registers. They are not tuned by time.
"""

from __future__ import annotations

from typing import NamedTuple


class Tile(NamedTuple):
    """Rows and columns of a block, warps that share it, and stages of the software pipeline."""

    rows: int
    cols: int
    warps: int
    stages: int


SAFE = Tile(16, 64, 4, 2)
HOPPER, AMPERE = (9, 0), (8, 0)
BUCKETS = (2048, 8192)
"""Token counts up to which the first and the second entry of a row hold; the third is for more."""

_16, _32, _64 = Tile(16, 64, 4, 3), Tile(32, 64, 4, 3), Tile(64, 64, 4, 2)
_TALL, _LOW = Tile(64, 32, 4, 2), Tile(16, 32, 4, 2)

TABLE: dict[tuple[tuple[int, int], str, int], tuple[Tile, Tile, Tile]] = {
    (HOPPER, "bottleneck_1", 64): (_16, _32, Tile(64, 64, 4, 3)),
    (HOPPER, "bottleneck_2", 64): (_16, _32, _64),
    (HOPPER, "bottleneck_backward_1", 64): (_16, Tile(32, 32, 4, 3), _64),
    (HOPPER, "bottleneck_backward_2", 64): (_16, _16, Tile(64, 32, 8, 2)),
    (HOPPER, "bottleneck_weights_1", 64): (_32, _64, _64),
    (HOPPER, "bottleneck_weights_2", 64): (_32, _64, _64),
    (AMPERE, "bottleneck_1", 64): (_16, _32, _TALL),
    (AMPERE, "bottleneck_2", 64): (_16, _32, _32),
    (AMPERE, "bottleneck_backward_1", 64): (_16, _16, _32),
    (AMPERE, "bottleneck_backward_2", 64): (_LOW, _LOW, _LOW),
    (AMPERE, "bottleneck_weights_1", 64): (_TALL, _TALL, _TALL),
    (AMPERE, "bottleneck_weights_2", 64): (_TALL, _TALL, _TALL),
}
"""(family, operation and number of adapters, inner width) to one tile per token bucket."""
for _family in (HOPPER, AMPERE):
    for _op in ("bottleneck_backward_2", "bottleneck_weights_2"):
        TABLE[_family, _op, 128] = (_LOW, _LOW, _LOW)
    for _rank in (16, 32, 64):
        TABLE[_family, "lora_shrink_1", _rank] = (_16, _32, _64)
        TABLE[_family, "lora_spread_1", _rank] = (_32, _64, _64)
        TABLE[_family, "lora_gradients_1", _rank] = (_32, _64, _64)


def tile(op: str, inner: int, rows: int, capability: tuple[int, int]) -> Tile:
    """The block of an operation for ``rows`` tokens and bottlenecks padded to ``inner``; never raises.

    Data-centre GPUs from 9.0 on count as Hopper. All others count as Ampere: those from 12.0 on have as little shared
    memory as 8.6 and 8.9.
    """
    family = HOPPER if HOPPER <= capability < (12, 0) else AMPERE
    entries = TABLE.get((family, op, inner))
    if entries is None:
        return SAFE
    return entries[sum(rows > bucket for bucket in BUCKETS)]
