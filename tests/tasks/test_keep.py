from __future__ import annotations

from collections import Counter

import pytest

from adaptxfer.tasks.examples import Answer, ClassifyExample, RetrieveExample, SpanExample, TagExample
from adaptxfer.tasks.keep import PLACEHOLDER_ROWS, kept


def rows(*labels):
    return [ClassifyExample(str(n), "a", None, label) for n, label in enumerate(labels)]


def test_training_drops_and_counts_unlabelled():
    notes = Counter()
    assert [item.label for item in kept(rows("x", None, "y", "x"), "train", 2, notes)] == ["x", "y"]
    assert notes == {"dropped_unlabelled": 1}


def test_training_stops_reading_at_the_limit():
    def endless():
        while True:
            yield ClassifyExample("0", "a", None, "x")

    assert len(kept(endless(), "train", 3, Counter())) == 3


def test_evaluation_stops_reading_at_the_limit_once_two_labels_were_seen():
    def endless():
        yield from rows("x", "x", "x", "x")
        while True:
            yield from rows("y")

    assert [item.label for item in kept(endless(), "dev", 3, Counter())] == ["x"] * 3
    assert len(kept((SpanExample("0", "?", "a", (), True) for _ in iter(int, 1)), "dev", 3, Counter())) == 3


def test_a_limit_does_not_make_placeholders_labels():
    notes = Counter()
    assert {item.label for item in kept(rows(*[0] * PLACEHOLDER_ROWS), "test", 4, notes)} == {None}
    assert notes["placeholder_labels"] == PLACEHOLDER_ROWS


def test_evaluation_keeps_labelled_rows_or_all_of_an_unlabelled_split():
    notes = Counter()
    assert len(kept(rows("x", None, "y"), "test", None, notes)) == 2
    assert notes["dropped_unlabelled"] == 1
    assert len(kept(rows(None, None, None), "test", 2, Counter())) == 2


@pytest.mark.parametrize("label", ["x", 0])
def test_one_label_on_every_row_is_a_placeholder(label):
    notes = Counter()
    found = kept(rows(*[label] * PLACEHOLDER_ROWS), "test", None, notes)
    assert {item.label for item in found} == {None}
    assert notes == {"placeholder_labels": PLACEHOLDER_ROWS}
    assert kept(rows(*["x"] * 9, "y"), "test", None, Counter())[0].label == "x"
    assert kept(rows(*["x"] * PLACEHOLDER_ROWS), "train", None, Counter())[0].label == "x"


def test_placeholder_tags():
    found = kept([TagExample("0", ("a", "b"), ("O", "O"))] * 60, "test", None, Counter())
    assert found[0].tags is None


def test_answers_without_a_place_are_for_scoring_only():
    lost, placed = Answer("x", -1), Answer("a", 0)
    items = [
        SpanExample("0", "?", "a", (lost,)),
        SpanExample("1", "?", "a", (lost, placed)),
        SpanExample("2", "?", "a", (), True),
    ]
    notes = Counter()
    assert [item.answers for item in kept(items, "train", None, notes)] == [(placed,), ()]
    assert notes == {"dropped_unaligned": 1}
    assert len(kept(items, "test", None, Counter())) == 3


def test_a_limit_on_retrieval_keeps_what_is_asked_for():
    queries = [RetrieveExample(f"q{n}", "query", "a", None, (f"c{9 - n}",)) for n in range(10)]
    candidates = [RetrieveExample(f"c{n}", "candidate", "a") for n in range(10)]
    found = [item.id for item in kept([*queries, *candidates], "test", 2, Counter())]
    assert found == ["q0", "q1", "c0", "c1", "c8", "c9"]
