"""Heads: shapes, losses against plain formulas, and weights that depend on nothing but seed and name."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.heads import HeadSpec, build_head
from tests.tiny import hash_of

BOUNDS = torch.tensor([0, 3, 5, 9, 11])
HIDDEN = torch.randn(11, 8, generator=torch.Generator().manual_seed(0))


def head(kind, labels=("a", "b", "c"), **options):
    return build_head(HeadSpec(kind, 8, labels, **options), 1, "task").eval()


def test_classify():
    model = head("classify")
    scores = model(HIDDEN, BOUNDS)
    by_hand = torch.tanh(HIDDEN[[0, 3, 5, 9]] @ model.dense.weight.T + model.dense.bias)
    torch.testing.assert_close(scores, by_hand @ model.out.weight.T + model.out.bias)
    targets = {"label": torch.tensor([0, 2, -100, 1])}
    expected = -F.log_softmax(scores, -1)[[0, 1, 3], [0, 2, 1]].sum()
    torch.testing.assert_close(model.loss(scores, BOUNDS, targets), expected)
    assert model.count(targets) == 3
    assert model.chance_loss() == math.log(3)


def test_a_choose_head_of_four_scores_two():
    model = head("choose", ())
    four = {"label": torch.tensor([2]), "units": torch.tensor([0, 4])}
    two = {"label": torch.tensor([1, 0]), "units": torch.tensor([0, 2, 4])}
    scores = model(HIDDEN, BOUNDS)
    assert scores.shape == (4,)
    torch.testing.assert_close(model.loss(scores, BOUNDS, four), -F.log_softmax(scores, 0)[2])
    expected = -F.log_softmax(scores[:2], 0)[1] - F.log_softmax(scores[2:], 0)[0]
    torch.testing.assert_close(model.loss(scores, BOUNDS, two), expected)
    assert model.count(two) == 2 and model.chance_loss() is None


def test_choose_units_of_different_size():
    model = head("choose", ())
    scores = model(HIDDEN, BOUNDS).detach().requires_grad_()
    targets = {"label": torch.tensor([0, 1]), "units": torch.tensor([0, 1, 4])}
    loss = model.loss(scores, BOUNDS, targets)
    torch.testing.assert_close(loss, -F.log_softmax(scores[1:], 0)[1])
    loss.backward()
    assert bool(torch.isfinite(scores.grad).all())


def test_tag():
    model = head("tag")
    scores = model(HIDDEN, BOUNDS)
    assert scores.shape == (11, 3)
    label = torch.full((11,), -100)
    label[[1, 4, 6]] = torch.tensor([0, 1, 2])
    expected = -F.log_softmax(scores, -1)[[1, 4, 6], [0, 1, 2]].sum()
    torch.testing.assert_close(model.loss(scores, BOUNDS, {"label": label}), expected)
    assert model.count({"label": label}) == 3


def test_span_is_normalised_over_each_window():
    model = head("span", ())
    scores = model(HIDDEN, BOUNDS)
    assert scores.shape == (11, 2)
    targets = {"start": torch.tensor([1, 0, 2, 0]), "end": torch.tensor([2, 1, 3, 0])}
    expected = torch.zeros(())
    for window in range(4):
        part = F.log_softmax(scores[BOUNDS[window] : BOUNDS[window + 1]], 0)
        expected = expected - (part[targets["start"][window], 0] + part[targets["end"][window], 1]) / 2
    torch.testing.assert_close(model.loss(scores, BOUNDS, targets), expected)
    assert model.count(targets) == 4


def test_weights_depend_on_seed_and_name_alone():
    spec = HeadSpec("classify", 8, ("a", "b"))
    torch.manual_seed(5)
    first = build_head(spec, 1, "x")
    state = torch.get_rng_state()
    again = build_head(spec, 1, "x")
    assert torch.equal(torch.get_rng_state(), state)
    assert hash_of(first.state_dict()) == hash_of(again.state_dict())
    assert hash_of(first.state_dict()) != hash_of(build_head(spec, 2, "x").state_dict())
    assert hash_of(first.state_dict()) != hash_of(build_head(spec, 1, "y").state_dict())
    assert bool((first.out.bias == 0).all())


def test_spec_round_trip_and_faults():
    spec = HeadSpec("tag", 8, ("a", "b"), 0.2, 0.01)
    assert HeadSpec.from_dict(spec.to_dict()) == spec
    for change in ({"width": 0}, {"labels": []}, {"dropout": 1.5}, {"labels": 1}, {"width": "wide"}):
        with pytest.raises(AdaptxferError, match="The head of this bundle"):
            HeadSpec.from_dict(spec.to_dict() | change)
    with pytest.raises(AdaptxferError, match="not described completely"):
        HeadSpec.from_dict({"kind": "tag"})
    with pytest.raises(AdaptxferError, match="'mlm' has no head"):
        build_head(HeadSpec("mlm", 8), 1, "x")
