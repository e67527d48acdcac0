"""Timing that all benchmarks of the engine share: interleaved runs, percentiles, one line per result in results.csv."""

from __future__ import annotations

import csv
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch

import adaptxfer
from adaptxfer.console import Table, console

RESULTS = Path(__file__).parent / "results.csv"
FIELDS = ("date", "device", "versions", "name", "variant", "shape", "p20_ms", "p50_ms", "p80_ms", "cpu_p50_ms", "ratio")


class Times(NamedTuple):
    """Milliseconds of every run: by the clock, and of processor time where the work is on the CPU."""

    wall: list[float]
    cpu: list[float]

    @property
    def middle(self) -> float:
        """What ratios are made of: processor time on a CPU, which others on the machine disturb least."""
        return statistics.median(self.wall if torch.cuda.is_available() else self.cpu)


def interleaved(functions: dict[str, Callable[[], object]], repeats: int, warm: int = 2) -> dict[str, Times]:
    """Run all functions in turn, so that whatever else the machine does hits all of them alike."""
    times = {name: Times([], []) for name in functions}
    for number in range(warm + repeats):
        for name, function in functions.items():
            wall, cpu = _timed(function)
            if number >= warm:
                times[name].wall.append(wall)
                times[name].cpu.append(cpu)
    return times


def _timed(function: Callable[[], object]) -> tuple[float, float]:
    _finish()
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    _finish()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rows(name: str, shape: str, times: dict[str, Times]) -> list[dict[str, str]]:
    """One row per variant; the ratio is how many times faster than the first one it is."""
    first = next(iter(times.values())).middle
    found = []
    for variant, measured in times.items():
        low, _, _, high = statistics.quantiles(measured.wall, n=5, method="inclusive")
        middle = statistics.median(measured.wall)
        numbers = (low, middle, high, statistics.median(measured.cpu))
        values = (name, variant, shape, *(f"{number:.1f}" for number in numbers), f"{first / measured.middle:.2f}")
        found.append(dict(zip(FIELDS[3:], values, strict=True)))
    return found


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
    caption = f"{device()}; {versions()}; ratio: processor time of the first variant over this one's (on CUDA: time)"
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
    import adapters
    import peft
    import transformers

    parts = {"adaptxfer": adaptxfer, "torch": torch, "transformers": transformers, "adapters": adapters, "peft": peft}
    return " ".join(f"{name} {module.__version__}" for name, module in parts.items())
