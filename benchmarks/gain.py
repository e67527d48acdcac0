"""Time and memory of the gain matrix: python benchmarks/gain.py [--items N] [--languages N] [--resamples N] [--files]

A grid of 11 intermediates (none among them), 9 targets, 3 seeds (297 cells) in 40 languages. A third of the targets
has counts (F1), whose denominators differ between runs; the others have one score per item.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from adaptxfer.studies.gain import gain_matrix
from adaptxfer.studies.items import Items, load_items
from adaptxfer.studies.table import NONE, RecordTable, Row


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Grid:
    """Items drawn when they are asked for, the same every time."""

    def __init__(self, languages: int, items: int) -> None:
        self.items = items
        self.ids = [f"q{j}" for j in range(items)]
        self.names = [NONE, *(f"i{n:02d}" for n in range(1, 11))]
        self.rows = [
            Row(f"t{t}", f"l{k:02d}", "score", self.of(i, t, k, s).score(), s, name, status="simulated",
                backbone="simulated", method="bottleneck", items=f"{i} {t} {k} {s}")
            for t in range(9) for k in range(languages) for i, name in enumerate(self.names) for s in (1, 2, 3)
        ]  # fmt: skip

    def of(self, i: int, t: int, k: int, s: int) -> Items:
        generator = np.random.default_rng([i, t, k, s])
        right = (generator.random(self.items) < 0.6 + 0.01 * (i > 5)).astype(float)
        if t % 3:
            return Items(self.ids, self.ids, right, np.ones(self.items))
        below = generator.integers(4, 9, self.items).astype(float)
        return Items(self.ids, self.ids, right * below, below)

    def load(self, row: Row) -> Items:
        return self.of(*map(int, row.items.split()))

    def write(self, folder: Path) -> list[Row]:
        """The same as predictions of a classifier, in files."""
        rows = []
        for row in self.rows:
            path = folder / f"{row.items.replace(' ', '-')}.jsonl"
            right = self.load(row).above > 0
            line = '{{"id": "{}", "gold": "a", "predicted": "b", "correct": {}, "scores": [0.1234, -1.2345, 0.5678]}}\n'
            path.write_text("".join(line.format(j, json.dumps(bool(r))) for j, r in enumerate(right)))
            value = 100 * float(right.mean())
            fields = {name: getattr(row, name) for name in Row.__dataclass_fields__}
            rows.append(Row(**{**fields, "items": str(path), "metric": "accuracy", "value": value}))
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", type=int, default=40)
    parser.add_argument("--items", type=int, default=1000, help="per language")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--files", action="store_true", help="read the items from predictions files")
    options = parser.parse_args()
    grid = Grid(options.languages, options.items)
    with tempfile.TemporaryDirectory() as folder:
        rows = grid.write(Path(folder)) if options.files else grid.rows
        start, busy = time.perf_counter(), time.process_time()
        load = load_items if options.files else grid.load
        matrix = gain_matrix(RecordTable(tuple(rows)), options.resamples, items_of=load)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
    print(f"{len(grid.rows) // options.languages} cells x {options.languages} languages x {options.items} items, "
          f"{options.resamples:,} resamples: {seconds:.1f} s ({busy:.1f} s of processor), peak {peak_mib():.0f} MiB; "
          f"{sum(g.verdict == 'supported' for g in matrix.overall)} of {len(matrix.overall)} supported")  # fmt: skip


if __name__ == "__main__":
    main()
