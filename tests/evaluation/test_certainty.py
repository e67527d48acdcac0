"""What a dev set tells beside its main score."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.evaluation.certainty import certainty_scores
from adaptxfer.evaluation.evaluate import DevSet

NLI = ("entailment", "neutral", "contradiction")
SURE = [
    {"gold": label, "predicted": label, "scores": [50.0 * (label == name) for name in NLI]} for label in (*NLI, NLI[0])
]


def test_a_perfect_classifier(task) -> None:
    found = certainty_scores(replace(task("weather"), labels=NLI), SURE)
    assert found["entailment_contrast"] == pytest.approx(100) and found["mcc"] == found["macro_f1"] == 100
    assert found["nll"] == pytest.approx(0) and found["ece"] == pytest.approx(0) and found["majority"] == 50


def test_contrast_only_where_there_is_entailment(task, setting, model) -> None:
    scores = DevSet(task("weather"), setting).scores(model)
    assert scores["nll"] > 0 and scores["majority"] == 50 and "entailment_contrast" not in scores
    assert {"nll", "ece"} <= DevSet(task("endings"), setting).scores(model).keys()


def test_other_kinds_have_none(task) -> None:
    assert certainty_scores(task("names"), [{"gold": [], "predicted": []}]) == {}
    assert certainty_scores(task("weather"), []) == {}
