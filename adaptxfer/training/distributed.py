"""One run on several processes: each takes a share of every batch, and their gradients are added up.

The result is that of one process for the same batch, but for rounding: every process divides its losses by the count of
the whole batch, the gradients are summed, clipped by their common norm, and the same step is made everywhere. Dropout
masks (and the masks of masked words) come from a stream of random numbers per process, the first having that of a
single process; so with dropout the result is another draw, as it is with another seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from adaptxfer import ranks
from adaptxfer.data.batches import PackedBatch
from adaptxfer.data.features import IGNORED, Features
from adaptxfer.errors import use_error
from adaptxfer.files import derived_seed
from adaptxfer.modules.model import AdaptedModel

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


def spread(model: AdaptedModel, trained: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Spread the weights of a model and their optimiser over the processes: each keeps a share (FSDP, `fully_shard`).

    A layer is put together when it computes and taken apart again. Weights stay fp32; autocast makes bf16 of them.

    Returns:
        The weights that train, by name: they are new objects.

    Raises:
        AdaptxferError: with one process, or for masked words, whose head reads the embeddings behind the model's back.
    """
    if ranks.size() == 1:
        raise use_error("--sharded needs several processes.", "Start it with torchrun --nproc-per-node N -m adaptxfer.")
    if not all(head.trains for head in model.heads.values()):
        raise use_error("--sharded does not go with --mlm.", "Leave out one of them.")
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (ranks.size(),))
    for layer in model.network.encoder.layer:  # type: ignore[union-attr]
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return {name: parameter for name, parameter in model.named_parameters() if name in trained}


def padded(batches: Sequence[PackedBatch]) -> list[PackedBatch]:
    """As many batches as the process that has most, with muted ones at the end: a sharded model runs in all or none."""
    return [*batches, *[muted(batches[-1])] * (ranks.most(len(batches)) - len(batches))]


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
