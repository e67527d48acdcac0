"""Timing that all benchmarks of the engine share: interleaved runs, percentiles, one line per result in results.csv."""

from __future__ import annotations

import csv
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import torch

import adaptxfer
from adaptxfer.console import Table, console
from adaptxfer.embedded import encoder_dir

RESULTS = Path(__file__).parent / "results.csv"
TIMES = ("p20_ms", "p50_ms", "p80_ms", "cpu_p50_ms", "ratio", "memory_mib", "tokens_per_s")
FIELDS = ("date", "device", "versions", "name", "variant", "shape", *TIMES)


def encoder_label(model: str = "mini") -> str:
    """An encoder as rows call it; the embedded one with its layers, for it was replaced once."""
    folder = encoder_dir(model)
    if folder is None:
        return model
    layers = json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    return f"{model} ({layers} layers)"


class Measured(NamedTuple):
    """Milliseconds of every run, by the clock and of processor time where the work is on the CPU; memory and speed.

    Memory is what the case says: what is kept for the backward pass (operations on a CPU), the largest allocation (on
    CUDA), or the largest resident size of a process of its own (whole commands).
    """

    wall: list[float]
    cpu: list[float]
    memory_mib: float | None = None
    tokens_per_s: float | None = None

    @property
    def middle(self) -> float:
        """What ratios are made of: processor time on a CPU, which others on the machine disturb least."""
        return statistics.median(self.cpu or self.wall)


def interleaved(functions: dict[str, Callable[[], object]], repeats: int, warm: int = 2) -> dict[str, Measured]:
    """Run all functions in turn, so that whatever else the machine does hits all of them alike; memory beforehand."""
    found = {name: Measured([], [], saved_mib(function)) for name, function in functions.items()}
    for number in range(warm + repeats):
        for name, function in functions.items():
            wall, cpu = _timed(function)
            if number >= warm:
                found[name].wall.append(wall)
                found[name].cpu.append(cpu)
    return found


def _timed(function: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def saved_mib(function: Callable[[], object]) -> float:
    """MiB that one forward pass keeps for its backward pass, weights left out."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and not isinstance(tensor._base, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(kept.values()) / 2**20


def rows(name: str, shape: str, found: dict[str, Measured]) -> list[dict[str, str]]:
    """One row per variant; the ratio is how many times faster than the first one it is."""
    first = next(iter(found.values())).middle
    return [row(name, variant, shape, measured, first) for variant, measured in found.items()]


def row(name: str, variant: str, shape: str, measured: Measured, first: float) -> dict[str, str]:
    """One row of the table; ``first`` is the time of the variant that ratios are to."""
    low, _, _, high = statistics.quantiles(measured.wall, n=5, method="inclusive")
    times = [low, statistics.median(measured.wall), high]
    digits = 1 if measured.cpu else 4
    numbers = [f"{number:.{digits}f}" for number in times]
    numbers.append(f"{statistics.median(measured.cpu):.1f}" if measured.cpu else "")
    numbers.append(f"{first / measured.middle:.2f}")
    numbers += ["" if value is None else f"{value:.0f}" for value in measured[2:]]
    return dict(zip(FIELDS[3:], (name, variant, shape, *numbers), strict=True))


def keep(found: list[dict[str, str]], path: Path = RESULTS) -> None:
    """Append rows, with the date, the device and the versions."""
    fresh = not path.exists()
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerows({"date": now, "device": device(), "versions": versions(), **row} for row in found)


def show(title: str, found: list[dict[str, str]]) -> None:
    """Print rows as a table."""
    words = FIELDS[3:6]
    columns = [*words, *((name, "right") for name in FIELDS[6:])]
    caption = f"{device()}; {versions()}; ratio: time of the first variant over this one's (processor time on a CPU)"
    console().result(Table(title, columns, [[row[field] for field in FIELDS[3:]] for row in found], caption))


def device() -> str:
    """What the work ran on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {torch.get_num_threads()} thread(s)"


def versions() -> str:
    """Of everything whose speed is compared."""
    names = ("adaptxfer", "torch", "triton", "transformers", "adapters", "peft")
    return " ".join(f"{name} {found}" for name in names if (found := _version(name)))


def _version(name: str) -> str | None:
    """Of a package, without importing it; None if it is not installed."""
    if name == "adaptxfer":
        return adaptxfer.__version__
    if name == "torch":  # with the build it is
        return torch.__version__
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
