"""Writes the measured parts of README.md, so that no figure in it is typed by hand.

    OMP_NUM_THREADS=1 adaptxfer quickstart --json > quickstart.json
    python -m benchmarks.readme quickstart.json      # both parts
    python -m benchmarks.readme                      # the speed tables alone
    python -m benchmarks.readme --check              # fail if README.md is not what would be written
    python -m benchmarks.readme --show               # print the speed tables

The gains come from the given document, the speed tables from the newest rows of results.csv and from predicted.csv.
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
PREDICTED = HERE / "predicted.csv"
Row = dict[str, str]
COMMANDS = ("train-intermediate", "transfer")
OURS = "adaptxfer"


def gains(document: dict[str, Any]) -> str:
    """The quickstart's table of gains."""
    gain = document["gain"]
    rows = {**gain["languages"], "mean zero-shot": gain["mean_zero_shot"]}
    numbers = ("baseline", "with the module", "gain")
    lines = [_header("language", *numbers, right=numbers)]
    lines += [f"| {name} | {_points(row['baseline'])} | {_points(row['with'])} | {_points(row['gain'], '+')} |"
              for name, row in rows.items()]  # fmt: skip
    seeds = ", ".join(map(str, gain["seeds"]))
    caption = (
        f"Accuracy in points, mean ± standard deviation over seeds {seeds}, above one module. Rounding\n"
        "differs with the processor and the number of threads, so on another machine the gains move by some points."
    )
    return "\n".join([*lines, "", caption])


def _points(points: dict[str, Any], sign: str = "") -> str:
    return f"{points['mean']:{sign}.1f} ± {points['sd']:.1f}"


def speed(results: Path = RESULTS, predicted: Path = PREDICTED) -> str:
    """All speed tables: whole commands, operations and steps on a CPU, a GPU measured or predicted."""
    newest = list(_newest(_read(results)))
    on_gpu = [row for row in newest if "thread(s)" not in row["device"]]
    on_cpu = [row for row in newest if row not in on_gpu]
    whole = [row for row in on_cpu if row["name"].split()[0] in COMMANDS]
    parts = [row for row in on_cpu if row not in whole]
    tables = [_commands(whole), _parts(parts, "Forward and backward on a CPU, medians of interleaved runs.")]
    tables.append(_parts(on_gpu, "On a GPU, medians.") if on_gpu else predictions(_read(predicted)))
    return "\n\n".join(table for table in tables if table)


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def _newest(rows: list[Row]) -> list[Row]:
    """Of every name the rows of its newest run alone; runs of one name follow each other."""
    latest = {(row["name"], row["variant"], row["shape"]): row for row in rows}
    days = {row["name"]: row["date"] for row in rows}
    return [row for row in latest.values() if row["date"][:10] == days[row["name"]][:10]]


def _commands(rows: list[Row]) -> str:
    """One line per command: ours against every peer in the same run."""
    if not rows:
        return ""
    names = ("command", "data", "processor s", "against each peer", "peak MiB (peer)")
    lines = [_header(*names, right=("processor s", "peak MiB (peer)"))]
    for name in dict.fromkeys(row["name"] for row in rows):
        ours = [row for row in rows if row["name"] == name and row["variant"] == OURS][-1]
        here = {row["variant"]: row for row in rows if (row["name"], row["shape"]) == (name, ours["shape"])}
        del here[OURS]
        ratios = [f"{float(ours['ratio']) / float(row['ratio']):.2f}x {variant}" for variant, row in here.items()]
        first = next(iter(here.values()))
        lines.append(
            f"| {name} | {ours['shape']} | {float(ours['cpu_p50_ms']) / 1e3:.1f} | {'<br>'.join(ratios)} "
            f"| {ours['memory_mib']} ({first['memory_mib']}) |"
        )
    text = (
        "Whole processes, start-up, tokenising and scoring included: processor time per real token against a script of"
        " `adapters` and the Trainer of transformers on the same rows, batch size and length limit."
    )
    return "\n".join([*lines, "", f"{text} {_where(rows)}"])


def _parts(rows: list[Row], text: str) -> str:
    """One line per variant that is compared with another."""
    found = [row for row in rows if float(row["ratio"]) != 1.0]
    numbers = ("ms", "against its peer", "memory")
    lines = [_header("what", "shape", "variant", *numbers, right=numbers)]
    peers = {(row["name"], row["shape"]): row for row in rows if float(row["ratio"]) == 1.0}
    for row in found:
        time = float(row["cpu_p50_ms"] or row["p50_ms"])
        shown = f"{time:.3f}" if time < 10 else f"{time:.1f}" if time < 1e4 else f"{time:,.0f}"
        lines.append(
            f"| {row['name']} | {row['shape']} | {row['variant']} | {shown} | {row['ratio']}x | {_memory(row, peers)} |"
        )
    return "\n".join([*lines, "", f"{text} Memory: what is kept for the backward pass. {_where(found)}"])


def _memory(row: Row, peers: dict[tuple[str, str], Row]) -> str:
    peer = peers.get((row["name"], row["shape"]))
    if not row["memory_mib"] or peer is None or not float(peer["memory_mib"] or 0):
        return ""
    return f"{float(row['memory_mib']) / float(peer['memory_mib']):.2f}x"


def _where(rows: list[Row]) -> str:
    return "; ".join(sorted({f"{row['device']}, {row['versions']}, {row['date'][:10]}" for row in rows})) + "."


def predictions(rows: list[Row]) -> str:
    """What the kernels should reach on an H200, marked as what it is."""
    numbers = ("peer ms", "ours ms", "aimed at")
    lines = [_header("on an H200: **predicted, not measured**", "shape", "peer", *numbers, right=numbers)]
    lines += [f"| {row['what']} | {row['shape']} | {row['peer']} | {row['peer_ms']} | {row['ours_ms']} "
              f"| ≥ {row['target']}x |" for row in rows]  # fmt: skip
    text = (
        "Nothing here was timed on a GPU. XLM-R Large in bf16: arithmetic from counted operations and bytes, with 790"
        " TFLOP/s and 4.3 TB/s as ceilings, matrix products at 45 % (1,024 tokens) and 78 % (16,384) of theirs; for the"
        " small batch the libraries' host time measured on a CPU, for padding 1 / fill. `make bench-gpu` replaces it."
    )
    return "\n".join([*lines, "", text])


def _header(*names: str, right: tuple[str, ...] = ()) -> str:
    rule = ["---:" if name in right else "---" for name in names]
    return f"| {' | '.join(names)} |\n| {' | '.join(rule)} |"


def insert(text: str, name: str, content: str) -> str:
    """Replace what stands between the markers ``<!-- name -->`` and ``<!-- /name -->``."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    if not re.search(pattern, text, flags=re.DOTALL):
        sys.exit(f"README.md has no markers for {name}.")
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.DOTALL)


def main() -> None:
    """Fill in what was measured."""
    asked = sys.argv[1:]
    if asked == ["--show"]:
        print(speed())
        return
    before = README.read_text(encoding="utf-8")
    after = insert(before, "speed", speed())
    if asked == ["--check"]:
        sys.exit(None if after == before else "README.md is not up to date: run python -m benchmarks.readme")
    if asked:
        after = insert(after, "quickstart", gains(json.loads(Path(asked[0]).read_text(encoding="utf-8"))))
    README.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
