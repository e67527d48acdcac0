"""Options of a run: everything out of range is named at once."""

from __future__ import annotations

import json
import math

import pytest

from adaptxfer.errors import USE, AdaptxferError
from adaptxfer.training import TrainingOptions


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"learning_rate": 0}, "--learning-rate"),
        ({"learning_rate": math.nan}, "--learning-rate"),
        ({"epochs": 0}, "--epochs"),
        ({"max_steps": 0}, "--max-steps"),
        ({"batch_size": 0}, "--batch-size"),
        ({"batch_tokens": 0}, "--batch-tokens"),
        ({"warmup": 1.0}, "--warmup"),
        ({"weight_decay": -0.1}, "--weight-decay"),
        ({"weight_decay": math.nan}, "--weight-decay"),
        ({"clip": 0}, "--clip"),
        ({"clip": math.nan}, "--clip"),
        ({"epsilon": 0}, "epsilon"),
        ({"precision": "fp8"}, "--precision"),
        ({"evaluations": 0}, "--evaluations"),
        ({"on_chance": "cry"}, "--on-chance"),
        ({"graphs": "yes"}, "--graphs"),
    ],
)
def test_out_of_range(changed, expected):
    with pytest.raises(AdaptxferError, match=expected) as caught:
        TrainingOptions(**({"learning_rate": 1e-3} | changed))
    assert caught.value.code == USE


def test_all_faults_in_one_sentence_and_json():
    with pytest.raises(AdaptxferError, match=r"--learning-rate.*; --clip.*; --on-chance"):
        TrainingOptions(learning_rate=-1, clip=-1, on_chance="x")
    assert json.loads(json.dumps(TrainingOptions(learning_rate=1e-3).to_dict()))["batch_size"] == 32
