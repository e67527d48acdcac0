"""How long the light commands take from nothing: ``python benchmarks/startup.py [REPEATS]``."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time

from adaptxfer import __version__
from adaptxfer.console import Table, console

COMMANDS = (["--help"], ["version"], ["tasks", "list"], ["tasks", "show", "xnli"], ["runs", "list"])


def seconds(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "adaptxfer.cli", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def row(words: list[str], repeats: int) -> list[str]:
    seconds(words)  # byte code and disk cache
    low, middle, high = statistics.quantiles([seconds(words) for _ in range(repeats)], n=10, method="inclusive")[1:8:3]
    return [" ".join(words), f"{low:.2f}", f"{middle:.2f}", f"{high:.2f}"]


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    rows = [row(words, repeats) for words in COMMANDS]
    columns = ["command", ("p20", "right"), ("p50", "right"), ("p80", "right")]
    caption = f"seconds over {repeats} runs; adaptxfer {__version__}, Python {platform.python_version()}"
    console().result(Table("Start-up time", columns, rows, caption))


if __name__ == "__main__":
    main()
