"""Scores of a classifier's dev set that its first choices alone do not tell: likelihood, calibration, contrast."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from adaptxfer.evaluation.score import Record
from adaptxfer.metrics.calibration import (
    calibration_error,
    entailment_contrast,
    negative_log_likelihood,
    softmax,
)
from adaptxfer.metrics.classification import macro_f1, matthews
from adaptxfer.tasks.spec import TaskSpec


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
        if {"entailment", "contradiction"} <= places.keys():
            ends = places["entailment"], places["contradiction"]
            found["entailment_contrast"] = 100 * entailment_contrast(np.stack(probabilities), np.array(gold), *ends)
    return {name: value for name, value in found.items() if math.isfinite(value)}
