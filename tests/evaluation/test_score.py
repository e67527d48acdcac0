from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.evaluation.score import main_metric, score_records


@pytest.mark.parametrize(
    ("metric", "main"),
    [
        ("accuracy", "accuracy"),
        ("acc_f1", "acc_f1"),
        ("squad", "squad"),
        ("squad_v2", "squad_v2"),
        ("mlqa", "mlqa"),
        ("pos", "accuracy"),
        ("entity_f1", "f1"),
        ("retrieval_accuracy", "accuracy"),
    ],
)
def test_the_name_of_the_one_number(task, metric: str, main: str) -> None:
    weather = task("weather")
    assert main_metric(replace(weather, metric=replace(weather.metric, main=metric))) == main


def scored(task, name: str, metric: str, records, language: str = "en"):
    spec = task(name)
    return score_records(replace(spec, metric=replace(spec.metric, main=metric)), language, records)


def test_labels(task) -> None:
    pairs = [("dry", "dry"), ("dry", "wet"), ("wet", "wet"), ("wet", "wet")]
    records = [{"gold": gold, "predicted": guess} for gold, guess in pairs]
    assert scored(task, "weather", "accuracy", records) == {"accuracy": 75.0, "n": 4}
    both = scored(task, "weather", "acc_f1", records)
    assert both["f1"] == pytest.approx(80.0), "F1 of the last label: precision 2/3, recall 1"
    assert both["acc_f1"] == pytest.approx(77.5)


def test_answers(task) -> None:
    records = [
        {"id": "1", "gold": ["the red cat"], "predicted": "red cat", "null_difference": 0.0},
        {"id": "2", "gold": ["a dog", "two dogs"], "predicted": "two birds", "null_difference": 0.0},
    ]
    scores = scored(task, "facts", "squad", records)
    assert (scores["exact"], scores["f1"], scores["squad"], scores["n"]) == (50.0, 75.0, 62.5, 2)


def test_the_language_decides_how_mlqa_normalises(task) -> None:
    records = [{"id": "1", "gold": ["der Hund"], "predicted": "Hund", "null_difference": 0.0}]
    assert scored(task, "facts", "mlqa", records, "de")["exact"] == 100.0
    assert scored(task, "facts", "mlqa", records, "en")["exact"] == 0.0
    assert scored(task, "facts", "mlqa", records, "de-en")["exact"] == 100.0, "context first, then question"


def test_tags(task) -> None:
    records = [{"gold": ["B-PER", "O"], "predicted": ["B-PER", "B-PER"]}]
    scores = scored(task, "names", "entity_f1", records)
    assert (scores["precision"], scores["recall"], scores["n"]) == (50.0, 100.0, 1)
    assert scores["f1"] == pytest.approx(200 / 3)


def test_a_pooled_task_has_both_accuracies(task) -> None:
    pooled = replace(task("weather"), pool=("mnli", "snli", "anli_r1"))
    right = {"mnli/0": True, "mnli/1": True, "mnli/2": False, "snli/0": False}
    records = [{"id": key, "gold": "wet", "predicted": "wet" if hit else "dry"} for key, hit in right.items()]
    scores = score_records(pooled, "en", records)
    assert scores["accuracy"] == 50.0 and scores["accuracy_members"] == pytest.approx(100 / 3)
    assert scores["members"] == {"mnli": pytest.approx(200 / 3), "snli": 0.0}
    assert "members" not in score_records(task("weather"), "en", records)


def test_domains_add_up_to_the_whole(task) -> None:
    right = [True, False, False, True, True]
    records = [
        {"correct": hit, "correct_reverse": not hit, "domain": domain}
        for hit, domain in zip(right, ("news", "travel", "news", "travel", "travel"), strict=True)
    ]
    scores = score_records(task("twins"), "sw", records)
    domains = scores["domains"]
    assert list(domains) == ["news", "travel"] and domains["news"]["accuracy"] == 50.0
    assert domains["travel"] == {
        "accuracy": pytest.approx(200 / 3), "accuracy_reverse": pytest.approx(100 / 3), "accuracy_mean": 50.0, "n": 3
    }  # fmt: skip
    assert sum(part["n"] * part["accuracy"] for part in domains.values()) / 5 == pytest.approx(scores["accuracy"])


def test_retrieval_is_counted_in_both_directions(task) -> None:
    records = [{"correct": True, "correct_reverse": False}] * 3 + [{"correct": False, "correct_reverse": False}]
    scores = scored(task, "twins", "retrieval_accuracy", records)
    assert scores == {"accuracy": 75.0, "accuracy_reverse": 0.0, "accuracy_mean": 37.5, "n": 4}
