"""Writes the measured parts of README.md, so that no figure in it is typed by hand.

    adaptxfer quickstart --json > quickstart.json
    python -m benchmarks.readme quickstart.json

The gains come from the given document, the speed table from the newest rows of results.csv.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
RESULTS = HERE / "results.csv"


def gains(document: dict[str, Any]) -> str:
    """The quickstart's table of gains."""
    gain = document["gain"]
    rows = {**gain["languages"], "mean zero-shot": gain["mean_zero_shot"]}
    lines = ["| language | baseline | with the module | gain |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {name} | {_points(row['baseline'])} | {_points(row['with'])} | {_points(row['gain'], '+')} |"
              for name, row in rows.items()]  # fmt: skip
    seeds = ", ".join(map(str, gain["seeds"]))
    return "\n".join([*lines, "", f"Accuracy in points, mean ± standard deviation over seeds {seeds}."])


def _points(points: dict[str, Any], sign: str = "") -> str:
    return f"{points['mean']:{sign}.1f} ± {points['sd']:.1f}"


def speed() -> str:
    """Rows of the newest measurement: each variant against its peer in the same run."""
    with RESULTS.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    newest = {(row["name"], row["variant"], row["shape"]): row for row in rows}.values()
    found = [row for row in newest if float(row["ratio"]) != 1.0]
    lines = ["| what | shape | ms | against its peer |", "| --- | --- | ---: | ---: |"]
    lines += [f"| {row['name']} | {row['shape']} | {row['cpu_p50_ms'] or row['p50_ms']} | {row['ratio']}x |"
              for row in found]  # fmt: skip
    devices = "; ".join(sorted({f"{row['device']}, {row['versions']}, {row['date'][:10]}" for row in found}))
    return "\n".join([*lines, "", f"Forward and backward, medians of interleaved runs. {devices}."])


def insert(text: str, name: str, content: str) -> str:
    """Replace what stands between the markers ``<!-- name -->`` and ``<!-- /name -->``."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    if not re.search(pattern, text, flags=re.DOTALL):
        sys.exit(f"README.md has no markers for {name}.")
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.DOTALL)


def main() -> None:
    """Fill in what was measured."""
    text = README.read_text(encoding="utf-8")
    if len(sys.argv) > 1:
        text = insert(text, "quickstart", gains(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    README.write_text(insert(text, "speed", speed()), encoding="utf-8")


if __name__ == "__main__":
    main()
