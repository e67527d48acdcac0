"""Optimiser steps of a fixed shape, replayed as CUDA graphs.

At the batch sizes of the literature a step over XLM-R Large waits for Python: launching its kernels takes several times
as long as running them. So a batch is brought to one of a few shapes (`adaptxfer.training.shapes`) with dummy
sequences, which change no loss and no gradient. The first steps of a shape run as they are, the
next is captured whole (forward, backward, clipping, AdamW), and from then on the shape costs one launch. Batches,
learning rate and the seeds of dropout are read from memory on the device, and the loss of a step is read while the next
one runs.

Capture and replay follow the rules of ``torch.cuda.graph``. They have not run on a GPU yet; the steps themselves are
tested uncaptured against ordinary ones.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adaptxfer import ranks
from adaptxfer.data.batches import PackedBatch
from adaptxfer.encoder.lower import lower
from adaptxfer.errors import training_error, use_error
from adaptxfer.training.loop import Learner, check_gradients
from adaptxfer.training.optimiser import rate
from adaptxfer.training.options import TrainingOptions
from adaptxfer.training.shapes import Shape, filled, shape_of
from adaptxfer.training.watch import check_finite

WARM = 2
"""Steps of a shape before it is captured: libraries set themselves up in them."""
MOST = 32
"""Shapes that are captured; each keeps its launches in memory, the memory of tensors is shared."""
log = logging.getLogger("adaptxfer")


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
            # Only from pinned memory does the copy wait for nothing.
            mine.copy_(new.pin_memory() if mine.is_cuda else new, non_blocking=True)


class Pending(NamedTuple):
    """A step that was started, and the copy of its loss and gradient norm that is on its way to the host."""

    number: int
    task: str
    rate: float
    tokens: int
    started: float
    outcome: Tensor
    arrived: Any  # a CUDA event; None on a CPU


class GraphLearner(Learner):
    """A run whose steps have fixed shapes; see the module. ``capture`` False runs them as they are, on any device."""

    def __init__(self, *parts: Any, capture: bool = True) -> None:
        super().__init__(*parts)
        device = self.accelerator.device
        self.capture, self.slots = capture, dict[Shape, Slot]()
        self.rate, self.outcome = torch.zeros((), device=device), torch.zeros(2, device=device)
        self.pending: Pending | None = None
        self.settled, self.told = 0.0, False
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
        if len(batches) > 1:
            if not self.told:
                log.info("Batches that --batch-tokens cuts in pieces are not captured as CUDA graphs.")
            self.told = True
            self.settle()
            self.optimiser.zero_grad(set_to_none=True)  # captured steps leave theirs
            return super().step()
        started, number = time.perf_counter(), self.progress.step
        self.model.train()
        lr = self.options.learning_rate * rate(number, len(self.steps), self.options.warmup)
        self.rate.fill_(lr)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        self._run(task, batches[0])
        self.progress.step += 1
        outcome = self.outcome.to("cpu", non_blocking=True, copy=True)
        arrived = torch.cuda.current_stream().record_event() if self.outcome.is_cuda else None
        self.settle()  # the step before, while this one runs
        self.pending = Pending(number, task, lr, batches[0].tokens, started, outcome, arrived)

    def settle(self) -> None:
        """Wait for the outcome of the step that was started last, check and report it."""
        if self.pending is None:
            return
        (number, task, lr, tokens, started, outcome, arrived), self.pending = self.pending, None
        if arrived is not None:
            arrived.synchronize()
        loss, norm = outcome.tolist()
        check_finite("loss", number, loss)
        check_finite("gradient norm", number, norm)
        started, self.settled = max(started, self.settled), time.perf_counter()
        self.note_step(number, task, loss, lr, tokens, self.settled - started)

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
        found: Tensor = self.optimiser.found_inf  # type: ignore[attr-defined]
        found.logical_or_(~self.outcome.isfinite().all())  # for good: the host learns of it a step later
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
    if ranks.size() > 1:
        return "several processes share the run"
    return ""


def _unusable(reason: str) -> Exception:
    return use_error(f"CUDA graphs cannot be used: {reason}.", "With --graphs auto steps run one by one in such cases.")
