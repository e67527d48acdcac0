from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.mining import Pair
from adaptxfer.metrics.registry import METRICS, find_metric

PERFECT = {
    "accuracy": {"gold": ["a", "b"], "predicted": ["a", "b"]},
    "acc_f1": {"gold": ["a", "b"], "predicted": ["a", "b"], "positive": "b"},
    "squad": {"predictions": {"q": "red"}, "references": {"q": ["red"]}},
    "squad_v2": {
        "predictions": {"q": "red", "r": "blue"},
        "references": {"q": ["red"], "r": []},
        "null_scores": {"q": -1.0, "r": 1.0},
    },
    "mlqa": {"predictions": {"q": "die rote"}, "references": {"q": ["rote"]}, "language": "de"},
    "pos": {"gold": [["NOUN", "VERB"]], "predicted": [["NOUN", "VERB"]]},
    "entity_f1": {"gold": [["B-PER", "O"]], "predicted": [["B-PER", "O"]]},
    "retrieval_accuracy": {"queries": torch.eye(3), "candidates": torch.eye(3)},
    "bucc": {"pairs": [Pair("s", "t", 1.2)], "gold": [("s", "t")], "threshold": 1.0},
    "map20": {"ranked": [["a", "b"]], "gold": [["a"]]},
}


def test_every_metric_has_an_example_here():
    assert set(PERFECT) == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_perfect_predictions_score_a_hundred_with_json_numbers(name):
    entry = find_metric(name)
    scores = entry.score(**PERFECT[name])
    assert entry.main_score(scores) == 100.0
    assert scores["n"] == (3 if name == "retrieval_accuracy" else len(next(iter(PERFECT[name].values()))))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert set(entry.inputs) <= set(PERFECT[name])


def test_the_main_score_is_the_mean_of_the_main_keys():
    assert find_metric("squad").main_score({"exact": 60.0, "f1": 70.0, "n": 1}) == 65.0


def test_wrong_names_and_inputs_are_refused():
    with pytest.raises(AdaptxferError, match="Did you mean 'accuracy'"):
        find_metric("acuracy")
    with pytest.raises(AdaptxferError, match="lacks language"):
        find_metric("mlqa").score(predictions={}, references={})
    with pytest.raises(AdaptxferError, match="no input average"):
        find_metric("accuracy").score(gold=["a"], predicted=["a"], average="macro")


def test_only_retrieval_needs_torch():
    modules = "bucc classification mlqa ranking registry squad tagging evaluate_metrics".split()
    imports = ";".join(f"import adaptxfer.metrics.{name}" for name in modules)
    check = f"{imports}; import sys; assert not {{'torch', 'datasets', 'evaluate'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
