"""Batches brought to fixed shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from adaptxfer.data.batches import pack
from adaptxfer.training.shapes import filled, shape_of
from adaptxfer.training.steps import TaskData
from tests.training.toy import toy, toy_data

KINDS = ("classify", "choose", "tag", "span", "retrieve")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("units", [1, 3, 8, 24])
def test_a_batch_in_its_shape(kind, units):
    batch = pack(toy(kind), np.arange(units))
    shape = shape_of("goal", batch)
    found = filled(batch, shape)
    lengths = found.bounds.diff()
    assert (len(found.ids), len(lengths), len(found.units) - 1) == (shape.tokens, shape.sequences, shape.units)
    assert (
        lengths.min() > 0 and lengths.max() <= shape.longest and lengths.tolist() == found.targets["lengths"].tolist()
    )
    assert found.bounds[-1] == shape.tokens and found.units[-1] == shape.sequences
    assert found.units.diff().min() > 0 and found.units.diff().max() <= shape.choices
    assert torch.equal(found.ids[: batch.tokens], batch.ids)
    assert torch.equal(found.bounds[: len(batch.bounds)], batch.bounds)
    for name, value in batch.targets.items():
        assert (
            torch.equal(found.targets[name][: len(value)], value) and (found.targets[name][len(value) :] == -100).all()
        )


def test_few_shapes_and_little_waste():
    features = toy(units=400, seed=1)
    data = TaskData("goal", features, 32, 1)
    batches = [data.batches(number, 10_000)[0] for number in range(48)]
    shapes = [shape_of("goal", batch) for batch in batches]
    assert len(set(shapes)) <= 12
    assert sum(shape.tokens for shape in shapes) < 1.2 * sum(batch.tokens for batch in batches)


def test_dummies_are_no_longer_than_the_longest():
    one = pack(toy(units=40, seed=3), np.arange(1))
    assert one.tokens < 32
    for tokens in (33, 100, 250, 511):
        ids = torch.arange(tokens)
        batch = replace(one, ids=ids, bounds=torch.tensor([0, tokens]), longest=tokens, positions=np.arange(tokens))
        shape = shape_of("goal", batch)
        assert shape.tokens - tokens <= (shape.sequences - 1) * shape.longest


def test_gathered_rows():
    batch = toy_data("words", "mlm").batches(0, 10_000)[0]
    shape = shape_of("words", batch)
    found, label = filled(batch, shape).targets, batch.targets["label"]
    labelled = int((label != -100).sum())
    assert labelled and len(found["rows"]) == len(found["label"]) == shape.rows >= labelled
    assert torch.equal(label[found["rows"][:labelled]], found["label"][:labelled])
    assert (found["label"][labelled:] == -100).all()
    pairs = pack(toy("retrieve"), np.arange(5))
    found = filled(pairs, shape_of("goal", pairs)).targets
    assert found["queries"].tolist() == [0, 2, 4, 6, 8] and found["candidates"].tolist() == [1, 3, 5, 7, 9]
