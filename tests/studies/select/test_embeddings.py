"""Vectors of whole tasks on the tiny encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptxfer.data.features import build_features
from adaptxfer.encoder import encode
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.studies.select.embeddings import cosine, task_embedding, task_similarity, text_embedding
from adaptxfer.studies.select.vectors import labelled_vectors
from adaptxfer.tasks.examples import ClassifyExample, TagExample
from adaptxfer.tasks.spec import TextOptions
from tests.tiny import fresh, hash_of, tiny_dir, tiny_encoder

__all__ = ["tiny_dir", "tiny_encoder"]
TEXT = TextOptions(max_length=32, stride=16, max_question=16)
WEATHER = [ClassifyExample(str(i), f"Day {i} has {w}.", None, w) for i, w in enumerate(["rain", "sun"] * 6)]
NAMES = [TagExample(str(i), ("Anna", "lives", "in", "Bern"), ("B-PER", "O", "O", "B-LOC")) for i in range(6)]


def prepared(encoder, kind, examples, labels):
    model = AdaptedModel(make_method("full", fresh(encoder).network), {}).eval()
    features = build_features(kind, examples, encoder.tokenizer, TEXT, labels, True)
    layer = encoder.base.layers
    vectors, labels, places = labelled_vectors(model, features, [layer])
    return model, features, (vectors[layer], labels, places)


@pytest.mark.parametrize(
    ("kind", "examples", "labels"), [("classify", WEATHER, ("rain", "sun")), ("tag", NAMES, ("O", "B-PER", "B-LOC"))]
)
def test_the_mean_squared_gradient_of_a_linear_reading(tiny_encoder, kind, examples, labels):
    model, features, (vectors, classes, places) = prepared(tiny_encoder, kind, examples, labels)
    before = hash_of(dict(model.network.named_parameters()))
    found = task_embedding(model.network, features, places, vectors, classes)
    assert hash_of(dict(model.network.named_parameters())) == before
    assert all(p.requires_grad for p in model.network.parameters())
    # the same by way of a dense solve and one plain backward pass per sequence
    x = torch.from_numpy(vectors.astype(np.float64) - vectors.mean(0))
    y = torch.nn.functional.one_hot(torch.from_numpy(np.unique(classes, return_inverse=True)[1])).double()
    y = y - y.mean(0)
    ridge = (x.T @ x).trace() / x.shape[1] * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    name = "encoder.layer.1.output.LayerNorm.bias"
    parameter = dict(model.network.named_parameters())[name]
    total = torch.zeros_like(parameter)
    for s in range(len(features.example)):
        first, last = features.bounds[s : s + 2]
        hidden = encode(
            model.network, torch.from_numpy(features.ids[first:last]).long(), torch.tensor([0, last - first])
        )
        inside = [n for n, place in enumerate(places) if (place == s if kind == "classify" else first <= place < last)]
        rows = hidden.mean(0, keepdim=True) if kind == "classify" else hidden[places[inside] - first]
        said = (rows.double() - torch.from_numpy(vectors.mean(0)).double()) @ weights
        loss = 0.5 * (said - y[inside]).square().sum()
        total += torch.autograd.grad(loss, parameter)[0].square()
    torch.testing.assert_close(
        torch.from_numpy(found[name]), total.double() / len(features.example), atol=1e-6, rtol=1e-3
    )


def test_a_task_is_most_like_itself(tiny_encoder):
    made = {kind: prepared(tiny_encoder, kind, *rest) for kind, *rest in (
        ("classify", WEATHER, ("rain", "sun")), ("tag", NAMES, ("O", "B-PER", "B-LOC")))}  # fmt: skip
    one, two = (task_embedding(m.network, f, p, v, c) for m, f, (v, c, p) in made.values())
    assert task_similarity(one, one) == pytest.approx(1) and 0 < task_similarity(one, two) < 0.999
    model, features, _ = made["classify"]
    mine = text_embedding(model, features, 2, 1000)
    assert mine.shape == (32,) and cosine(mine, mine) == pytest.approx(1) and cosine(mine, 0 * mine) == 0
