"""Decay groups by name, and the schedule of the learning rate."""

from __future__ import annotations

import pytest

from adaptxfer.training.optimiser import make_optimiser, rate
from tests.training.toy import OPTIONS, toy_model


def groups(trained):
    """Names of the decayed and of the spared weights."""
    optimiser = make_optimiser(trained, OPTIONS)
    names = {id(value): name for name, value in trained.items()}
    assert [group["weight_decay"] for group in optimiser.param_groups] == [OPTIONS.weight_decay, 0.0]
    return [{names[id(value)] for value in group["params"]} for group in optimiser.param_groups]


def test_fusion_value_matrices_are_not_decayed(tiny_encoder):
    decayed, spared = groups(toy_model(tiny_encoder, "bottleneck", "fuse", True)[1])
    fusion = "network.encoder.layer.0.output.adapter_fusion_layer.one,two"
    assert {f"{fusion}.query.weight", f"{fusion}.key.weight"} <= decayed
    assert {f"{fusion}.value.weight", f"{fusion}.query.bias", f"{fusion}.key.bias"} <= spared
    assert "network.encoder.layer.1.output.adapters.goal.adapter_up.weight" in decayed
    assert "network.encoder.layer.1.output.adapters.goal.adapter_up.bias" in spared
    assert {"heads.goal.dense.weight", "heads.goal.out.weight"} <= decayed
    assert {"heads.goal.dense.bias", "heads.goal.out.bias"} <= spared


def test_attention_value_matrices_of_the_encoder_are_decayed(tiny_encoder):
    _, trained = toy_model(tiny_encoder, "full")
    decayed, spared = groups(trained)
    assert "network.encoder.layer.0.attention.self.value.weight" in decayed
    assert {name for name in trained if "LayerNorm" in name or name.endswith("bias")} == spared
    assert decayed | spared == set(trained)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.5), (1, 1.0), (2, 1.0), (3, 7 / 8), (9, 1 / 8)])
def test_rate_rises_and_falls_linearly(step, expected):
    assert rate(step, 10, 0.2) == pytest.approx(expected)


def test_rate_without_warmup_and_of_one_step():
    assert [rate(step, 4, 0.0) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert rate(0, 1, 0.1) == 1.0
    assert all(0 < rate(step, 37, 0.29) <= 1 for step in range(37))


def test_the_loop_follows_the_schedule(tiny_encoder, tmp_path):
    from adaptxfer.training import train
    from tests.training.toy import Scores, toy_steps

    model, trained = toy_model(tiny_encoder)
    events = []
    train(model, trained, toy_steps(), OPTIONS, tmp_path, Scores([1] * 5, trained), events.append)
    rates = [event["learning_rate"] for event in events if event["event"] == "step"]
    assert rates == pytest.approx([5e-3 * rate(step, 10, 0.1) for step in range(10)])
