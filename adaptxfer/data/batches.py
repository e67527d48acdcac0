"""Batches without padding: which units go together, and the tensors of one batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adaptxfer.data.features import ALIGNED, Features
from adaptxfer.data.ragged import borders, ranges
from adaptxfer.files import derived_seed

ON_DEVICE = {"label", "start", "end", "context_start", "context_end", "side"}
"""Targets that losses and heads read; the rest is for decoding and stays in the features."""


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """Sequences laid end to end; T tokens, S sequences, U units.

    Attributes:
        kind: kind of the features.
        ids: (T,) int64.
        bounds: (S+1,) int64 borders of the sequences.
        units: (U+1,) int64 borders of the units in the sequences.
        targets: int64 tensors per sequence, unit or token, named as in ``Features``.
        examples: (U,) numpy, the example of each unit.
        sequences: (S,) numpy, the sequences' numbers in the features.
        positions: (T,) numpy, the tokens' places in ``features.ids``; ``scores[batch.positions] = output`` puts
            results back into packed order.
        longest: tokens of the longest sequence.
    """

    kind: str
    ids: torch.Tensor
    bounds: torch.Tensor
    units: torch.Tensor
    targets: dict[str, torch.Tensor]
    examples: NDArray
    sequences: NDArray
    positions: NDArray
    longest: int

    def __len__(self) -> int:
        """Number of units."""
        return len(self.examples)

    @property
    def tokens(self) -> int:
        """Real tokens in the batch."""
        return len(self.positions)

    @property
    def padded_tokens(self) -> int:
        """What the batch would cost as a rectangle."""
        return len(self.sequences) * self.longest

    def to(self, device: Any) -> PackedBatch:
        """The same batch with its tensors on ``device``."""
        moved = {name: value.to(device, non_blocking=True) for name, value in self.targets.items()}
        ids, bounds, units = (value.to(device, non_blocking=True) for value in (self.ids, self.bounds, self.units))
        return replace(self, ids=ids, bounds=bounds, units=units, targets=moved)


def pack(features: Features, units: NDArray) -> PackedBatch:
    """The tensors of the chosen units, in the order given.

    Args:
        features: of any kind.
        units: (U,) unit numbers.
    """
    counts = features.units[units + 1] - features.units[units]
    sequences = ranges(features.units[units], counts)
    lengths = features.lengths[sequences]
    positions = ranges(features.bounds[sequences], lengths)
    rows = {"unit": units, "sequence": sequences, "token": positions}
    targets = {
        name: torch.from_numpy(features.targets[name][rows[per]].astype(np.int64))
        for name, per in ALIGNED[features.kind].items()
        if name in ON_DEVICE and name in features.targets
    }
    return PackedBatch(
        features.kind,
        torch.from_numpy(features.ids[positions].astype(np.int64)),
        torch.from_numpy(borders(lengths)),
        torch.from_numpy(borders(counts)),
        targets,
        features.unit_example[units],
        sequences,
        positions,
        int(lengths.max(initial=0)),
    )


def training_batches(features: Features, batch_size: int, seed: int, epoch: int, window: int = 50) -> list[NDArray]:
    """The optimiser batches of one epoch, every unit exactly once.

    Units are shuffled; within windows of ``window`` batches they are grouped by length, so that a batch holds units of
    like length and yet differs from epoch to epoch; then the batches are shuffled. The short rest makes one batch.

    Args:
        features: of any kind.
        batch_size: units per batch.
        seed: of the run or stage.
        epoch: from 0; the list depends on nothing but these arguments, so any epoch and index can be resumed.
        window: how many batches are sorted together.
    """
    random = np.random.default_rng(derived_seed(seed, "batches", str(epoch)))
    order, lengths = random.permutation(len(features)), features.unit_lengths
    batches: list[NDArray] = []
    for start in range(0, len(order), batch_size * window):
        part = order[start : start + batch_size * window]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[first : first + batch_size] for first in range(0, len(part), batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]


def micro_batches(features: Features, units: NDArray, batch_tokens: int) -> list[NDArray]:
    """Split ``units`` into parts that would take at most ``batch_tokens`` tokens as a padded rectangle.

    Longest first, so that a part too large for the memory shows at once. A unit that is larger than the limit by itself
    makes a part of its own.
    """
    longest = features.unit_lengths
    units = np.asarray(units)[np.argsort(-longest[units], kind="stable")]
    sizes = features.units[units + 1] - features.units[units]
    return list(_filled(units, longest[units].tolist(), sizes.tolist(), batch_tokens))


def evaluation_batches(features: Features, batch_tokens: int) -> list[NDArray]:
    """All units once, longest first, at most ``batch_tokens`` padded tokens a batch."""
    return micro_batches(features, np.arange(len(features)), batch_tokens)


def _filled(units: NDArray, longest: list[int], sizes: list[int], batch_tokens: int) -> Iterator[NDArray]:
    start, rows = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (rows + size) * longest[start] > batch_tokens:
            yield units[start:index]
            start, rows = index, 0
        rows += size
    if len(units):
        yield units[start:]
