"""Batches of a few fixed shapes: what is missing becomes dummy sequences without labels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from adaptxfer.data.batches import PackedBatch
from adaptxfer.data.features import ALIGNED, IGNORED


class Shape(NamedTuple):
    """Sizes that a captured step is bound to."""

    task: str
    tokens: int
    sequences: int
    units: int
    longest: int  # no sequence has more tokens
    choices: int  # no unit has more sequences
    rows: int  # that the head gathers: masked words, or queries; 0 where it reads all


def shape_of(task: str, batch: PackedBatch) -> Shape:
    """The smallest shape that takes a batch and at least one dummy sequence.

    Tokens go up in quarters between powers of two, so at most a fifth of a large batch is dummies.
    """
    real, choices = len(batch.sequences), int(batch.units.diff().max())
    longest = max(32, 2 ** math.ceil(math.log2(batch.longest)))
    sequences = 8 * (real // 8 + 1)
    while (tokens := _budget(batch.tokens + sequences - real)) - batch.tokens > (sequences - real) * longest:
        sequences += 8  # a dummy is no longer than the longest either
    units = len(batch) + math.ceil((sequences - real) / choices)
    return Shape(task, tokens, sequences, units, longest, choices, _rows(batch))


def _rows(batch: PackedBatch) -> int:
    if batch.kind == "mlm":
        return _budget(int((batch.targets["label"] != IGNORED).sum()))
    return int((batch.targets["side"] == 0).sum()) if batch.kind == "retrieve" else 0


def _budget(tokens: int) -> int:
    """The next of 64, 80, 96, 112, 128, 160, 192, 224, 256, ..."""
    step = max(16, 2 ** (math.ceil(math.log2(max(tokens, 2))) - 3))
    return math.ceil(tokens / step) * step


def filled(batch: PackedBatch, shape: Shape) -> PackedBatch:
    """A batch on the host brought to a shape.

    ``targets`` gets ``lengths``, the lengths of the sequences, and ``longest``, to how many the head pads; both stay on
    the host, where reading them costs nothing. Heads that gather some rows get the places of these; see
    `adaptxfer.modules.dual`.
    """
    dummies = shape.sequences - len(batch.sequences)
    lengths = [*batch.bounds.diff().tolist(), *_split(shape.tokens - batch.tokens, dummies)]
    members = [*batch.units.diff().tolist(), *_split(dummies, shape.units - len(batch))]
    sizes = {"unit": shape.units, "sequence": shape.sequences, "token": shape.tokens}
    per = {"label": "token"} if batch.kind == "mlm" else ALIGNED[batch.kind]
    targets = {name: _extended(value, sizes[per[name]], IGNORED) for name, value in batch.targets.items()}
    targets |= _places(batch, shape.rows)
    targets["lengths"] = torch.tensor(lengths)
    targets["longest"] = torch.tensor(shape.choices if batch.kind == "choose" else shape.longest)
    return replace(
        batch, ids=_extended(batch.ids, shape.tokens, 0), bounds=_borders(lengths), units=_borders(members),
        targets=targets, longest=shape.longest,
    )  # fmt: skip


def _places(batch: PackedBatch, count: int) -> dict[str, Tensor]:
    if batch.kind == "mlm":
        label = batch.targets["label"]
        rows = (label != IGNORED).nonzero()[:, 0]
        return {"rows": _extended(rows, count, 0), "label": _extended(label[rows], count, IGNORED)}
    if batch.kind == "retrieve":
        sides = {"queries": 0, "candidates": 1}
        return {name: (batch.targets["side"] == side).nonzero()[:, 0] for name, side in sides.items()}
    return {}


def _split(total: int, parts: int) -> list[int]:
    """A number in parts that are as equal as can be."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def _borders(sizes: list[int]) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)


def _extended(rows: Tensor, size: int, value: int) -> Tensor:
    return torch.cat([rows, rows.new_full((size - len(rows), *rows.shape[1:]), value)])
