"""The machine-readable head of a card, as the Hub defines it."""

from __future__ import annotations

from typing import Any

from adaptxfer.hub.facts import Facts
from adaptxfer.hub.results import Scored
from adaptxfer.hub.text import one_line

TASK_NAMES = {
    "classify": ("text-classification", "Text classification"),
    "choose": ("multiple-choice", "Multiple choice"),
    "tag": ("token-classification", "Token classification"),
    "span": ("question-answering", "Question answering"),
    "retrieve": ("sentence-similarity", "Sentence similarity"),
}
"""The Hub's task for each kind."""


def metadata_of(facts: Facts) -> dict[str, Any]:
    """Library, base model, tags, data sets, languages, metrics and results."""
    bundle = facts.bundle
    found: dict[str, Any] = {"library_name": facts.library}
    if facts.base_is_on_hub:
        found["base_model"] = bundle.base.id
        found["base_model_relation"] = "finetune" if bundle.method == "full" else "adapter"
    kind = next((spec.kind for spec in bundle.heads.values()), None)
    if kind in TASK_NAMES:
        found["pipeline_tag"] = TASK_NAMES[kind][0]
    found["tags"] = list(dict.fromkeys(("adaptxfer", "cross-lingual-transfer", bundle.method, *facts.trained_on)))
    if datasets := _datasets(facts):
        found["datasets"] = datasets
    found["language"] = _languages(facts)
    if facts.scores:
        found["metrics"] = sorted({item.record.metric for item in facts.scores})
        results = [entry for item in facts.scores for entry in _results(facts, item)]
        found["model-index"] = [{"name": facts.repo.split("/")[-1], "results": results}]
    return found


def to_yaml(metadata: dict[str, Any]) -> str:
    """The head with its fences; every value is quoted where YAML would read something else."""
    import yaml

    return f"---\n{yaml.safe_dump(_flat(metadata), sort_keys=False, allow_unicode=True, width=10_000)}---\n"


def _flat(value: Any) -> Any:
    """Texts in one line each: no line in a text may look like the end of the head."""
    if isinstance(value, dict):
        return {_flat(key): _flat(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_flat(item) for item in value]
    return one_line(value) if isinstance(value, str) else value


def _datasets(facts: Facts) -> list[str]:
    return list(dict.fromkeys(source.id for task in (*facts.tasks, *facts.targets) for source in task.hub if source.id))


def _languages(facts: Facts) -> list[str]:
    asked = facts.run.asked("languages")
    trained = [str(code) for code in asked] if isinstance(asked, list) else ["en"]
    return list(dict.fromkeys((*trained, *(code for item in facts.scores for code in item.record.languages))))


def _results(facts: Facts, item: Scored) -> list[dict[str, Any]]:
    """One entry per language: the score of this very module in points."""
    record = item.record
    task = next((spec for spec in facts.targets if spec.name == record.task), None)
    kind, name = TASK_NAMES[task.kind] if task else ("text-classification", "Text classification")
    place = next((source.id for source in task.hub if source.id), record.task) if task else record.task
    return [
        {
            "task": {"type": kind, "name": name},
            "dataset": {
                "type": place,
                "name": f"{record.task} ({code})",
                "config": code,
                "split": record.examples(code)[1],
            },
            "metrics": [
                {"type": record.metric, "value": round(float(values[record.metric]), 4), "name": record.metric}
            ],
        }
        for code, values in record.languages.items()
    ]
