"""The main job in miniature: an intermediate task, a target task with and without it, a table of gains."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote

from adaptxfer.console import console
from adaptxfer.files import set_offline

INTERMEDIATE, TARGET, SEEDS = "sample_nli", "sample_claims", (1, 2, 3)

CAVEAT = """\
What this shows: the whole path works on this machine, from English sentence pairs to a small target task scored in
languages without training data. What it cannot show: anything about XLM-R Large or about published benchmarks. The
encoder has a few million weights, the sample tasks are simple sentences written for this purpose, and a gain smaller
than its deviation says nothing: rounding moves it, on another processor or with more threads."""


def quickstart(runs: str | Path) -> None:
    """Train the sample intermediate task, transfer with a stack and without, and print gains per language.

    Everything comes with the package: no network is used.
    """
    set_offline()
    from adaptxfer import api

    started = time.monotonic()
    common = {"model": "mini", "runs": Path(runs)}
    say = console().note
    say(f"1 of 3  train-intermediate {INTERMEDIATE}: a bottleneck module on the frozen embedded encoder")
    bundle = api.train_intermediate(INTERMEDIATE, **common)
    say(f"2 of 3  transfer --to {TARGET} --how none: the baseline without it, {len(SEEDS)} seeds")
    api.transfer(TARGET, how="none", seeds=SEEDS, **common)
    say(f"3 of 3  transfer --to {TARGET} --how stack: the frozen module below a fresh one")
    result = api.transfer(TARGET, [bundle], how="stack", seeds=SEEDS, **common)
    document = {**result.to_dict(), "seconds": round(time.monotonic() - started, 1)}
    console().result(document, result.tables()[-1], CAVEAT, _next(bundle.folder, document["seconds"]))


def _next(bundle: Path, seconds: float) -> str:
    return (
        f"\nDone in {seconds:.0f} s. Next:\n"
        "  adaptxfer tasks list\n"
        f"  adaptxfer evaluate {bundle.name} --on sample_nli --runs {quote(str(bundle.parent))}\n"
        "  adaptxfer train-intermediate hellaswag        (XLM-R Large, data from the Hub)\n"
        "  adaptxfer transfer --to xnli"
    )
