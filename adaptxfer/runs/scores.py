"""The shape of ``scores.json``, checked whenever it is written or read."""

from __future__ import annotations

import math
from typing import Any

from adaptxfer.errors import data_error

SCHEMA = 1


def check_scores(scores: Any, where: str) -> dict[str, Any]:
    """Return ``scores`` if it is a valid scores document (schema 1).

    Required: ``schema``, ``task``, ``metric``, ``split``, ``languages`` (each with the main metric in points 0-100 and
    ``n``, the number of examples; optionally its own ``split``), ``mean`` and ``mean_zero_shot`` (a number or null).
    Languages that were predicted but have no labels stand under ``unscored`` with their ``n``.

    Raises:
        AdaptxferError: naming every fault found.
    """
    faults = _top_faults(scores) or _language_faults(scores)
    if faults:
        shown = "; ".join(faults[:5]) + ("; ..." if len(faults) > 5 else "")
        raise data_error(f"{where} is not a valid scores document: {shown}.", "Run the same command with --fresh.")
    return scores


def _top_faults(scores: Any) -> list[str]:
    if not isinstance(scores, dict):
        return [f"expected an object, found {type(scores).__name__}"]
    if scores.get("schema") != SCHEMA:
        return [f"schema {scores.get('schema')!r} is not {SCHEMA}"]
    faults = [f"{key} is missing or not text" for key in ("task", "metric", "split") if not _is_text(scores.get(key))]
    languages, unscored = scores.get("languages"), scores.get("unscored", {})
    if not isinstance(languages, dict) or not isinstance(unscored, dict) or not (languages or unscored):
        faults.append("languages is missing or empty")
    for key in ("mean", "mean_zero_shot"):
        if key not in scores or not (scores[key] is None or _is_points(scores[key])):
            faults.append(f"{key} is missing or not a number from 0 to 100")
    return faults


def _language_faults(scores: dict[str, Any]) -> list[str]:
    scored, unscored = scores["languages"].items(), scores.get("unscored", {}).items()
    return [
        fault
        for entries, metric in ((scored, scores["metric"]), (unscored, None))
        for name, values in entries
        for fault in _faults(name, values, metric)
    ]


def _faults(language: str, values: Any, metric: str | None) -> list[str]:
    if not isinstance(values, dict):
        return [f"{language} is not an object"]
    faults = []
    if not isinstance(values.get("n"), int) or isinstance(values.get("n"), bool) or values["n"] < 0:
        faults.append(f"{language} has no count n")
    if metric is not None and not _is_points(values.get(metric)):
        faults.append(f"{language} has no {metric} from 0 to 100")
    if "split" in values and not _is_text(values["split"]):
        faults.append(f"{language} has a split that is not text")
    return faults


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_points(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and -1e-9 <= value <= 100 + 1e-9
