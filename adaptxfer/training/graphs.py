"""Optimiser steps of a fixed shape, replayed as CUDA graphs.

At the batch sizes of the literature a step over XLM-R Large waits for Python: launching its kernels takes several times
as long as running them. So a batch is brought to one of a few shapes, `Shape`; what is missing to the shape becomes
dummy sequences without labels, which change no loss and no gradient. The first steps of a shape run as they are, the
next is captured whole (forward, backward, clipping, AdamW), and from then on the shape costs one launch. Batches,
learning rate and the seeds of dropout are read from memory on the device.

Capture and replay follow the rules of ``torch.cuda.graph``. They have not run on a GPU yet; the steps themselves are
tested uncaptured against ordinary ones.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adaptxfer.data.batches import PackedBatch
from adaptxfer.data.features import ALIGNED
from adaptxfer.encoder.lower import lower
from adaptxfer.errors import training_error, use_error
from adaptxfer.training.loop import Learner, check_gradients
from adaptxfer.training.optimiser import rate
from adaptxfer.training.options import TrainingOptions
from adaptxfer.training.watch import check_finite

IGNORED = -100
STATIC_KINDS = ("classify", "choose", "tag", "span")
"""Kinds whose heads read no sizes from the device; the others take ordinary steps."""
WARM = 2
"""Steps of a shape before it is captured: libraries set themselves up in them."""
MOST = 32
"""Shapes that are captured; each keeps its launches in memory, the memory of tensors is shared."""
log = logging.getLogger("adaptxfer")


class Shape(NamedTuple):
    """Sizes that a captured step is bound to."""

    task: str
    tokens: int
    sequences: int
    units: int
    longest: int  # no sequence has more tokens
    choices: int  # no unit has more sequences


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
    return Shape(task, tokens, sequences, units, longest, choices)


def _budget(tokens: int) -> int:
    """The next of 64, 80, 96, 112, 128, 160, 192, 224, 256, ..."""
    step = max(16, 2 ** (math.ceil(math.log2(max(tokens, 2))) - 3))
    return math.ceil(tokens / step) * step


def filled(batch: PackedBatch, shape: Shape) -> PackedBatch:
    """A batch on the host brought to a shape.

    ``targets`` gets ``lengths``, the lengths of the sequences, and ``longest``, to how many the head pads; both stay on
    the host, where reading them costs nothing.
    """
    dummies = shape.sequences - len(batch.sequences)
    lengths = [*batch.bounds.diff().tolist(), *_split(shape.tokens - batch.tokens, dummies)]
    members = [*batch.units.diff().tolist(), *_split(dummies, shape.units - len(batch))]
    sizes = {"unit": shape.units, "sequence": shape.sequences, "token": shape.tokens}
    per = ALIGNED[batch.kind]
    targets = {name: _extended(value, sizes[per[name]], IGNORED) for name, value in batch.targets.items()}
    targets["lengths"] = torch.tensor(lengths)
    targets["longest"] = torch.tensor(shape.choices if batch.kind == "choose" else shape.longest)
    return replace(
        batch, ids=_extended(batch.ids, shape.tokens, 0), bounds=_borders(lengths), units=_borders(members),
        targets=targets, longest=shape.longest,
    )  # fmt: skip


def _split(total: int, parts: int) -> list[int]:
    """A number in parts that are as equal as can be."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def _borders(sizes: list[int]) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)


def _extended(rows: Tensor, size: int, value: int) -> Tensor:
    return torch.cat([rows, rows.new_full((size - len(rows), *rows.shape[1:]), value)])


class Slot:
    """The memory on the device that steps of one shape read, and what was captured over it."""

    def __init__(self, batch: PackedBatch, device: torch.device) -> None:
        self.seen, self.graph = 0, None
        self.batch = replace(batch.to(device), targets=self._targets(batch, device))

    def _targets(self, batch: PackedBatch, device: torch.device) -> dict[str, Tensor]:
        moved = {name: value.to(device) for name, value in batch.targets.items()}
        moved["longest"] = batch.targets["longest"]
        # On CUDA the attention needs the longest alone (the rest is in the bounds), and capture fixes it.
        moved["lengths"] = torch.tensor([batch.longest]) if device.type == "cuda" else batch.targets["lengths"].clone()
        return moved

    def load(self, batch: PackedBatch) -> None:
        """Take over the numbers of another batch of this shape."""
        pairs = [(getattr(self.batch, name), getattr(batch, name)) for name in ("ids", "bounds", "units")]
        names = batch.targets.keys() - ({"lengths"} if self.batch.ids.is_cuda else set())
        for mine, new in [*pairs, *((self.batch.targets[name], batch.targets[name]) for name in names)]:
            mine.copy_(new, non_blocking=True)


class GraphLearner(Learner):
    """A run whose steps have fixed shapes; see the module. ``capture`` False runs them as they are, on any device."""

    def __init__(self, *parts: Any, capture: bool = True) -> None:
        super().__init__(*parts)
        device = self.accelerator.device
        self.capture, self.slots = capture, dict[Shape, Slot]()
        self.rate, self.outcome = torch.zeros((), device=device), torch.zeros(2, device=device)
        # AdamW leaves the weights alone where this is 1: by the time the host knows of a NaN it would be too late.
        self.optimiser.found_inf = torch.zeros((), device=device)  # type: ignore[attr-defined]
        for group in self.optimiser.param_groups:
            group |= {"fused": True, "foreach": False, "capturable": device.type == "cuda"}
        self.optimiser._warned_capturable_if_run_uncaptured = True  # type: ignore[attr-defined]  # it is meant to
        if capture:
            self.stream, self.pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def step(self) -> None:
        """One optimiser step, of a fixed shape where the batch is in one piece."""
        task, batches = self.steps.at(self.progress.step, self.options.batch_tokens)
        if len(batches) > 1 or batches[0].kind not in STATIC_KINDS:
            self.optimiser.zero_grad(set_to_none=True)  # captured steps leave theirs
            return super().step()
        started, number = time.perf_counter(), self.progress.step
        self.model.train()
        lr = self.options.learning_rate * rate(number, len(self.steps), self.options.warmup)
        self.rate.fill_(lr)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        self._run(task, batches[0])
        loss, norm = self.outcome.tolist()
        check_finite("loss", number, loss)
        check_finite("gradient norm", number, norm)
        return self.note_step(task, loss, lr, batches[0].tokens, time.perf_counter() - started)

    def _run(self, task: str, batch: PackedBatch) -> None:
        shape = shape_of(task, batch)
        batch = filled(batch, shape)
        slot = self.slots.setdefault(shape, Slot(batch, self.accelerator.device))
        slot.load(batch)
        slot.seen += 1
        if slot.graph is None and self.capture and slot.seen > WARM and self._captured() < MOST:
            slot.graph = self._try_graph(task, slot)
        if slot.graph is not None:
            slot.graph.replay()
        elif self.capture:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                self._whole(task, slot)
            torch.cuda.current_stream().wait_stream(self.stream)
        else:
            self._whole(task, slot)
        if task not in self.checked:
            check_gradients(self.trained, task)
            self.checked.add(task)

    def _captured(self) -> int:
        return sum(slot.graph is not None for slot in self.slots.values())

    def _try_graph(self, task: str, slot: Slot) -> Any:
        """As `_graph`; None if that fails, which ends all capturing unless it was asked for."""
        try:
            return self._graph(task, slot)
        except RuntimeError as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if self.options.graphs == "on":
                text = f"A step cannot be captured as a CUDA graph: {reason}."
                raise training_error(text, "Use --graphs off.") from error
            log.warning("Steps are not captured as CUDA graphs: %s.", reason)
            self.capture = False
            self.optimiser.zero_grad(set_to_none=True)
            return None

    def _graph(self, task: str, slot: Slot) -> Any:
        """A step, captured and not run; gradients get new places, which replays write again."""
        graph = torch.cuda.CUDAGraph()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            self._whole(task, slot)
        return graph

    def _whole(self, task: str, slot: Slot) -> None:
        """Everything a step does on the device; nothing here waits for it."""
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._backward(task, [slot.batch])
        norm = self.accelerator.clip_grad_norm_(list(self.trained.values()), self.options.clip)
        self.outcome.copy_(torch.stack([loss, torch.as_tensor(norm)]))
        self.optimiser.found_inf.copy_(~self.outcome.isfinite().all())  # type: ignore[attr-defined]
        self.optimiser.step()


def check_graphs(options: TrainingOptions) -> None:
    """Refuse ``--graphs on`` on a machine or at a precision that cannot have them, before anything is loaded.

    Raises:
        AdaptxferError: with the reason.
    """
    if options.graphs == "on" and (reason := _obstacle(options)):
        raise _unusable(reason)


def make_learner(model: Any, trained: Mapping[str, Any], steps: Any, options: TrainingOptions, *rest: Any) -> Learner:
    """The run of `adaptxfer.training.loop.train`, with graphs where ``options.graphs`` and the machine want them.

    Raises:
        AdaptxferError: if they were asked for and cannot be had.
    """
    reason = _obstacle(options) if options.graphs != "off" else "--graphs off"
    program = lower(model.train().network) if not reason else ""
    if isinstance(program, str) and not reason:
        reason = f"the padding-free encoder does not cover this network ({program})"
    if not reason:
        return GraphLearner(model, trained, steps, options, *rest)
    if options.graphs == "on":
        raise _unusable(reason)
    log.info("Steps are not captured as CUDA graphs: %s.", reason)
    return Learner(model, trained, steps, options, *rest)


def _obstacle(options: TrainingOptions) -> str:
    """Why there can be no graphs, as far as machine and options go."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if options.precision != "bf16":
        return "attention over sequences of any length needs 16 bits (--precision bf16)"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return "several processes share the run"
    return ""


def _unusable(reason: str) -> Exception:
    return use_error(f"CUDA graphs cannot be used: {reason}.", "With --graphs auto steps run one by one in such cases.")
