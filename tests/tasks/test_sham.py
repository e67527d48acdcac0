"""Sham labels: the same labels over the same texts, drawn by lot."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.examples import Answer, ChooseExample, ClassifyExample, SpanExample, TagExample
from adaptxfer.tasks.sham import WORD, with_sham_labels

LABELS = ["yes", "no", "maybe", None] * 20
CLASSIFY = [ClassifyExample(str(n), f"text {n}", None, label) for n, label in enumerate(LABELS)]
CHOOSE = [
    ChooseExample(str(n), "c", tuple("abcd"[: 2 + n % 3]), None if n % 7 == 0 else n % (2 + n % 3)) for n in range(60)
]
TAG = [TagExample(str(n), ("w",) * (n % 5 + 1), None if n == 3 else tuple("ABC"[: n % 3 + 1] * 5)[: n % 5 + 1])
       for n in range(40)]  # fmt: skip
TAG = [replace(item, tags=item.tags and (item.tags + ("C",) * 5)[: len(item.words)]) for item in TAG]
CONTEXT = "  one two\u00a0three four\nfive six seven 八九 ten "


def spans():
    found = []
    for n in range(40):
        start = CONTEXT.index("two") if n % 2 else CONTEXT.index("five")
        text = CONTEXT[start : start + (8 if n % 3 else 3)]
        answers = () if n % 5 == 0 else (Answer(text, start),)
        found.append(SpanExample(str(n), f"q{n}", CONTEXT, answers, n % 5 == 0 and n != 10))
    return found


def test_labels_are_the_same_ones_elsewhere():
    found = with_sham_labels("classify", CLASSIFY, 1)
    assert [(e.id, e.first) for e in found] == [(e.id, e.first) for e in CLASSIFY]
    assert Counter(e.label for e in found) == Counter(LABELS)
    assert [e.label is None for e in found] == [label is None for label in LABELS]
    agree = sum(a.label == b.label for a, b in zip(found, CLASSIFY, strict=True) if a.label)
    assert 8 < agree < 33  # 20 of 60 by chance


def test_choices_exist():
    found = with_sham_labels("choose", CHOOSE, 1)
    assert found != CHOOSE and [e.choices for e in found] == [e.choices for e in CHOOSE]
    for count in (2, 3, 4):
        same = [[e.label for e in items if len(e.choices) == count] for items in (found, CHOOSE)]
        assert Counter(same[0]) == Counter(same[1])


def test_tags_fill_the_same_sentences():
    found = with_sham_labels("tag", TAG, 1)
    assert found != TAG and [e.words for e in found] == [e.words for e in TAG]
    assert all(e.tags is None or len(e.tags) == len(e.words) for e in found) and found[3].tags is None
    assert Counter(t for e in found for t in e.tags or ()) == Counter(t for e in TAG for t in e.tags or ())


def test_answers_lie_anywhere_in_their_own_context():
    items = spans()
    found = with_sham_labels("span", items, 1)
    assert found[10] == items[10], "unlabelled"
    assert sum(e.impossible for e in found) == sum(e.impossible for e in items)
    assert [e.impossible for e in found] != [e.impossible for e in items]
    for item in found:
        for answer in item.answers:
            assert answer.text == CONTEXT[answer.start :][: len(answer.text)] and answer.text.strip() == answer.text
    lengths = [Counter(len(WORD.findall(e.answers[0].text)) for e in part if e.answers) for part in (found, items)]
    assert lengths[0] == lengths[1]
    assert len({e.answers[0].start for e in found if e.answers}) > 4


def test_a_context_too_short_for_an_answer():
    long = SpanExample("a", "q", "one two three four", (Answer("one two three four", 0),))
    short = SpanExample("b", "q", "one", (Answer("one", 0),))
    found = with_sham_labels("span", [long, short] * 10, 1)
    assert {e.answers[0].text for e in found if e.id == "b"} == {"one"}


@pytest.mark.parametrize(
    ("kind", "items"), [("classify", CLASSIFY), ("choose", CHOOSE), ("tag", TAG), ("span", spans())]
)
def test_the_lot_depends_on_the_seed_alone(kind, items):
    assert with_sham_labels(kind, items, 5) == with_sham_labels(kind, list(items), 5)
    assert with_sham_labels(kind, items, 5) != with_sham_labels(kind, items, 6)
    assert with_sham_labels(kind, [], 1) == []


def test_retrieval_has_none():
    with pytest.raises(AdaptxferError, match="retrieve have no labels"):
        with_sham_labels("retrieve", [], 1)
