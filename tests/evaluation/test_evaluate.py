from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.evaluation.evaluate import (
    DevSet,
    LanguageResult,
    evaluate_languages,
    evaluation_languages,
    has_labels,
    read_split,
    scores_document,
)
from adaptxfer.runs.scores import check_scores
from adaptxfer.tasks.examples import Answer, ChooseExample, ClassifyExample, RetrieveExample, SpanExample, TagExample
from adaptxfer.tasks.spec import FileSource
from tests.world import rows


@pytest.mark.parametrize(
    ("example", "labelled"),
    [
        (ClassifyExample("1", "a", None, "x"), True),
        (ClassifyExample("1", "a", None, None), False),
        (ChooseExample("1", "a", ("b", "c"), 0), True),
        (ChooseExample("1", "a", ("b", "c"), None), False),
        (TagExample("1", ("a",), ("O",)), True),
        (TagExample("1", ("a",), None), False),
        (SpanExample("1", "q", "c", (Answer("c", 0),)), True),
        (SpanExample("1", "q", "c", (), True), True),
        (SpanExample("1", "q", "c", ()), False),
        (RetrieveExample("1", "query", "a", None, ("2",)), True),
        (RetrieveExample("1", "query", "a"), False),
    ],
)
def test_what_can_be_scored(example, labelled: bool) -> None:
    assert has_labels([example]) is labelled


def test_languages_come_in_the_order_of_the_task(task, setting) -> None:
    weather = task("weather")
    assert evaluation_languages(weather, setting.data_dir, None, None) == ["en", "de", "sw"]
    assert evaluation_languages(weather, setting.data_dir, ["sw", "en", "sw"], None) == ["en", "sw"]
    assert evaluation_languages(weather, setting.data_dir, None, "dev") == ["en"]


@pytest.mark.parametrize(
    ("asked", "split", "code", "said"),
    [
        (["sx"], None, 1, "weather has no language 'sx'. Did you mean 'sw'?"),
        (["sw"], "dev", 2, "weather has no evaluation data in 'sw' here"),
        (None, "train", 1, "no evaluation split 'train'"),
        (None, "nothing", 1, "no evaluation split 'nothing'"),
    ],
)
def test_languages_and_splits_that_are_not_there(task, setting, asked, split, code, said) -> None:
    with pytest.raises(AdaptxferError) as caught:
        evaluation_languages(task("weather"), setting.data_dir, asked, split)
    assert said in str(caught.value) and caught.value.code == code


def test_no_data_at_all(task, tmp_path) -> None:
    with pytest.raises(AdaptxferError, match="has no evaluation data under") as caught:
        evaluation_languages(task("weather"), tmp_path, None, None)
    assert caught.value.code == 2 and "adaptxfer tasks check" in caught.value.hint


def bare(task: str, split: str):
    return [{key: value for key, value in row.items() if key != "label"} for row in rows(task, 4, split)]


@pytest.fixture
def half_labelled(task, setting, tmp_path):
    """A weather whose tests carry labels in sw alone; de has a labelled dev set."""
    from tests.world import World

    own = World(tmp_path)
    for split, language, made in (
        ("test", "en", bare("weather", "test")),
        ("test", "de", bare("weather", "test")),
        ("dev", "de", rows("weather", 3, "dev")),
        ("test", "sw", rows("weather", 4, "test")),
    ):
        own.write("weather", split, language, made)
    return task("weather"), replace(setting, data_dir=tmp_path / "data")


def test_dev_stands_in_for_a_test_set_without_labels(half_labelled, model) -> None:
    weather, setting = half_labelled
    assert read_split(weather, "en", setting) is None
    assert read_split(weather, "de", setting)[0] == "dev"
    assert read_split(weather, "de", setting, "test")[0] == "test"
    left_out, german, swahili = evaluate_languages(model, "weather", weather, ["en", "de", "sw"], setting)
    assert left_out == "weather has no labels in en here; it is left out."
    assert (german.split, german.scores["n"]) == ("dev", 3) and swahili.split == "test"
    document = scores_document(weather, [german, swahili])
    assert document["split"] == "mixed" and document["languages"]["de"]["split"] == "dev"
    assert document["mean"] == document["mean_zero_shot"]


def test_a_test_set_without_labels_is_predicted_when_asked_for(half_labelled, model) -> None:
    weather, setting = half_labelled
    english, german, swahili = evaluate_languages(model, "weather", weather, ["en", "de", "sw"], setting, "test")
    assert english.scores == german.scores == {} and swahili.scores["n"] == 4
    assert {record["predicted"] for record in german.records} <= set(weather.labels)
    document = scores_document(weather, [english, german, swahili])
    assert list(document["languages"]) == ["sw"] and document["mean"] == swahili.scores["accuracy"]
    assert document["unscored"] == {"en": {"n": 4}, "de": {"n": 4}} and document["split"] == "test"
    bare = scores_document(weather, [german])
    assert (bare["languages"], bare["mean"], bare["mean_zero_shot"]) == ({}, None, None)
    check_scores(bare, "here")


def test_a_language_that_a_shared_file_lacks_is_left_out(task, setting, model, tmp_path) -> None:
    path = tmp_path / "news/test.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps({**row, "code": "de"}) + "\n" for row in rows("weather", 4, "test")))
    place = FileSource(reader="jsonl", paths=("news/test.jsonl",), where={"code": "{lang}"})
    spec, here = replace(task("weather"), files=(place,)), replace(setting, data_dir=tmp_path)
    left_out, german = evaluate_languages(model, "weather", spec, ["en", "de"], here)
    assert left_out == "weather has no labels in en here; it is left out." and german.scores["n"] == 4


def test_means_with_and_without_english(task) -> None:
    def result(language: str, points: float) -> LanguageResult:
        return LanguageResult(language, "test", {"accuracy": points, "n": 1}, [], "")

    weather = task("weather")
    document = scores_document(weather, [result("en", 90.0), result("de", 60.0), result("sw", 30.0)])
    assert (document["mean"], document["mean_zero_shot"], document["split"]) == (60.0, 45.0, "test")
    assert document["languages"]["sw"] == {"accuracy": 30.0, "n": 1}
    assert scores_document(weather, [result("en", 90.0)])["mean_zero_shot"] is None
    with pytest.raises(AdaptxferError, match="No language of weather could be scored"):
        scores_document(weather, [])


@pytest.mark.parametrize("name", ["weather", "endings", "names", "facts"])
def test_batches_do_not_change_the_scores(task, setting, model, name: str) -> None:
    small, large = (
        list(evaluate_languages(model, name, task(name), ["en", "sw"], replace(setting, batch_tokens=size)))
        for size in (20, 4096)
    )
    for one, other in zip(small, large, strict=True):
        assert one.scores == pytest.approx(other.scores)
        assert [r["predicted"] for r in one.records] == [r["predicted"] for r in other.records]


def test_the_dev_set(task, setting, model) -> None:
    dev = DevSet(task("weather"), setting)
    scores = dev.scores(model)
    assert scores["n"] == 8 and dev(model) == scores["accuracy"] and dev.guessing() == 50.0
    assert DevSet(task("weather"), replace(setting, limit=3)).guessing() == pytest.approx(200 / 3)
    assert DevSet(task("names"), setting).guessing() is None
    assert dev.fingerprint != DevSet(task("names"), setting).fingerprint


def test_a_dev_set_needs_labels_and_english(task, setting, half_labelled) -> None:
    weather, elsewhere = half_labelled
    with pytest.raises(AdaptxferError, match="weather has no English dev data") as caught:
        DevSet(weather, elsewhere)
    assert caught.value.code == 2
    from tests.world import World

    World(elsewhere.data_dir.parent).write("weather", "dev", "en", bare("weather", "dev"))
    with pytest.raises(AdaptxferError, match="has no labels") as caught:
        DevSet(weather, elsewhere)
    assert caught.value.code == 2
