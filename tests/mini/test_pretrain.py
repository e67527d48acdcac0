"""Pre-training of a small encoder: batches, resuming, what it leaves behind."""

from __future__ import annotations

import itertools
import json
import lzma
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from adaptxfer.data.features import IGNORED
from adaptxfer.embedded import encoder_dir
from adaptxfer.encoder.load import load_encoder
from adaptxfer.errors import AdaptxferError
from adaptxfer.files import write_json
from benchmarks.mini import start
from benchmarks.mini.corpus import Sampler, is_held_out, load_corpus, read_lines
from benchmarks.mini.objectives import contrast_loss, word_loss
from benchmarks.mini.pretrain import Recipe, Run

SMALL = Recipe("align", layers=1, width=64, tokens=200, contrast=8, warmup=4)
WORDS = {
    "en": "the a small house river bird sings runs over under green blue morning evening never always".split(),
    "de": "das ein kleines Haus Fluss Vogel singt läuft über unter grün blau Morgen Abend nie immer".split(),
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """600 lines of our own: pairs whose sides have the same words in the same order, and English alone."""
    draw, path = np.random.default_rng(0), tmp_path_factory.mktemp("corpus") / "text.tsv.xz"
    with lzma.open(path, "wt", encoding="utf-8") as file:
        for number in range(600):
            chosen = draw.integers(len(WORDS["en"]), size=draw.integers(4, 12))
            english, german = (" ".join(WORDS[language][n] for n in chosen) for language in ("en", "de"))
            file.write(f"en\t{english}\n" if number % 3 == 0 else f"en\t{english}\tde\t{german}\n")
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return start.copy_tokenizer(encoder_dir("mini"), tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def corpus(text, tokenizer):
    return load_corpus(text, tokenizer)


def weights(run):
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def test_held_out_sentences_are_never_trained_on(corpus, text, tokenizer):
    held = {text for fields in read_lines(text) for text in fields[1::2] if is_held_out(text)}
    assert held and sum(map(len, corpus.held_out.values())) == len(held)
    trained = np.concatenate([*corpus.sentences.values(), *(pairs.ravel() for pairs in corpus.pairs.values())])
    decoded = {tokenizer.decode(corpus.sentence(n)) for n in np.unique(trained)}
    assert decoded and not decoded & {
        tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) for text in held
    }


def test_batches_depend_on_seed_and_step_alone(corpus):
    one, other = Sampler(corpus, 3, 500, 8), Sampler(corpus, 3, 500, 8)
    other.batch(1)
    assert (one.batch(5).ids == other.batch(5).ids).all() and (one.batch(5).pairs == other.batch(5).pairs).all()
    assert len(one.batch(5).ids) != len(one.batch(7).ids) or (one.batch(5).ids != one.batch(7).ids).any()


def test_a_batch_is_whole(corpus, tokenizer):
    batch = Sampler(corpus, 0, 500, 8).batch(1)
    assert 500 <= batch.masked < 500 + 3 * 512 and batch.bounds[-1] == len(batch.ids)
    assert (batch.ids[batch.bounds[:-1]] == tokenizer.cls_token_id).all()
    assert (batch.ids[batch.bounds[1:] - 1] == tokenizer.sep_token_id).all()
    tail = batch.bounds[-1 - 2 * len(batch.pairs) :]
    assert tail[0] == batch.masked
    for number, (low, high) in zip(batch.pairs.T.ravel(), itertools.pairwise(tail), strict=True):
        assert (batch.ids[low + 1 : high - 1] == corpus.sentence(number)).all()
    assert not len(Sampler(corpus, 0, 500, 0).batch(1).pairs)


def test_words_are_scored_as_transformers_does(tokenizer):
    model = start.network(len(tokenizer), 1, 64, 0)
    ids = torch.randint(5, len(tokenizer), (1, 20))
    labels = torch.where(torch.arange(20) % 3 == 0, ids[0], IGNORED)
    expected = model(ids, labels=labels[None]).loss
    found = word_loss(model, model.roberta(ids).last_hidden_state[0], labels) / (labels >= 0).sum()
    torch.testing.assert_close(found, expected)


def test_contrast_by_hand_and_without_false_wrong_candidates():
    vectors = torch.nn.functional.normalize(torch.randn(6, 8), dim=1)
    scores = vectors[:3] @ vectors[3:].T / 0.05
    expected = -(scores.log_softmax(1).diag() + scores.log_softmax(0).diag()).mean() / 2
    torch.testing.assert_close(contrast_loss(vectors, torch.arange(6).view(3, 2)), expected)
    alike = torch.tensor([[0, 1], [0, 2], [3, 4]])
    scores[0, 1] = scores[1, 0] = -math.inf
    expected = -(scores.log_softmax(1).diag() + scores.log_softmax(0).diag()).mean() / 2
    torch.testing.assert_close(contrast_loss(vectors, alike), expected)


def test_resumed_equals_uninterrupted_and_the_loss_falls(text, tmp_path):
    whole = Run(text, tmp_path / "whole", SMALL)
    whole.train(None, 12, None)
    Run(text, tmp_path / "parts", SMALL).train(None, 5, None)
    resumed = Run(text, tmp_path / "parts", SMALL)
    assert resumed.progress.step == 5
    resumed.train(4, 12, None)
    assert resumed.decay(None) == (5, 4) and resumed.progress.step == 9
    other = Run(text, tmp_path / "other", SMALL)
    other.train(None, 5, None)
    other.train(4, None, None)
    for name, value in weights(other).items():
        assert value.equal(weights(resumed)[name]), name
    assert not all(value.equal(weights(whole)[name]) for name, value in weights(other).items())
    lines = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    first, last = (line["held_out"] for line in (lines[0], lines[-1]))
    assert set(first) == {"de", "en"} and all(last[language] < first[language] for language in first)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pt", ".bin", ".pkl", ".pth")]


def test_the_export_loads_and_computes_the_same(text, tmp_path):
    run = Run(text, tmp_path, replace(SMALL, variant="mlm"))
    run.train(None, 1, None)
    encoder = load_encoder(str(tmp_path / "export"))
    assert encoder.hints.retrieval_layer == 1 and encoder.base.width == 64
    ids = torch.arange(10, 30)[None]
    found = encoder.network.eval()(ids).last_hidden_state
    with torch.no_grad():
        expected = run.model.roberta(ids).last_hidden_state
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)


def test_one_variant_begins_with_the_other(text, tmp_path):
    first = Run(text, tmp_path / "mlm", replace(SMALL, variant="mlm"))
    first.train(None, 2, None)
    second = Run(text, tmp_path / "align", SMALL, tmp_path / "mlm" / "export")
    assert second.progress.step == 0
    for name, value in weights(second).items():
        torch.testing.assert_close(value, weights(first)[name], atol=1e-3, rtol=1e-3)
    second.train(None, 1, None)
    assert Run(text, tmp_path / "align", SMALL, tmp_path / "mlm" / "export").progress.step == 1


def test_another_recipe_is_refused(text, tmp_path):
    write_json(tmp_path / "recipe.json", {"seed": 5})
    with pytest.raises(AdaptxferError, match="another recipe"):
        Run(text, tmp_path, SMALL)


def test_learning_rate():
    recipe = Recipe(learning_rate=1.0, warmup=4)
    assert [recipe.rate(step, None) for step in (0, 1, 3, 4, 900)] == [0.25, 0.5, 1, 1, 1]
    assert [recipe.rate(step, (10, 4)) for step in (9, 10, 12, 14, 20)] == [1.25, 1, 0.5, 0, 0]
    assert all(recipe.rate(step, (10, 4)) <= 1 for step in range(10, 20))


def test_a_tokenizer_of_its_own(text, tmp_path):
    tokenizer = start.train_tokenizer(text, tmp_path, 60, 0)
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]) == [
        0,
        1,
        2,
        3,
        len(tokenizer) - 1,
    ]
    assert len(tokenizer) == 62 and tokenizer.decode(tokenizer.encode("das kleines Haus"), True) == "das kleines Haus"
    again = start.copy_tokenizer(tmp_path, tmp_path / "copy")
    assert again.encode("the river sings") == tokenizer.encode("the river sings")
