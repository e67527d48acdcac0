"""How `benchmarks.gpu` times: warm, by events, against a deadline, one row at a time, with the memory of each."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import Measured, keep, row
from benchmarks.gpu_cases import Sizes

CUDA = torch.cuda.is_available()
Run = Callable[[], object]
Make = Callable[[], Run]
"""Sets a variant up: what it builds is measured as its memory and goes when the next has its turn."""
COMPILING = 100.0
"""Seconds that torch.compile may take for a whole encoder, forward and backward."""
ROTATED = 128 << 20
"""Bytes of inputs to cycle through, so that the last call's are not all in the cache (60 MB on Hopper)."""


class Bench:
    """Sizes, the deadline, and what was found."""

    def __init__(self, sizes: Sizes, minutes: float, smoke: bool, to: Path | None) -> None:
        self.sizes, self.smoke, self.to = sizes, smoke, to
        self.end = time.monotonic() + 60 * minutes
        self.rows: list[dict[str, str]] = []
        self.failures: list[str] = []

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """One failure costs its own rows only."""
        try:
            yield
        except Exception as error:  # whatever a compiler or a driver raises
            self.failures.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
            traceback.print_exc(limit=3)
            if CUDA:
                torch.cuda.empty_cache()

    def late(self, needed: float = 10.0) -> bool:
        """Whether something that may take ``needed`` seconds should not start any more."""
        return time.monotonic() + needed > self.end

    def keep(self, name: str, variant: str, shape: str, measured: Measured, first: float) -> None:
        """One row; it is on disk before the next is measured."""
        found = row(name, variant, shape, measured, first)
        self.rows.append(found)
        if self.to:
            keep([found], self.to)

    def compare(self, name: str, shape: str, variants: dict[str, Make], tokens: int) -> dict[str, float]:
        """Set up and time variants one after the other; the first is what the others are compared with."""
        middles: dict[str, float] = {}
        for variant, make in variants.items():
            if self.late(COMPILING if "compile" in variant and "step" in name else 10.0):
                continue
            with self.guarded(f"{name}, {shape}, {variant}"):
                before = torch.cuda.memory_allocated() if CUDA else 0
                run = make()
                times, peak = self.times(run)
                middles[variant] = statistics.median(times)
                memory = (peak - before) / 2**20 if CUDA else None
                speed = 1e3 * tokens / middles[variant]
                self.keep(name, variant, shape, Measured(times, [], memory, speed), next(iter(middles.values())))
            run = None
            if CUDA:
                torch.cuda.empty_cache()
        return middles

    def times(self, run: Run) -> tuple[list[float], int]:
        """Milliseconds of 50 runs after 20, fewer of both for runs above 20 ms; and the peak of allocated bytes."""
        run()
        wall = _wall(run)
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        warm, repeats = (1, 3) if self.smoke else (20, 50) if wall < 20 else (5, 15)
        for _ in range(warm):
            run()
        found = [_event(run) if CUDA else _wall(run) for _ in range(repeats)]
        return found, torch.cuda.max_memory_allocated() if CUDA else 0


def _wall(run: Run) -> float:
    start = time.perf_counter()
    run()
    if CUDA:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def _event(run: Run) -> float:
    """From the first to the last kernel, launch gaps between them included."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def both_ways(function: Callable[..., Tensor], draw: Callable[[], list[Tensor]], sets: int) -> Make:
    """Forward and backward, with another set of inputs every time."""

    def make() -> Run:
        turns = cycle([draw() for _ in range(sets)])
        grads: list[Tensor] = []

        def run() -> object:
            torch.compiler.cudagraph_mark_step_begin()
            inputs = next(turns)
            out = function(*inputs)
            if not grads:
                grads.append(torch.ones_like(out))
            return torch.autograd.grad(out, [t for t in inputs if t.requires_grad], grads[0])

        return run

    return make
