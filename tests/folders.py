"""Run folders written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adaptxfer.files import write_json


def add_run(root: Path, kind: str, name: str, number: int, **changed: Any) -> Path:
    """A finished run folder with a log (training) or scores (evaluate)."""
    folder = root / f"{kind}-{name}-{number:08x}"
    folder.mkdir(parents=True)
    request = {"model": "mini", "method": "bottleneck", "how": "stack", "intermediates": []}
    manifest = {
        "schema": 1, "kind": kind, "name": name, "hash": f"{number:08x}", "status": "finished", "seed": 1,
        "request": {key: {"value": value, "from": "you"} for key, value in (request | changed).items()},
        "versions": {"adaptxfer": "0.1.0"}, "base_model": {"id": "mini", "fingerprint": "f" * 32},
        "data": {f"{name}/test": "0" * 64}, "parents": [], "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:01:00Z", "duration_s": 60.0, "error": None,
        "training": {"tokens": 1000, "peak_memory_mib": 12.0},
    }  # fmt: skip
    write_json(folder / "manifest.json", manifest)
    if kind == "evaluate":
        scores = {code: {"accuracy": 50.0 + number, "n": 10} for code in ("en", "de")}
        write_json(folder / "scores.json", {
            "schema": 1, "task": name, "metric": "accuracy", "split": "test", "languages": scores,
            "mean": 50.0 + number, "mean_zero_shot": 50.0 + number,
        })  # fmt: skip
    else:
        steps = [{"event": "step", "step": n, "total": 200, "loss": 2.0 / n} for n in range(1, 201)]
        steps += [{"event": "evaluation", "step": n, "score": float(n), "best": True} for n in (100, 200)]
        (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in steps))
    return folder
