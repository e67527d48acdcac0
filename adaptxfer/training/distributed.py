"""One run on several processes: each takes a share of every batch, and their gradients are added up.

The result is that of one process for the same batch, but for rounding: every process divides its losses by the count of
the whole batch, the gradients are summed, clipped by their common norm, and the same step is made everywhere. Dropout
masks (and the masks of masked words) come from a stream of random numbers per process, the first having that of a
single process; so with dropout the result is another draw, as it is with another seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaptxfer import ranks
from adaptxfer.data.batches import PackedBatch
from adaptxfer.data.features import IGNORED, Features
from adaptxfer.files import derived_seed

BUCKET = 1 << 24
"""Weights whose gradients travel in one message: 64 MiB as float32."""


def split_by_tokens(features: Features, units: NDArray, parts: int) -> list[NDArray]:
    """Divide units into parts of about as many tokens: the longest first, each to the part that has fewest.

    Args:
        features: of any kind.
        units: (U,) unit numbers.
        parts: how many; some are empty if there are fewer units.
    """
    if parts == 1:
        return [units]
    borders = features.bounds[features.units]
    tokens = borders[units + 1] - borders[units]
    load, found = np.zeros(parts, np.int64), [[] for _ in range(parts)]
    for index in np.argsort(-tokens, kind="stable"):
        part = int(load.argmin())
        load[part] += tokens[index]
        found[part].append(units[index])
    return [np.array(part, dtype=units.dtype) for part in found]


def muted(batch: PackedBatch) -> PackedBatch:
    """The same batch without labels: its loss is 0, its gradients too, and it counts no tokens."""
    silent = {
        name: torch.full_like(value, IGNORED) if name in ("label", "start", "end") else value
        for name, value in batch.targets.items()
    }
    return replace(batch, targets=silent, positions=batch.positions[:0])


def seed_of_process(seed: int) -> int:
    """The seed of this process's random numbers in training; the first has that of a single process."""
    return derived_seed(seed, "training", *([] if ranks.is_first() else [f"process {ranks.rank()}"]))


def add_up(parameters: Sequence[Tensor], *values: float | Tensor) -> list[float]:
    """Replace the gradients of ``parameters`` by their sums over all processes, and sum the ``values`` as well."""
    if ranks.size() == 1:
        return [float(value) for value in values]
    for bucket in buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
        flat = ranks.total(torch.cat([gradient.reshape(-1) for gradient in bucket]))
        for gradient, summed in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(summed.view_as(gradient))
    return ranks.total(torch.tensor([float(value) for value in values], dtype=torch.float64)).tolist()


def buckets(gradients: Sequence[Tensor], size: int = BUCKET) -> list[list[Tensor]]:
    """Gradients in their order, in groups of about ``size`` values."""
    ends = np.cumsum([gradient.numel() for gradient in gradients])
    numbered = zip((ends - 1) // size, gradients, strict=True)
    return [[gradient for _, gradient in group] for _, group in groupby(numbered, key=lambda pair: pair[0])]
