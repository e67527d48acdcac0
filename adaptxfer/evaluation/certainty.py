"""Scores of a classifier's dev set that its first choices alone do not tell: likelihood, calibration, contrast."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from adaptxfer.evaluation.score import Record
from adaptxfer.metrics.calibration import (
    calibration_error,
    cosines,
    entailment_auroc,
    entailment_contrast,
    negative_log_likelihood,
    softmax,
)
from adaptxfer.metrics.classification import macro_f1, matthews
from adaptxfer.tasks.examples import ClassifyExample, RetrieveExample
from adaptxfer.tasks.spec import TaskSpec

ENDS = ("entailment", "contradiction")
"""Labels that every task of inference with a contrast has."""


def certainty_scores(spec: TaskSpec, records: Sequence[Record]) -> dict[str, float]:
    """Further scores of labelled records with ``scores`` (classify, choose); empty for other kinds.

    ``nll`` in nats; ``macro_f1``, ``mcc``, ``ece``, ``majority`` (the share of the most frequent label) and, where the
    labels are those of inference, ``entailment_contrast`` in points.

    Args:
        spec: kind and labels, in the order of the scores.
        records: of one language.
    """
    if spec.kind not in ("classify", "choose") or not records:
        return {}
    places = {label: place for place, label in enumerate(spec.labels)}
    gold = [int(r["gold"]) if spec.kind == "choose" else places[r["gold"]] for r in records]
    probabilities = [softmax(np.array(r["scores"])) for r in records]
    found = {
        "nll": negative_log_likelihood(probabilities, gold),
        "ece": 100 * calibration_error(probabilities, gold),
        "majority": 100 * float(np.bincount(gold).max()) / len(gold),
    }
    if spec.kind == "classify":
        names, predicted = [r["gold"] for r in records], [r["predicted"] for r in records]
        found |= {"macro_f1": macro_f1(names, predicted), "mcc": matthews(names, predicted)}
        if is_inference(spec):
            entail, contradict = (places[label] for label in ENDS)
            asked = np.stack(probabilities)[:, entail], np.array(gold), entail, contradict
            found["entailment_contrast"] = 100 * entailment_contrast(*asked)
            found["entailment_auroc"] = 100 * entailment_auroc(*asked)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def is_inference(spec: TaskSpec) -> bool:
    """Whether the task asks for entailment and contradiction."""
    return spec.kind == "classify" and set(ENDS) <= set(spec.labels)


def representation_contrast(
    examples: Sequence[ClassifyExample], embed: Callable[[list[RetrieveExample]], np.ndarray]
) -> float:
    """Mean cosine of premise and hypothesis, each embedded for itself: entailment minus contradiction, in points.

    Args:
        examples: of a task of inference; those of other labels, or of one text, are left out.
        embed: gives sentences their vectors (S, width).
    """
    pairs = [e for e in examples if e.label in ENDS and e.second]
    if not pairs:
        return math.nan
    sentences = [RetrieveExample(e.id, "query", e.first) for e in pairs]
    sentences += [RetrieveExample(e.id, "candidate", e.second or "") for e in pairs]
    one, other = np.split(embed(sentences), 2)
    return 100 * entailment_contrast(cosines(one, other), np.array([ENDS.index(e.label or "") for e in pairs]), 0, 1)
