from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptxfer.tasks.build import Builder, expand, nearest_occurrence, pairs
from adaptxfer.tasks.examples import Answer, ChooseExample, ClassifyExample, RetrieveExample, SpanExample, TagExample
from adaptxfer.tasks.spec import UNSEEN, Rows, TaskSpec
from adaptxfer.tasks.template import RowError


def builder(kind: str, labels=(), open_labels=False, **source) -> Builder:
    spec = TaskSpec("toy", kind, ("target",), ("en",), Path("toy.toml"), "0", labels=labels, open_labels=open_labels)
    return Builder(spec, Rows(**source), "en")


def one(made: Builder, row, number=1):
    [example] = made.examples(number, row)
    return example


NLI = {"columns": {"first": "{p}", "second": "{h}", "label": "{y?}"}, "values": {"y": {"0": "yes", "1": "no"}}}


def test_classify_maps_labels_by_name():
    made = builder("classify", ("yes", "no"), **NLI)
    assert one(made, {"p": "a", "h": "b", "y": 1}, 3) == ClassifyExample("2", "a", "b", "no")
    assert one(made, {"p": "a", "h": "b", "y": "yes"}).label == "yes"


@pytest.mark.parametrize("value", [None, -1, "-1", "-", ""])
def test_classify_without_a_label(value):
    assert one(builder("classify", ("yes", "no"), **NLI), {"p": "a", "h": "b", "y": value}).label is None


def test_classify_of_a_single_text_and_an_own_id():
    made = builder("classify", ("0", "1"))
    assert one(made, {"id": 7, "first": "a", "label": 1}) == ClassifyExample("7", "a", None, "1")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"p": "a", "h": "b", "y": 2}, "has 2 in column 'y'"),
        ({"p": 3, "h": "b"}, "has 3 as first; expected text"),
        ({"h": "b"}, "has no column 'p'"),
        ({"p": "a"}, "has no column 'h'"),
        ({"p": "\ud800", "h": "b"}, "broken character at position 0"),
    ],
)
def test_bad_classify_rows(row, message):
    with pytest.raises(RowError, match=message):
        one(builder("classify", ("yes", "no"), **NLI), row)


def test_an_unknown_label_names_the_known_ones():
    with pytest.raises(RowError, match="has the label 'entailmnt'; expected one of entailment, neutral"):
        one(builder("classify", ("entailment", "neutral")), {"first": "a", "label": "entailmnt"})


def test_choose_joins_each_choice():
    made = builder("choose", columns={"context": "{a}", "choices": "{ends}", "choice": "{b} {choice}", "label": "{y?}"})
    row = {"a": "A man", "b": "he", "ends": ["runs", "sits"], "y": "1"}
    assert one(made, row) == ChooseExample("0", "A man", ("he runs", "he sits"), 1)
    assert one(made, {**row, "y": ""}).label is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"context": "a", "choices": ["x", "y"], "label": 2}, "expected the number of a choice, 0 to 1"),
        ({"context": "a", "choices": ["x", "y"], "label": "9" * 5000}, "expected the number of a choice"),
        ({"context": "a", "choices": ["x", "y"], "label": True}, "expected the number of a choice"),
        ({"context": "a", "choices": ["x"], "label": 0}, "expected a list of at least two"),
        ({"context": "a", "choices": "xy", "label": 0}, "expected a list of at least two"),
        ({"context": "a", "choices": ["x", None], "label": 0}, "has None as choice"),
    ],
)
def test_bad_choose_rows(row, message):
    with pytest.raises(RowError, match=message):
        one(builder("choose"), row)


def test_tags():
    made = builder("tag", ("O", "B-PER"), values={"tags": {"0": "O", "1": "B-PER"}})
    assert one(made, {"words": ["a", "b"], "tags": [0, 1]}) == TagExample("0", ("a", "b"), ("O", "B-PER"))
    assert one(made, {"words": ["a"], "tags": None}).tags is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"words": ["a", "b"], "tags": ["O"]}, "has 2 words; expected as many tags"),
        ({"words": [], "tags": []}, "expected a list of words"),
        ({"words": "ab", "tags": []}, "expected a list of words"),
        ({"words": ["a"], "tags": ["B-LOC"]}, "has the tag 'B-LOC'; expected one of O, B-PER"),
        ({"words": ["a"], "tags": [[]]}, r"has the tag \[\]; expected text"),
    ],
)
def test_bad_tag_rows(row, message):
    with pytest.raises(RowError, match=message):
        one(builder("tag", ("O", "B-PER")), row)


def test_open_labels_take_any_tag_first_and_unseen_ones_later():
    row = {"words": ["a"], "tags": ["S/NP"]}
    assert one(builder("tag", open_labels=True), row).tags == ("S/NP",)
    assert one(builder("tag", ("NP", UNSEEN), open_labels=True), row).tags == (UNSEEN,)


SPAN = {"id": "q", "question": "Who?", "context": "Ann, Bob, Ann."}


def test_answers_keep_their_place_or_find_it():
    made = builder("span")
    answers = [
        {"text": "Ann", "answer_start": 0},
        {"text": "Ann", "answer_start": 8},
        {"text": "Eve", "answer_start": 1},
    ]
    assert one(made, {**SPAN, "answers": answers}).answers == (Answer("Ann", 0), Answer("Ann", 10), Answer("Eve", -1))
    assert made.notes == {"realigned": 1, "unaligned": 1}


def test_answers_of_a_table():
    row = {**SPAN, "answers": {"text": ["Bob"], "answer_start": [5]}}
    assert one(builder("span"), row) == SpanExample("q", "Who?", "Ann, Bob, Ann.", (Answer("Bob", 5),))


def test_no_answer_means_unlabelled_unless_the_task_says_impossible():
    none = {**SPAN, "answers": {"text": [], "answer_start": []}}
    assert one(builder("span"), none).impossible is False
    assert one(builder("span", columns={"impossible": "{is_impossible?}"}), none).impossible is True
    assert one(builder("span"), {**SPAN, "answers": [], "impossible": True}).impossible is True
    blanked = {**SPAN, "answers": [{"text": "", "answer_start": 0}]}
    assert one(builder("span"), blanked).answers == ()


@pytest.mark.parametrize("answers", ["Ann", [3], {"text": ["a"]}, [{"text": "a", "answer_start": "0"}], [{"text": 3}]])
def test_bad_answers(answers):
    with pytest.raises(RowError, match=r"answers in an unknown form|has the answer"):
        one(builder("span"), {**SPAN, "answers": answers})


def test_retrieval_rows_and_pairs():
    row = {"id": "x", "side": "candidate", "text": "a", "gold": None}
    assert one(builder("retrieve"), row) == RetrieveExample("x", "candidate", "a")
    made = builder("retrieve", columns={"query": "{en}", "candidate": "{de}"})
    assert made.examples(5, {"en": "a\n", "de": "b\r\n"}) == [
        RetrieveExample("4", "query", "a", None, ("4",)),
        RetrieveExample("4", "candidate", "b"),
    ]


@pytest.mark.parametrize("change", [{"side": "left"}, {"gold": "x"}, {"context": 3}, {"text": None}])
def test_bad_retrieval_rows(change):
    with pytest.raises(RowError):
        one(builder("retrieve"), {"id": "x", "side": "query", "text": "a", "gold": [], **change})


def test_where_chooses_rows():
    made = builder("classify", ("0", "1"), where={"id": "{lang}-*"}, codes={"en": "english"})
    assert made.examples(1, {"id": "arabic-1", "first": "a"}) == []
    assert len(made.examples(1, {"id": "english-1", "first": "a"})) == 1
    with pytest.raises(RowError, match="has no column 'id'"):
        made.examples(1, {"first": "a"})


def test_expand():
    source = Rows(codes={"de": "deu"})
    assert expand("{lang}/{lang1}-{lang2}/{split}", source, "de", "dev") == "deu/deu-deu/dev"
    assert expand("{lang}/{lang1}-{lang2}", source, "de-en") == "de-en/deu-en"


def test_pairs_of_nothing():
    assert pairs(None) == pairs([]) == []


@given(st.text("ab ", max_size=30), st.text("ab", min_size=1, max_size=3), st.integers(-5, 40))
def test_the_nearest_occurrence_is_nearest(context, text, start):
    found = nearest_occurrence(context, text, start)
    places = [place for place in range(len(context)) if context.startswith(text, place)]
    if not places:
        assert found == -1
    else:
        assert abs(found - start) == min(abs(place - start) for place in places)
        assert context.startswith(text, found)


def test_a_spec_is_not_changed_by_building():
    made = builder("classify", ("yes", "no"), **NLI)
    before = replace(made.spec)
    one(made, {"p": "a", "h": "b", "y": 0})
    assert made.spec == before


def test_the_article_of_a_question_is_kept():
    assert one(builder("span"), {**SPAN, "title": "Ann"}).title == "Ann"
    assert one(builder("span"), {**SPAN, "title": None}).title == ""
