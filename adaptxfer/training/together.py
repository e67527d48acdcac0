"""Several runs at once over one frozen encoder: one forward and backward pass, everything else each run's own.

Losses are normalised per run, gradients clipped per run; optimiser, schedule, dev scores, checkpoints and random
numbers (dropout included) are each run's own, and a run that ends leaves the others. So every run learns what it learns
alone, up to the rounding of larger matrix products.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from adaptxfer.data.batches import PackedBatch
from adaptxfer.encoder.together import Together
from adaptxfer.errors import AdaptxferError
from adaptxfer.kernels.grouped import Stream
from adaptxfer.modules.model import AdaptedModel
from adaptxfer.training.loop import Interrupted, Learner, Report, Score, TrainingResult, graceful, training_seed
from adaptxfer.training.options import TrainingOptions
from adaptxfer.training.steps import Steps


@dataclass(frozen=True)
class Part:
    """One of the runs: the arguments of `adaptxfer.training.loop.train`.

    Models are built on twins (`adaptxfer.encoder.together.twin`) of one encoder; precision is the same in all options.
    """

    model: AdaptedModel
    trained: Mapping[str, nn.Parameter]
    steps: Steps
    options: TrainingOptions
    folder: Path
    score: Score
    report: Report
    chance_score: float | None = None


Ended = Callable[[int, TrainingResult | AdaptxferError], None]
Drawn = tuple[str, list[PackedBatch]]


def train_together(parts: Sequence[Part], ended: Ended) -> None:
    """Train all of them, each as long as it has steps.

    Args:
        parts: the runs; each continues from its own newest checkpoint.
        ended: told the number of every run as soon as it ends, with its best weights in place, or why it failed; the
            others go on.

    Raises:
        AdaptxferError: on an interruption, after all checkpoints were saved (code 130).
    """
    group = _Group(parts)
    going = list(range(len(parts)))
    with graceful() as stop:
        while going:
            failed, saved = group.step([number for number in going if not group.learners[number].done], stop)
            stopping = saved and stop.is_set()
            over = [number for number in going if number in failed or group.learners[number].done]
            for number in over:
                if number in failed:
                    ended(number, failed[number])
                elif not stopping:  # it is finished when it is continued
                    ended(number, group.finish(number))
            if stopping:
                raise Interrupted(max(learner.progress.step for learner in group.learners))
            going = [number for number in going if number not in over]


class _Group:
    """The runs' moving parts."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.streams = [Stream(training_seed(part.options)) for part in parts]
        self.learners: list[Learner] = []
        for part, stream in zip(parts, self.streams, strict=True):
            with stream.turn():
                self.learners.append(
                    Learner(part.model, part.trained, part.steps, part.options, part.folder, part.report)
                )
            part.model.train()  # networks are joined as they stand
        self.together = Together([part.model.network for part in parts], self.streams)

    def step(self, numbers: Sequence[int], stop: threading.Event) -> tuple[dict[int, AdaptxferError], bool]:
        """One optimiser step of each of these runs, and what is due after it.

        Returns:
            What failed, by number, and whether the checkpoints of all others are saved.
        """
        started = time.perf_counter()
        drawn = {number: self.learners[number].draw() for number in numbers}
        losses = self._backward(drawn)
        tokens = {number: sum(batch.tokens for batch in batches) for number, (_, batches) in drawn.items()}
        seconds = (time.perf_counter() - started) / max(1, sum(tokens.values()))
        failed, saved = {}, True
        for number, (task, _) in drawn.items():
            part, learner = self.parts[number], self.learners[number]
            try:
                learner.advance(task, losses[number], tokens[number], seconds * tokens[number])
                with self.streams[number].turn():  # a checkpoint keeps the random numbers
                    saved &= learner.look(part.score, part.chance_score, stop)
            except AdaptxferError as error:
                failed[number] = error
        return failed, saved

    def finish(self, number: int) -> TrainingResult | AdaptxferError:
        """Put the best weights of a run in place."""
        try:
            return self.learners[number].finish()
        except AdaptxferError as error:
            return error

    def _backward(self, drawn: Mapping[int, Drawn]) -> dict[int, Tensor]:
        """Gradients of every run's own mean loss, and these losses."""
        counts, totals = {}, {}
        for number, (task, batches) in drawn.items():
            learner = self.learners[number]
            learner.model.train()
            counts[number] = learner.count(task, batches)
            totals[number] = torch.zeros((), device=learner.accelerator.device)
        for wave in self._waves(drawn):
            losses = self._losses({number: (drawn[number][0], batch) for number, batch in wave.items()})
            shares = {number: loss / counts[number] for number, loss in losses.items()}
            torch.stack(list(shares.values())).sum().backward()
            for number, share in shares.items():
                totals[number] += share.detach()
        for number in drawn:
            if (penalty := self.parts[number].model.method.penalty()) is not None:
                penalty.backward()
                totals[number] += penalty.detach()
        return totals

    def _waves(self, drawn: Mapping[int, Drawn]) -> Iterator[dict[int, PackedBatch]]:
        """The pieces of all runs in turn, as many at a time as fit the bound on a forward pass."""
        limit = max((self.learners[number].options.batch_tokens for number in drawn), default=0)
        for index in range(max((len(batches) for _, batches in drawn.values()), default=0)):
            wave, size = {}, 0
            for number, (_, batches) in drawn.items():
                if index >= len(batches):
                    continue
                if wave and size + batches[index].padded_tokens > limit:
                    yield wave
                    wave, size = {}, 0
                wave[number] = batches[index]
                size += batches[index].padded_tokens
            yield wave

    def _losses(self, pieces: Mapping[int, tuple[str, PackedBatch]]) -> dict[int, Tensor]:
        """Summed losses of one piece each of several runs."""
        found = {}
        with self.learners[0].accelerator.autocast():
            heads = [self.parts[number].model.head(task) for number, (task, _) in pieces.items()]
            inputs = [(batch.ids, batch.bounds) for _, batch in pieces.values()]
            states = self.together.encode(list(pieces), inputs, [head.reads_first for head in heads])
            for (number, (_, batch)), head, hidden in zip(pieces.items(), heads, states, strict=True):
                with self.streams[number].turn():
                    bounds = head.bounds_of(batch.bounds)
                    found[number] = head.train_loss(hidden, bounds, {**batch.targets, "units": batch.units})
        return found
