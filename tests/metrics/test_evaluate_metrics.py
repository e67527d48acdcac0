from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.evaluate_metrics import get_metric
from adaptxfer.metrics.registry import METRICS, find_metric

ANSWERS = [
    {"id": "q", "answers": {"text": ["Krone", "die große Krone"], "answer_start": [4, 0]}},
    {"id": "r", "answers": {"text": ["rot"], "answer_start": [0]}},
]
SAID = [{"id": "q", "prediction_text": "die Krone"}, {"id": "r", "prediction_text": "blau"}]
GOLDS = {"q": ["Krone", "die große Krone"], "r": ["rot"]}
SPANS = {"q": "die Krone", "r": "blau"}

# predictions, references, what compute() takes besides, inputs of the pure scorer
CASES = {
    "accuracy": (["a", "b", "a"], ["a", "a", "a"], {}, {"gold": ["a"] * 3, "predicted": ["a", "b", "a"]}),
    "acc_f1": ([1, 0, 1], [1, 1, 1], {"positive": 1}, {"gold": [1] * 3, "predicted": [1, 0, 1]}),
    "squad": (SAID, ANSWERS, {}, {"predictions": SPANS, "references": GOLDS}),
    "squad_v2": (
        [row | {"null_score": score} for row, score in zip(SAID, (0.5, -0.5), strict=True)],
        [ANSWERS[0], {"id": "r", "answers": {"text": [], "answer_start": []}}],
        {"threshold": -1.0},
        {"predictions": SPANS, "references": GOLDS | {"r": []}, "null_scores": {"q": 0.5, "r": -0.5}},
    ),
    "mlqa": (SAID, ANSWERS, {"language": "de"}, {"predictions": SPANS, "references": GOLDS}),
    "pos": (
        [["NOUN", "NOUN"], ["X"]],
        [["NOUN", "VERB"], ["X"]],
        {},
        {"gold": [["NOUN", "VERB"], ["X"]], "predicted": [["NOUN", "NOUN"], ["X"]]},
    ),
    "entity_f1": (
        [["B-PER", "O"], ["B-LOC", "I-LOC"]],
        [["I-PER", "I-PER"], ["I-LOC", "I-LOC"]],
        {},
        {"gold": [["I-PER", "I-PER"], ["I-LOC", "I-LOC"]], "predicted": [["B-PER", "O"], ["B-LOC", "I-LOC"]]},
    ),
    "retrieval_accuracy": ([[1.0, 0.0], [0.9, 0.1]], [[1.0, 0.0], [0.0, 1.0]], {}, None),
    "bucc": (
        [[{"source": "s1", "target": "t1", "score": 1.2}, {"source": "s2", "target": "t9", "score": 1.1}]],
        [[{"source": "s1", "target": "t1"}, {"source": "s2", "target": "t2"}]],
        {"threshold": 1.05},
        {"pairs": [("s1", "t1", 1.2), ("s2", "t9", 1.1)], "gold": [("s1", "t1"), ("s2", "t2")]},
    ),
    "map20": (
        [["b", "a"], ["c"]],
        [["a"], ["c", "d"]],
        {},
        {"ranked": [["b", "a"], ["c"]], "gold": [["a"], ["c", "d"]]},
    ),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    import socket

    def refuse(*_):
        raise OSError("a metric asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_every_metric_is_tried():
    assert set(CASES) == set(METRICS)


@pytest.mark.parametrize("name", CASES)
def test_the_wrapper_gives_what_the_pure_function_gives(name, tmp_path):
    predictions, references, extra, inputs = CASES[name]
    if inputs is None:
        import torch

        inputs = {"queries": torch.tensor(predictions), "candidates": torch.tensor(references)}
    expected = find_metric(name).score(**inputs, **extra)
    metric = get_metric(name, cache_dir=str(tmp_path), keep_in_memory=True)
    assert metric.compute(predictions=predictions, references=references, **extra) == expected
    assert 0 < find_metric(name).main_score(expected) < 100  # a score that could be wrong


def test_batches_may_be_added_one_by_one(tmp_path):
    metric = get_metric("accuracy", cache_dir=str(tmp_path))
    metric.add(prediction="a", reference="a")
    metric.add_batch(predictions=["b"], references=["a"])
    assert metric.compute() == {"accuracy": 50.0, "n": 2}


def test_it_is_an_evaluate_metric_that_explains_itself(tmp_path):
    import evaluate

    metric = get_metric("mlqa", cache_dir=str(tmp_path))
    assert isinstance(metric, evaluate.Metric)
    assert "compute() also takes: language" in metric.inputs_description
    assert metric.name == "adaptxfer_mlqa"


def test_an_unknown_name_is_refused():
    with pytest.raises(AdaptxferError, match="no metric"):
        get_metric("bleu")
