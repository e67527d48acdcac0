"""`benchmarks.gpu` runs from end to end: in the interpreter, and with stand-ins for what only a GPU has."""

from __future__ import annotations

import contextlib
import sys
import time
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_bench import Bench
from benchmarks.gpu_cases import Sizes
from tests.kernels.triton.conftest import device  # noqa: F401  the kernels' own fixture: GPU, interpreter or skip

MODULES = ("gpu_training", "gpu_steps", "gpu_checks", "gpu_bench", "gpu")


class Event:
    """Of the clock instead of a stream."""

    def __init__(self, **options):
        self.at = 0.0

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return (end.at - self.at) * 1e3


class Graph:
    """Replays nothing."""

    replays = 0

    def replay(self):
        Graph.replays += 1


@pytest.fixture
def pretended(device, monkeypatch):  # noqa: F811
    """A machine that looks as if it had a GPU, to the script alone; the largest tensors are small ones."""
    if device.type == "cuda":
        pytest.skip("there is a GPU")
    for module in [import_module(f"benchmarks.{name}") for name in MODULES]:
        if module is not import_module("benchmarks.gpu_training"):  # what it captures is tested in tests/training
            monkeypatch.setattr(module, "CUDA", True)
    monkeypatch.setattr(gpu, "Sizes", lambda _: Sizes(torch.device("cpu")))
    monkeypatch.setattr(gpu, "ceilings", lambda bench: None)
    stream = SimpleNamespace(wait_stream=lambda other: None)
    stands = {"Event": Event, "CUDAGraph": Graph, "Stream": lambda: stream, "current_stream": lambda: stream}
    quiet = ("synchronize", "empty_cache", "reset_peak_memory_stats")
    stands |= {name: lambda: None for name in quiet}
    stands |= {name: lambda: 1 << 20 for name in ("memory_allocated", "max_memory_allocated")}
    stands |= {name: lambda *a, **b: contextlib.nullcontext() for name in ("graph", "stream")}
    for name, stand in stands.items():
        monkeypatch.setattr(torch.cuda, name, stand)
    monkeypatch.setattr(torch, "compile", lambda run, **options: run)
    Graph.replays = 0


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu", "--smoke", *arguments])
    gpu.main()
    return capsys.readouterr().out


def test_steps_with_stand_ins(pretended, monkeypatch, capsys):
    from benchmarks import gpu_steps

    monkeypatch.setattr(gpu_steps, "STEPS", gpu_steps.STEPS[:1])
    monkeypatch.setattr(gpu_steps, "COMPILED", gpu_steps.COMPILED[:1])
    out = run(monkeypatch, capsys, "--only", "steps", "compiled", "masked_lm_step", "captured", "training")
    assert "no failures" in out and Graph.replays
    for variant in ("packed, auto, graph", "torch.compile reduce-overhead", "labelled tokens", "adaptxfer, graphs"):
        assert variant in out


def test_operations_with_stand_ins(pretended, monkeypatch, capsys):
    out = run(monkeypatch, capsys, "--only", "add_norm", "gelu")
    assert "no failures" in out and "TB/s of bytes that cannot be avoided" in out
    assert "ours, triton" in out and "torch eager" in out


def test_captured_kernels_are_compared(pretended, monkeypatch):
    """A graph whose replays repeat their dropout, as those of the stand-in do, is told."""
    from benchmarks import gpu_checks

    bench = Bench(Sizes(torch.device("cpu"), width=64), 1.0, True, None)
    gpu_checks._captured(bench)
    assert bench.failures == ["graph capture: replays are wrong or repeat their dropout"]


def test_a_failure_costs_its_own_rows_and_is_told(device, monkeypatch, capsys):  # noqa: F811
    from benchmarks import gpu_cases

    def broken(*_):
        raise RuntimeError("out of registers")

    monkeypatch.setattr(gpu_cases, "gelu_case", broken)
    out = run(monkeypatch, capsys, "--only", "gelu", "add_norm")
    assert "FAILED gelu: RuntimeError: out of registers" in out and "dropout+add+LN" in out


def test_nothing_starts_late(device, monkeypatch, capsys):  # noqa: F811
    out = run(monkeypatch, capsys, "--minutes", "0", "--only", "add_norm")
    assert "torch eager" not in out and "no failures" in out
