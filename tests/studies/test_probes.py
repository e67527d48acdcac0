"""Vectors and labels behind `select`, on the embedded encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adaptxfer.api import make_ask, merge, train_intermediate
from adaptxfer.data.features import build_features
from adaptxfer.encoder import encode
from adaptxfer.encoder.load import load_encoder
from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.studies.pairs import SELECTOR
from adaptxfer.studies.probes import fit_modules, labelled_vectors
from adaptxfer.tasks.examples import Answer, ChooseExample, ClassifyExample, SpanExample, TagExample
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.spec import TextOptions
from tests.world import open_world, rows

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
    vectors, found, _ = labelled_vectors(model, features, encoder.base.layers)
    return features, vectors, found


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


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    with open_world(tmp_path_factory.mktemp("probes"), mini_dir) as made:
        for language in ("de", "sw"):
            made.write("twins", "test", language, rows("twins", 6, language))
        yield made


def test_what_is_known_about_modules(world) -> None:
    bundles = [train_intermediate("endings", **world.training), train_intermediate("weather", **world.training)]
    bundles.append(merge(bundles, **world.options))
    ask = make_ask(**world.options)
    fits = fit_modules(load_task("climate", ask.tasks), bundles, ask, 24, parallel="twins")
    assert [fit.values["logme"] for fit in fits] == sorted((fit.values["logme"] for fit in fits), reverse=True)
    by_name = {fit.intermediate: fit for fit in fits}
    assert {*by_name["none"].values} == {"logme", "h_score", "alignment"} and by_name["none"].values["alignment"] == 0
    assert {*by_name["average-endings-weather"].values} == {"logme", "h_score", "alignment"}  # of no one task
    full = by_name["weather"].values
    assert {*full} == {"logme", "h_score", "alignment", "tokens", "text", "task", "overlap", "variety", "lengths",
                       "labels"}  # fmt: skip
    assert full["text"] == pytest.approx(1) and full["task"] == pytest.approx(1)  # climate trains on weather's data
    other = by_name["endings"].values
    assert "labels" not in other and other["text"] < 0.999 and 0 < other["overlap"] < full["overlap"] <= 1
    table = by_name["weather"].rows("climate", "tiny", "bottleneck")
    assert {row.metric: row.value for row in table} == full and {row.study for row in table} == {SELECTOR}


def test_without_translations_and_for_one_language(world) -> None:
    ask = make_ask(**world.options)
    (fit,) = fit_modules(load_task("names", ask.tasks), [], ask, 24, ["sw"])
    assert fit.intermediate == "none" and fit.vectors == 72 and {*fit.values} == {"logme", "h_score"}


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(AdaptxferError, match="retrieval"):
        fit_modules(load_task("tatoeba"), [], make_ask(model="mini"))
    with pytest.raises(AdaptxferError, match="10 labelled vectors"):
        fit_modules(load_task("sample_claims"), [], make_ask(model="mini"), 10)
