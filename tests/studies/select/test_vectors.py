"""Vectors and labels behind `select`, on the embedded encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptxfer.data.features import build_features
from adaptxfer.encoder import encode
from adaptxfer.encoder.load import load_encoder
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.studies.select.vectors import labelled_vectors
from adaptxfer.tasks.examples import Answer, ChooseExample, ClassifyExample, SpanExample, TagExample
from adaptxfer.tasks.spec import TextOptions

TEXT = TextOptions(max_length=32, stride=16, max_question=16)


@pytest.fixture(scope="module")
def bare(mini_dir):
    encoder = load_encoder(str(mini_dir))
    return AdaptedModel(make_method("full", encoder.network), {}).eval(), encoder


def states(bare, features, sequence: int) -> np.ndarray:
    """Hidden states of one sequence, computed alone."""
    model, _ = bare
    first, last = features.bounds[sequence : sequence + 2]
    ids = torch.from_numpy(features.ids[first:last]).long()
    with torch.inference_mode():
        return encode(model.network, ids, torch.tensor([0, len(ids)])).numpy()


def vectors(bare, kind: str, examples: list, labels=()):
    model, encoder = bare
    features = build_features(kind, examples, encoder.tokenizer, TEXT, labels, True)
    layer = encoder.base.layers
    vectors, found, _ = labelled_vectors(model, features, [layer])
    return features, vectors[layer], found


def test_sequences_of_a_classifier(bare) -> None:
    examples = [ClassifyExample("0", "It rains.", None, "wet"), ClassifyExample("1", "Sun.", "Warm and dry.", "dry")]
    features, found, labels = vectors(bare, "classify", examples, ("dry", "wet"))
    assert list(labels) == [1, 0]
    np.testing.assert_allclose(found[1], states(bare, features, 1).mean(0), atol=1e-4)


def test_choices_are_right_or_wrong(bare) -> None:
    examples = [ChooseExample("0", "She", ("runs.", "blue.", "of."), 1), ChooseExample("1", "He", ("sat.", "on."), 0)]
    _, found, labels = vectors(bare, "choose", examples)
    assert list(labels) == [0, 1, 0, 1, 0] and len(found) == 5


def test_words_by_their_first_piece(bare) -> None:
    examples = [TagExample("0", ("Anna", "lives", "in", "Bern"), ("B-PER", "O", "O", "B-LOC"))]
    features, found, labels = vectors(bare, "tag", examples, ("O", "B-PER", "B-LOC"))
    assert list(labels) == [1, 0, 0, 2]
    places = np.flatnonzero(features.targets["word"] >= 0)
    np.testing.assert_allclose(found, states(bare, features, 0)[places], atol=1e-4)


def test_ends_of_answers(bare) -> None:
    examples = [SpanExample("0", "Who sings?", "In the hall Mary Smith sings a song.", (Answer("Mary Smith", 12),))]
    features, found, labels = vectors(bare, "span", examples)
    assert list(labels) == [0, 1, 2]
    start, end = features.targets["start"][0], features.targets["end"][0]
    np.testing.assert_allclose(found[:2], states(bare, features, 0)[[start, end]], atol=1e-4)
