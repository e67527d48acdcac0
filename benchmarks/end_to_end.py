"""Whole commands on real rows against a script of the stock libraries: python -m benchmarks.end_to_end DATA_DIR.

Every run is a process of its own, from its start to its files on disk: reading, tokenising (nothing is cached),
training one epoch, scoring. Runs take turns. Equal on both sides: rows, batch size, length limit, optimiser, schedule,
precision, threads. The peer (`benchmarks.stock`) computes the dev loss alone; the product writes predictions and
scores. Ratios are per real token, since windows over long texts differ by a few.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from adaptxfer.embedded import encoder_dir
from benchmarks.common import Measured, encoder_label, keep, row, show

PEERS = {
    "dynamic": "Trainer, dynamic padding",
    "grouped": "Trainer, dynamic padding, grouped by length",
    "max": "Trainer, padded to max",
}
OURS = "adaptxfer"
LANGUAGES = "ar,de,en,sw,zh"


class Case(NamedTuple):
    """A command, and how much data it sees; the batch sizes are those of the task files."""

    command: tuple[str, ...]
    limit: int
    batch_size: int
    max_length: int
    dev_limit: int = 32
    eval_limit: int = 32


CASES = {
    "hellaswag": Case(("train-intermediate", "hellaswag"), 256, 32, 256),
    "squad_v1": Case(("train-intermediate", "squad_v1"), 384, 16, 384),
    "xnli": Case(("transfer", "--to", "xnli", "--how", "stack"), 1600, 32, 256),
}


class Child(NamedTuple):
    """What one process cost, and the real tokens it trained on."""

    wall: float
    cpu: float
    peak_mib: float
    tokens: int


def spawn(words: list[str], threads: int) -> tuple[float, float, float, str]:
    """Run a command; wall seconds, processor seconds, peak resident MiB, and its output."""
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (
        tempfile.TemporaryDirectory() as cache,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        env |= {"ADAPTXFER_CACHE": cache, "HF_HOME": cache}
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *words], stdout=out, stderr=err, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        if status:
            sys.exit(f"{' '.join(words)} failed:\n{err.read()[-2000:]}")
        return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read()


def ours(name: str, data_dir: Path, below: Path | None, threads: int, precision: str) -> Child:
    """One run of the product's command line."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as runs:
        words = ["-m", "adaptxfer.cli", *case.command, *common(case, data_dir, Path(runs))]
        words += ["--batch-size", str(case.batch_size), "--max-length", str(case.max_length), "--precision", precision]
        if below:
            words += ["--from", str(below), "--languages", LANGUAGES, "--eval-limit", str(case.eval_limit)]
        wall, cpu, peak, _ = spawn(words, threads)
        found = training(Path(runs))
    return Child(wall, cpu, peak, found["tokens"])


def common(case: Case, data_dir: Path, runs: Path) -> list[str]:
    words = ["--model", "mini", "--data-dir", str(data_dir), "--runs", str(runs), "--epochs", "1", "--evaluations", "1"]
    limits = ["--limit", str(case.limit), "--dev-limit", str(case.dev_limit)]
    return [*words, *limits, "--learning-rate", "3e-3", "--on-chance", "warn", "--no-progress"]


def training(runs: Path) -> dict[str, Any]:
    """What the one training run in a folder says of itself."""
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in runs.glob("*/manifest.json")]
    return next(found for manifest in manifests if "tokens" in (found := manifest.get("training") or {}))


def stock(name: str, padding: str, data_dir: Path, below: Path | None, threads: int, precision: str) -> Child:
    """One run of the peer's script."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as out:
        words = ["-m", "benchmarks.stock", name, padding, "--model", str(encoder_dir("mini")), "--out", out]
        words += ["--data-dir", str(data_dir), "--batch-size", str(case.batch_size)]
        words += ["--max-length", str(case.max_length), "--limit", str(case.limit), "--dev-limit", str(case.dev_limit)]
        words += ["--precision", precision]
        if below:
            words += ["--adapter", str(below / "module"), "--languages", LANGUAGES]
            words += ["--eval-limit", str(case.eval_limit)]
        wall, cpu, peak, output = spawn(words, threads)
    found = json.loads(output.strip().splitlines()[-1])
    return Child(wall, cpu, peak, found["tokens"])


def intermediate(data_dir: Path, runs: Path, threads: int) -> Path:
    """A bundle to transfer from; how well it is trained changes no time."""
    case = CASES["xnli"]._replace(limit=64)
    spawn(["-m", "adaptxfer.cli", "train-intermediate", "mnli", *common(case, data_dir, runs)], threads)
    return next(runs.glob("intermediate-*"))


def measure(
    name: str, data_dir: Path, repeats: int, threads: int, pads: list[str], precision: str
) -> list[dict[str, str]]:
    """All variants of one case in turn."""
    found: dict[str, list[Child]] = {PEERS[pad]: [] for pad in pads} | {OURS: []}
    with tempfile.TemporaryDirectory() as folder:
        below = intermediate(data_dir, Path(folder), threads) if name == "xnli" else None
        for _ in range(repeats):
            for pad in pads:
                found[PEERS[pad]].append(stock(name, pad, data_dir, below, threads, precision))
            found[OURS].append(ours(name, data_dir, below, threads, precision))
    case = CASES[name]
    words = " ".join(word for word in case.command if not word.startswith("--"))
    words += "" if precision == "fp32" else f", {precision} on both sides"
    tokens = found[OURS][0].tokens
    shape = f"{encoder_label()}, {case.limit} rows, {tokens} tokens, batch {case.batch_size}, at most {case.max_length}"
    first = next(iter(found.values()))
    return [
        row(words, variant, shape, measured(children), measured(first).middle * children[0].tokens / first[0].tokens)
        for variant, children in found.items()
    ]


def measured(children: list[Child]) -> Measured:
    """Whole processes: times, the largest peak, and real training tokens per processor second."""
    return Measured(
        [1e3 * child.wall for child in children],
        [1e3 * child.cpu for child in children],
        max(child.peak_mib for child in children),
        statistics.median(child.tokens / child.cpu for child in children),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path, help="folder with the tasks' files")
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--peers", choices=PEERS, nargs="+", default=list(PEERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of both sides")
    parser.add_argument("--dry", action="store_true", help="do not append to results.csv")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)  # for the record; the work is in child processes
    for name in options.only or CASES:
        found = measure(name, options.data_dir, options.repeats, options.threads, options.peers, options.precision)
        if not options.dry:
            keep(found)
        show(name, found)


if __name__ == "__main__":
    main()
