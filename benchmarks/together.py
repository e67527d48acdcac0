"""Four modules in one process over one encoder, against the same four one after the other: speed and equality.

    python -m benchmarks.together DATA_DIR [--steps 30] [--repeats 3] [--batch-size 32] [--method bottleneck] [--keep]

Both ways are the whole of training, from reading the data to the saved module, in one process that has imported
everything; dropout is on, as the encoder has it. The four differ in task, kind of head and length of their texts.
Differences of the weights are shown beside those of a run alone that adds up in another order (two threads): AdamW
turns rounding of gradients near its epsilon into steps. With ``--keep`` the times go to results.csv.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from adaptxfer.api import train_intermediate, train_separately
from adaptxfer.console import Console, Table, console, set_console
from adaptxfer.modules.bundle import Bundle
from adaptxfer.runs.run import Run
from benchmarks.common import Measured, encoder_label, keep, rows, show

TASKS = ("mnli", "squad_v1", "hellaswag", "commonsenseqa")
IDLE = "out.bias"
"""Of heads that choose or point, a bias under a softmax: its gradient is rounding alone, and it changes nothing."""


def one_by_one(runs: Path, options: dict[str, Any]) -> list[Bundle]:
    """Each by itself."""
    return [train_intermediate(task, runs=runs, **options) for task in TASKS]


def together(runs: Path, options: dict[str, Any]) -> list[Bundle]:
    """All at once."""
    return train_separately(*TASKS, runs=runs, **options)


WAYS: dict[str, Callable[[Path, dict[str, Any]], list[Bundle]]] = {
    "one after the other": one_by_one,
    "together": together,
}


def distance(one: Bundle, other: Bundle) -> tuple[str, str]:
    """The largest difference between two bundles' weights, and the norm of all differences over that of the weights."""
    largest = apart = whole = 0.0
    for name in (name for name in one.files if name.endswith(".safetensors")):
        found, expected = load_file(one.folder / name), load_file(other.folder / name)
        for key in (key for key in found if not key.endswith(IDLE)):
            difference = (found[key] - expected[key]).double()
            largest = max(largest, float(difference.abs().max()))
            apart += float(difference.square().sum())
            whole += float(expected[key].double().square().sum())
    return f"{largest:.1e}", f"{(apart / whole) ** 0.5:.1e}"


def training_seconds(bundles: Sequence[Bundle]) -> float:
    """Clock time of the training steps alone; those of a group add up to the group's."""
    return sum(Run(bundle.folder).manifest["training"]["seconds"] for bundle in bundles)


def main() -> None:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description="Four modules at once against one after the other.")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--method", default="bottleneck")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    options = {
        "model": asked.model, "method": asked.method, "data_dir": asked.data_dir, "max_steps": asked.steps,
        "batch_size": asked.batch_size, "evaluations": 1, "dev_limit": 32, "limit": 2000, "fresh": True,
        "on_chance": "warn",
    }  # fmt: skip
    whole, steps = (dict[str, Measured]((way, Measured([], [])) for way in WAYS) for _ in range(2))
    spoken, ended = console(), {}
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        set_console(Console("plain", stderr=nowhere))
        for number in range(asked.repeats + 1):
            for way, train in WAYS.items():
                wall, cpu = time.perf_counter(), time.process_time()
                ended[way] = train(Path(folder, way), options)
                if number:  # the first time features are built and libraries set up
                    whole[way].wall.append((time.perf_counter() - wall) * 1e3)
                    whole[way].cpu.append((time.process_time() - cpu) * 1e3)
                    steps[way].wall.append(training_seconds(ended[way]) * 1e3)
        torch.set_num_threads(2)  # the same sums in another order: what rounding alone does
        rounded = one_by_one(Path(folder, "rounded"), options)
        torch.set_num_threads(1)
        set_console(spoken)
        first, second = ended.values()
        cells = [[task, *distance(two, one), *distance(other, one)]
                 for task, one, two, other in zip(TASKS, first, second, rounded, strict=True)]  # fmt: skip
    encoder = encoder_label(asked.model)
    shape = f"{encoder}, {asked.method}, {', '.join(TASKS)}, {asked.steps} steps each, batch {asked.batch_size}"
    found = rows("four modules, whole training", shape, whole)
    found += rows("four modules, training steps by the clock", shape, steps)
    show("Four modules", found)
    columns = ["module", "together, largest", "relative", "two threads, largest", "relative"]
    console().table(Table("Difference of the weights from those of each alone", columns, cells))
    if asked.keep:
        keep(found)


if __name__ == "__main__":
    main()
