"""One record per example: what was right, what was predicted, and the scores behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from adaptxfer import ranks
from adaptxfer.data import decode
from adaptxfer.data.batches import evaluation_batches, pack
from adaptxfer.data.features import Features
from adaptxfer.evaluation.score import Record
from adaptxfer.metrics.squad import exact_match, f1
from adaptxfer.modules.model import AdaptedModel
from adaptxfer.tasks.examples import ChooseExample, ClassifyExample, SpanExample, TagExample
from adaptxfer.tasks.spec import TaskSpec

WORDS = re.compile(r"\w+")


def predict(
    model: AdaptedModel, task: str, spec: TaskSpec, examples: Sequence[Any], features: Features, batch_tokens: int
) -> list[Record]:
    """Predictions for examples in their order.

    Args:
        model: the adapted encoder; its head for ``task`` is used.
        task: name of the head.
        spec: the task that is evaluated; its labels name the head's outputs.
        examples: in normal form.
        features: of the same examples.
        batch_tokens: padded tokens per forward pass.
    """
    scores = head_scores(model, task, features, batch_tokens)
    kind = {"classify": _classify, "choose": _choose, "tag": _tag, "span": _span}[features.kind]
    labels = model.head(task).spec.labels
    return kind(spec, labels, examples, features, scores)


@torch.inference_mode()
def head_scores(model: AdaptedModel, task: str, features: Features, batch_tokens: int) -> np.ndarray:
    """What the head gives, in packed order: (S, labels), (S,), (T, labels) or (T, 2) by kind.

    Of several processes each computes a share, and all get the whole.
    """
    model.eval()
    device = next(model.parameters()).device
    per_token = features.kind in ("tag", "span")
    found: np.ndarray | None = None
    for units, counts in ranks.own(evaluation_batches(features, batch_tokens)):
        batch = pack(features, units).to(device)
        output = model(task, batch.ids, batch.bounds).float().cpu().numpy()
        if found is None:
            rows = len(features.ids) if per_token else len(features.example)
            found = np.zeros((rows, *output.shape[1:]), np.float32)
        if counts:
            found[batch.positions if per_token else batch.sequences] = output
    return np.zeros((0,), np.float32) if found is None else ranks.total(torch.from_numpy(found)).numpy()


def _classify(
    spec: TaskSpec, labels: Sequence[str], examples: Sequence[ClassifyExample], features: Features, scores: np.ndarray
) -> list[Record]:
    predicted = decode.classify(features, scores, labels)
    rows = _rows(features, scores)
    return [
        {"id": e.id, "gold": e.label, "predicted": p, "correct": p == e.label, "scores": _rounded(rows[index])}
        for index, (e, p) in enumerate(zip(examples, predicted, strict=True))
    ]


def _choose(
    spec: TaskSpec, labels: Sequence[str], examples: Sequence[ChooseExample], features: Features, scores: np.ndarray
) -> list[Record]:
    predicted = decode.choose(features, scores)
    parts = np.split(scores, features.units[1:-1])
    rows = {int(example): part for example, part in zip(features.unit_example, parts, strict=True)}
    return [
        {"id": e.id, "gold": e.label, "predicted": p, "correct": p == e.label, "scores": _rounded(rows[index])}
        for index, (e, p) in enumerate(zip(examples, predicted, strict=True))
    ]


def _tag(
    spec: TaskSpec, labels: Sequence[str], examples: Sequence[TagExample], features: Features, scores: np.ndarray
) -> list[Record]:
    predicted = decode.tag(features, scores, labels)
    return [
        {"id": e.id, "gold": list(e.tags or ()), "predicted": p or []} for e, p in zip(examples, predicted, strict=True)
    ]


def _span(
    spec: TaskSpec, labels: Sequence[str], examples: Sequence[SpanExample], features: Features, scores: np.ndarray
) -> list[Record]:
    contexts = [e.context for e in examples]
    found = decode.span(features, scores[:, 0], scores[:, 1], contexts, spec.text.n_best, spec.text.max_answer)
    return [_span_record(e, p) for e, p in zip(examples, found, strict=True)]


def _span_record(example: SpanExample, found: decode.SpanPrediction) -> Record:
    gold = [answer.text for answer in example.answers]
    record = {
        "id": example.id,
        "gold": gold,
        "predicted": found.text,
        "null_difference": round(found.null_difference, 5),
        "question": example.question,
        "context_words": len(example.context.split()),
        "overlap": round(_overlap(example), 3),
    }
    if gold and example.answers[0].start >= 0:
        record["position"] = round(example.answers[0].start / max(1, len(example.context)), 3)
    if example.title:
        record["cluster"] = example.title
    if gold:  # per example with the English normaliser; the task's own metric is computed over all records
        record |= {"exact": exact_match(found.text, gold), "f1": round(f1(found.text, gold), 5)}
    return record


def _overlap(example: SpanExample) -> float:
    """Share of the question's different words that the context holds too, 0 to 1."""
    asked = set(WORDS.findall(example.question.lower()))
    return len(asked & set(WORDS.findall(example.context.lower()))) / max(1, len(asked))


def _rows(features: Features, scores: np.ndarray) -> dict[int, np.ndarray]:
    return {int(example): row for example, row in zip(features.example, scores, strict=True)}


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
