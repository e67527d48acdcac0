"""Thousands of drawn hostile inputs for every reader of foreign files: ``python -m benchmarks.fuzz [CASES] [SEED]``.

Prints, for each reader, how many were refused with a sentence, how many were taken, and what crashed. Ends with 1 if
anything did.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzzing import TARGETS, attempt


def fuzz(name: str, cases: int, start: int) -> tuple[Counter[str], dict[str, Any], float]:
    """Counts of refused, taken and crashed cases, one input per kind of crash, and the slowest case in seconds."""
    counts: Counter[str] = Counter()
    crashes: dict[str, Any] = {}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:

        @seed(start)
        @settings(max_examples=cases, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(TARGETS[name].drawn)
        def run(drawn: Any) -> None:
            nonlocal slowest
            begun = time.perf_counter()
            try:
                counts["refused" if attempt(name, drawn, Path(folder)) else "taken"] += 1
            except Exception as error:
                counts["crashed"] += 1
                last = error.__traceback__
                while last is not None and last.tb_next is not None:
                    last = last.tb_next
                place = f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last else ""
                crashes.setdefault(f"{type(error).__name__} at {place}: {str(error)[:100]}", drawn)
            slowest = max(slowest, time.perf_counter() - begun)

        run()
    return counts, crashes, slowest


def main(cases: int, start: int) -> int:
    """Fuzz all readers and print the table."""
    total, failed = 0, 0
    print(f"{'reader':26} {'cases':>7} {'refused':>8} {'taken':>7} {'crashed':>8} {'slowest':>9}")
    for name in TARGETS:
        counts, crashes, slowest = fuzz(name, cases, start)
        total, failed = total + counts.total(), failed + counts["crashed"]
        print(f"{name:26} {counts.total():7} {counts['refused']:8} {counts['taken']:7} {counts['crashed']:8} "
              f"{1000 * slowest:6.0f} ms", flush=True)  # fmt: skip
        for told, drawn in crashes.items():
            print(f"    {told}\n    {str(drawn)[:200]!r}")
    print(f"{total:,} cases, {failed} crashes")
    return int(failed > 0)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3]]
    sys.exit(main(*(numbers + [700, 1][len(numbers) :])))
