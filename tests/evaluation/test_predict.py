from __future__ import annotations

import pytest
import torch

from adaptxfer.evaluation.evaluate import features_of
from adaptxfer.evaluation.predict import head_scores, predict
from adaptxfer.tasks.examples import SpanExample
from adaptxfer.tasks.load import read_examples


@pytest.fixture
def predicted(task, setting, model):
    def run(name: str, language: str = "en", split: str = "test"):
        spec = task(name)
        examples = read_examples(spec, split, language, setting.data_dir).items
        features = features_of(spec, examples, setting)
        return examples, features, predict(model, name, spec, examples, features, setting.batch_tokens)

    return run


def test_classify_gives_a_label_and_its_scores(predicted) -> None:
    examples, _, records = predicted("weather")
    assert [r["id"] for r in records] == [e.id for e in examples]
    for record in records:
        assert record["predicted"] == ("dry", "wet")[record["scores"].index(max(record["scores"]))]
        assert record["correct"] == (record["gold"] == record["predicted"])


def test_choose_gives_the_number_of_a_choice(predicted) -> None:
    for record in predicted("endings")[2]:
        assert len(record["scores"]) == 2 and record["predicted"] == record["scores"].index(max(record["scores"]))


def test_tag_gives_a_tag_for_every_word(predicted) -> None:
    for example, record in zip(*predicted("names")[::2], strict=True):
        assert len(record["predicted"]) == len(record["gold"]) == len(example.words)
        assert set(record["predicted"]) <= {"O", "B-PER"}


def test_span_gives_words_of_the_context(predicted) -> None:
    for example, record in zip(*predicted("facts")[::2], strict=True):
        assert record["predicted"] in example.context
        assert {"id", "gold", "predicted", "null_difference", "question", "exact", "f1"} <= set(record)
        assert 0 <= record["overlap"] <= 1 and 0 <= record["position"] < 1
        assert record["question"] == example.question and record["context_words"] == len(example.context.split())
        assert 0 <= record["exact"] <= record["f1"] <= 100


def test_a_question_without_answers_is_not_scored(task, setting, model) -> None:
    examples = [SpanExample("1", "How many cats?", "Ann has two cats.", ())]
    features = features_of(task("facts"), examples, setting)
    (record,) = predict(model, "facts", task("facts"), examples, features, 64)
    assert "exact" not in record and record["gold"] == []


def test_scores_come_in_packed_order(predicted, model, setting) -> None:
    """Batches are made by length; what a sequence gets does not depend on its neighbours."""
    _, features, _ = predicted("facts")
    every = torch.from_numpy(head_scores(model, "facts", features, 4096))
    alone = torch.from_numpy(head_scores(model, "facts", features, 1))
    assert every.shape == (len(features.ids), 2)
    torch.testing.assert_close(every, alone, rtol=1e-4, atol=1e-5)
    first = features.ids[features.bounds[0] : features.bounds[1]]
    with torch.inference_mode():
        direct = model("facts", torch.from_numpy(first).long(), torch.tensor([0, len(first)]))
    torch.testing.assert_close(every[: len(first)], direct, rtol=1e-4, atol=1e-5)


def test_nothing_gives_nothing(task, setting, model) -> None:
    features = features_of(task("weather"), [], setting)
    assert head_scores(model, "weather", features, 64).shape == (0,)
