"""Which examples each optimiser step sees: a pure function of the data, the seed and the step number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from adaptxfer import ranks
from adaptxfer.data.batches import PackedBatch, micro_batches, pack, training_batches
from adaptxfer.data.features import Features
from adaptxfer.data.mlm import mask_tokens
from adaptxfer.errors import data_error, use_error
from adaptxfer.files import derived_seed
from adaptxfer.training.distributed import muted, split_by_tokens
from adaptxfer.training.options import TrainingOptions


@dataclass
class TaskData:
    """Training features of one task, with batches made epoch by epoch and kept for the current one."""

    task: str
    features: Features
    batch_size: int
    seed: int
    _epoch: int = -1
    _batches: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.features) == 0:
            raise data_error(f"{self.task} has no training examples.", "Check the data with `adaptxfer tasks check`.")

    @property
    def batches_per_epoch(self) -> int:
        """Optimiser steps in one pass."""
        return math.ceil(len(self.features) / self.batch_size)

    def units(self, number: int) -> np.ndarray:
        """The units of this task's batch ``number``, counted over all epochs."""
        epoch, index = divmod(number, self.batches_per_epoch)
        if epoch != self._epoch:
            seed = derived_seed(self.seed, "order", self.task)
            self._batches = training_batches(self.features, self.batch_size, seed, epoch)
            self._epoch = epoch
        return self._batches[index]

    def batches(self, number: int, batch_tokens: int) -> list[PackedBatch]:
        """Batch ``number`` in pieces of at most ``batch_tokens`` padded tokens.

        Retrieval batches stay whole: the wrong candidates of a query are those of its batch. Of several processes each
        takes its share; one that is left without any gets a batch that adds nothing.
        """
        units = self.units(number)
        if self.features.kind == "retrieve":
            return [pack(self.features, _undivided(units))]
        mine = split_by_tokens(self.features, units, ranks.size())[ranks.rank()]
        if not len(mine):
            return [muted(pack(self.features, units[:1]))]
        return [pack(self.features, part) for part in micro_batches(self.features, mine, batch_tokens)]


@dataclass
class MaskedData(TaskData):
    """Text of one language for masked-language modelling; masks are drawn anew for every batch.

    ``task`` is the name of the head all languages share, ``language`` tells their random numbers apart.
    """

    language: str = ""
    tokenizer: Any = None

    def batches(self, number: int, batch_tokens: int) -> list[PackedBatch]:
        """Batch ``number`` with its masks."""
        masked = []
        for index, batch in enumerate(super().batches(number, batch_tokens)):
            place = str(index) if ranks.is_first() else f"{ranks.rank()}.{index}"
            seed = derived_seed(self.seed, "mask", self.language, str(number), place)
            ids, labels = mask_tokens(batch.ids, self.tokenizer, torch.Generator().manual_seed(seed))
            masked.append(replace(batch, ids=ids, targets={"label": labels}))
        return [muted(batch) if not batch.tokens else batch for batch in masked]


class Steps:
    """The schedule of a run: for each optimiser step one task, and the next batch of that task.

    Args:
        tasks: training data by task.
        order: (total,) index into ``tasks`` for every step; all zeros for a single task.
    """

    def __init__(self, tasks: Sequence[TaskData], order: np.ndarray) -> None:
        self.tasks = tasks
        self.order = order
        # how many earlier steps went to the same task: the number of the batch to take
        self._number = np.empty(len(order), dtype=np.int64)
        for index in range(len(tasks)):
            chosen = order == index
            self._number[chosen] = np.arange(int(chosen.sum()))

    def __len__(self) -> int:
        return len(self.order)

    def at(self, step: int, batch_tokens: int) -> tuple[str, list[PackedBatch]]:
        """The task of a step and its batch, cut into pieces of at most ``batch_tokens`` padded tokens."""
        task = self.tasks[self.order[step]]
        return task.task, task.batches(int(self._number[step]), batch_tokens)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return ((step, self.tasks[index].task) for step, index in enumerate(self.order))


def single_task(task: TaskData, options: TrainingOptions) -> Steps:
    """The schedule of one task: ``epochs`` passes, or ``max_steps``."""
    total = options.max_steps or max(1, round(options.epochs * task.batches_per_epoch))
    return Steps([task], np.zeros(total, dtype=np.int64))


def _undivided(units: np.ndarray) -> np.ndarray:
    """The units of a batch that cannot be shared.

    Raises:
        AdaptxferError: if several processes train.
    """
    if ranks.size() > 1:
        raise use_error(
            "Training for retrieval needs one process: the wrong candidates of a query are those of its whole batch.",
            "Start it without torchrun or accelerate launch.",
        )
    return units
