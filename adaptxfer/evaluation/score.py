"""From the records of one language to the task's metrics. Records are what ``predictions/<language>.jsonl`` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from adaptxfer.metrics.registry import find_metric
from adaptxfer.tasks.spec import TaskSpec

Record = dict[str, Any]


def main_metric(spec: TaskSpec) -> str:
    """The key under which the one number to compare stands in the scores of a language."""
    entry = find_metric(spec.metric.main)
    return entry.main[0] if len(entry.main) == 1 else entry.name


def score_records(spec: TaskSpec, language: str, records: Sequence[Record]) -> dict[str, Any]:
    """All scores of one language in points, ``n``, and the main number under `main_metric`."""
    entry = find_metric(spec.metric.main)
    if entry.name == "retrieval_accuracy":  # the vectors are gone by now; the records hold who was found
        return _retrieval_scores(records)
    scores = entry.score(**_inputs(spec, language, records, entry.inputs))
    main = main_metric(spec)
    return {**scores, "n": int(scores["n"]), main: entry.main_score(scores), **_member_scores(spec, language, records)}


def _member_scores(spec: TaskSpec, language: str, records: Sequence[Record]) -> dict[str, Any]:
    """Of a pooled task the main score of each member too, and their plain mean: the other reading of "accuracy"."""
    main, alone = main_metric(spec), replace(spec, pool=())
    parts = {name: [record for record in records if record["id"].startswith(f"{name}/")] for name in spec.pool}
    members = {name: score_records(alone, language, part)[main] for name, part in parts.items() if part}
    return {f"{main}_members": fmean(members.values()), "members": members} if members else {}


def _inputs(spec: TaskSpec, language: str, records: Sequence[Record], wanted: Sequence[str]) -> Mapping[str, Any]:
    known = {
        "gold": lambda: [record["gold"] for record in records],
        "predicted": lambda: [record["predicted"] for record in records],
        "predictions": lambda: {record["id"]: record["predicted"] for record in records},
        "references": lambda: {record["id"]: record["gold"] for record in records},
        "null_scores": lambda: {record["id"]: record["null_difference"] for record in records},
        "language": lambda: language.split("-")[0],
        "ranked": lambda: [record["predicted"] for record in records],
        "positive": lambda: spec.labels[-1],
    }
    return {name: known[name]() for name in wanted}


def _retrieval_scores(records: Sequence[Record]) -> dict[str, Any]:
    """Both directions over all queries, and over those of each domain if they carry one (with all candidates)."""
    forth, back = (100 * sum(r[key] for r in records) / len(records) for key in ("correct", "correct_reverse"))
    scores = {"accuracy": forth, "accuracy_reverse": back, "accuracy_mean": (forth + back) / 2, "n": len(records)}
    by_domain: dict[str, list[Record]] = {}
    for record in records:
        if domain := record.get("domain"):
            by_domain.setdefault(domain, []).append({**record, "domain": ""})
    parts = {domain: _retrieval_scores(by_domain[domain]) for domain in sorted(by_domain)}
    return scores | ({"domains": parts} if parts else {})
