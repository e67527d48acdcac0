from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.mlqa import mlqa_scores
from adaptxfer.metrics.tagging import entity_f1, token_accuracy
from adaptxfer.studies.items import load_items, read_clusters
from adaptxfer.studies.table import Row

TAGS = [
    {"id": "0", "gold": ["B-PER", "I-PER", "O"], "predicted": ["B-PER", "O", "B-LOC"]},
    {"id": "1", "gold": ["O", "B-LOC"], "predicted": ["O", "B-LOC"]},
]
ANSWERS = [
    {"id": "a", "gold": ["der Hund"], "predicted": "Hund", "exact": 0.0, "f1": 66.66667, "null_difference": 0.1},
    {
        "id": "b",
        "gold": ["1990", "im Jahr 1990"],
        "predicted": "Jahr 1990",
        "exact": 0.0,
        "f1": 80.0,
        "null_difference": 0,
    },
]


def row(path: Path, records: list, metric: str, value: float, language: str = "de") -> Row:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return Row("task", language, metric, value, 1, items=str(path))


def test_counts_of_tags_give_the_metric_again(tmp_path: Path) -> None:
    gold, predicted = ([record[key] for record in TAGS] for key in ("gold", "predicted"))
    f1 = load_items(row(tmp_path / "a.jsonl", TAGS, "f1", entity_f1(gold, predicted)["f1"]))
    accuracy = load_items(row(tmp_path / "b.jsonl", TAGS, "accuracy", token_accuracy(gold, predicted)))
    assert f1 is not None and accuracy is not None
    assert list(f1.below) == [3, 2] and list(accuracy.below) == [3, 2]


def test_answers_by_the_normaliser_of_the_language(tmp_path: Path) -> None:
    scores = mlqa_scores({r["id"]: r["predicted"] for r in ANSWERS}, {r["id"]: r["gold"] for r in ANSWERS}, "de")
    found = load_items(row(tmp_path / "a.jsonl", ANSWERS, "mlqa", (scores["exact"] + scores["f1"]) / 2))
    assert found is not None and found.above[0] == 1.0  # the article does not count in German
    english = load_items(row(tmp_path / "b.jsonl", ANSWERS, "squad", (66.66667 + 80) / 4))
    assert english is not None


def test_ranked_answers(tmp_path: Path) -> None:
    found = load_items(row(tmp_path / "a.jsonl", [{"id": "q", "gold": ["x"], "predicted": ["y", "x"]}], "map", 50.0))
    assert found is not None and found.above[0] == 0.5


def test_no_items_for_mined_pairs(tmp_path: Path) -> None:
    mined = [{"id": "a/b", "source": "a", "target": "b", "score": 1.2, "correct": True}]
    assert load_items(row(tmp_path / "a.jsonl", mined, "f1", 50.0)) is None
    assert load_items(Row("task", "de", "accuracy", 50.0, 1)) is None


def test_items_must_give_the_score(tmp_path: Path) -> None:
    with pytest.raises(AdaptxferError, match=r"give 100\.00.*says 40\.00"):
        load_items(row(tmp_path / "a.jsonl", [{"id": "a", "correct": True}], "accuracy", 40.0))


def test_items_and_clusters_from_tables(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,cluster_id,score,weight\nq1,a,2,4\nq2,a,1,2\nq3,,0,2\n")
    (tmp_path / "clusters.tsv").write_text("item_id\tcluster_id\nq3\tb\n")
    score = Row("task", "de", "f1", 37.5, 1, items=str(tmp_path / "items.csv"))
    found = load_items(score, read_clusters(tmp_path / "clusters.tsv"))
    assert found is not None
    assert list(found.clusters) == ["a", "a", "b"]
    assert load_items(score).clusters == ["a", "a", "q3"]  # type: ignore[union-attr]


def test_faulty_item_files(tmp_path: Path) -> None:
    path = tmp_path / "i.csv"
    for text in ("item,score\na,1\n", "item_id,score\na,much\n", "item_id,score\n"):
        path.write_text(text)
        with pytest.raises(AdaptxferError):
            load_items(Row("task", "de", "f1", 1.0, 1, items=str(path)))
    path.write_text("item_id,cluster_id\na,1\na,2\n")
    with pytest.raises(AdaptxferError, match="two clusters"):
        read_clusters(path)


def test_unusual_line_breaks_inside_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    records = [{"id": "a\u2028b", "gold": "x\x85", "predicted": "y", "correct": True}, {"id": "c", "correct": True}]
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    found = load_items(Row("task", "de", "accuracy", 100.0, 1, items=str(path)))
    assert found is not None and len(found.ids) == 2


def test_damaged_predictions(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "correct": true}\n{"id": "b", "corr')
    with pytest.raises(AdaptxferError, match="damaged"):
        load_items(Row("task", "de", "accuracy", 100.0, 1, items=str(path)))
