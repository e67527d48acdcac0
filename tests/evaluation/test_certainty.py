"""What a dev set tells beside its main score."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from adaptxfer.evaluation.certainty import certainty_scores, representation_contrast
from adaptxfer.evaluation.evaluate import DevSet, features_of
from adaptxfer.evaluation.retrieve import embed
from adaptxfer.tasks.examples import ClassifyExample, RetrieveExample

NLI = ("entailment", "neutral", "contradiction")
SURE = [
    {"gold": label, "predicted": label, "scores": [50.0 * (label == name) for name in NLI]} for label in (*NLI, NLI[0])
]


def test_a_perfect_classifier(task) -> None:
    found = certainty_scores(replace(task("weather"), labels=NLI), SURE)
    assert found["entailment_contrast"] == found["entailment_auroc"] == pytest.approx(100)
    assert found["mcc"] == found["macro_f1"] == 100
    assert found["nll"] == pytest.approx(0) and found["ece"] == pytest.approx(0) and found["majority"] == 50


def test_contrast_only_where_there_is_entailment(task, setting, model) -> None:
    dev = DevSet(task("weather"), replace(setting, layers=(1,)))
    scores = dev.scores(model)
    assert scores["nll"] > 0 and scores["majority"] == 50
    assert not {"entailment_contrast", "entailment_auroc"} & scores.keys() and dev.contrast(model) == {}
    assert {"nll", "ece"} <= DevSet(task("endings"), setting).scores(model).keys()


def test_other_kinds_have_none(task) -> None:
    assert certainty_scores(task("names"), [{"gold": [], "predicted": []}]) == {}
    assert certainty_scores(task("weather"), []) == {}


PAIRS = [
    ClassifyExample("a", "Much rain today.", "Much rain today.", "entailment"),
    ClassifyExample("b", "Ann has cats.", "Ann has cats.", "entailment"),
    ClassifyExample("c", "The sun is out.", "Nobody reads.", "contradiction"),
    ClassifyExample("d", "No rain.", "It is wet.", "neutral"),
]


def test_representations_of_pairs_that_say_the_same() -> None:
    asked = []

    def embed(sentences):
        asked.extend(sentence.text for sentence in sentences)
        return np.array([[1.0, 0.0] if s.text != "Nobody reads." else [1.0, 1.0] for s in sentences])

    assert representation_contrast(PAIRS, embed) == pytest.approx(100 * (1 - math.sqrt(0.5)))
    assert len(asked) == 6 and "No rain." not in asked, "neutral pairs are not read"
    assert math.isnan(representation_contrast(PAIRS[:2], embed)), "no contradiction to stand against"
    assert math.isnan(representation_contrast(PAIRS[3:], embed))


def test_the_dev_set_embeds_each_sentence_for_itself(task, setting, model) -> None:
    told = task("weather")
    dev = DevSet(told, replace(setting, layers=(1,)))
    dev.spec, dev.examples = replace(told, labels=NLI), replace(dev.examples, items=PAIRS)
    (value,) = dev.contrast(model).values()
    vectors = {}
    for text in {text for e in PAIRS for text in (e.first, e.second)}:
        features = features_of(replace(told, kind="retrieve"), [RetrieveExample("x", "query", text)], setting)
        vectors[text] = embed(model, features, [1], 256)[1][0]
    away = torch.cosine_similarity(vectors["The sun is out."], vectors["Nobody reads."], 0)
    assert value == pytest.approx(100 * (1 - float(away)), abs=1e-3) and value > 0
    dev.setting = replace(setting, layers=())
    assert dev.contrast(model) == {}, "no layer to embed at"
