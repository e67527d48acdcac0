from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptxfer.data.features import build_features
from adaptxfer.data.pairs import fit
from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.examples import ChooseExample, ClassifyExample, RetrieveExample

LABELS = ("contradiction", "entailment", "neutral")


def sequences(features):
    return [features.ids[a:b].tolist() for a, b in zip(features.bounds[:-1], features.bounds[1:], strict=True)]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
def test_fit_gives_up_one_piece_at_a_time(first, second, room):
    kept, other = (int(part[0]) for part in fit(*(np.array([n]) for n in (first, second, room))))
    assert kept + other == min(first + second, room)
    a, b = first, second
    while a + b > room:  # the rule in words; a tie goes to whichever side was longer, the second if equal
        if a > b or (a == b and first <= second):
            a -= 1
        else:
            b -= 1
    assert (kept, other) == (a, b)


@pytest.mark.parametrize("length", [11, 16, 24, 384])
def test_pairs_equal_the_fast_tokenizer(mini_tokenizer, real, text, length):
    rows = real.classify("en") + real.classify("zh")
    found = build_features("classify", rows, mini_tokenizer, text(max_length=length), LABELS)
    first, second = [row.first for row in rows], [row.second for row in rows]
    expected = mini_tokenizer(first, second, truncation="longest_first", max_length=length).input_ids
    assert sequences(found) == expected
    whole = mini_tokenizer(first, second).input_ids
    assert found.notes.get("truncated", 0) == sum(len(ids) > length for ids in whole)


def test_by_hand(mini_tokenizer, text):
    word = {name: mini_tokenizer(name, add_special_tokens=False).input_ids for name in ("one", "two", "three", "four")}
    pair = ClassifyExample("p", "one two three four", "two one", "neutral")
    single = ClassifyExample("s", "two one", None, None)
    empty = ClassifyExample("e", "", "", "entailment")
    found = build_features("classify", [pair, single, empty], mini_tokenizer, text(), LABELS)
    assert sequences(found) == [
        [0, *word["one"], *word["two"], *word["three"], *word["four"], 2, 2, *word["two"], *word["one"], 2],
        [0, *word["two"], *word["one"], 2],
        [0, 2, 2, 2],
    ]
    assert found.targets["label"].tolist() == [2, -100, 1]
    assert len(found) == found.size == 3
    trained = build_features("classify", [pair, single, empty], mini_tokenizer, text(), LABELS, training=True)
    assert trained.example.tolist() == [0, 2]
    assert trained.counts() == {
        "examples": 3,
        "units": 2,
        "sequences": 2,
        "tokens": len(trained.ids),
        "unlabelled_dropped": 1,
    }


def test_choices_lose_their_start(mini_tokenizer, real, text):
    rows = real.choose()
    found = build_features("choose", rows, mini_tokenizer, text(max_length=40))
    mini_tokenizer.truncation_side = "left"
    try:
        first = [row.context for row in rows for _ in row.choices]
        second = [choice for row in rows for choice in row.choices]
        expected = mini_tokenizer(first, second, truncation="longest_first", max_length=40).input_ids
    finally:
        mini_tokenizer.truncation_side = "right"
    assert sequences(found) == expected
    assert found.notes["truncated"] > 0
    assert np.array_equal(found.units, np.arange(0, 4 * len(rows) + 1, 4))
    assert found.targets["label"].tolist() == [row.label for row in rows]


def test_choices_may_differ_in_number(mini_tokenizer, text):
    rows = [ChooseExample("a", "x", ("y", "z"), None), ChooseExample("b", "x", ("u", "v", "w"), 2)]
    found = build_features("choose", rows, mini_tokenizer, text())
    assert found.units.tolist() == [0, 2, 5]
    assert found.example.tolist() == [0, 0, 1, 1, 1]
    assert found.targets["label"].tolist() == [-100, 2]
    trained = build_features("choose", rows, mini_tokenizer, text(), training=True)
    assert (trained.units.tolist(), trained.example.tolist(), trained.size) == ([0, 3], [1, 1, 1], 2)


@pytest.mark.parametrize("label", [2, -1])
def test_a_choice_that_is_not_there(mini_tokenizer, text, label):
    with pytest.raises(AdaptxferError, match="Row r7 has 2 choices"):
        build_features("choose", [ChooseExample("r7", "x", ("y", "z"), label)], mini_tokenizer, text())


def test_retrieval_sides(mini_tokenizer, text):
    rows = [
        RetrieveExample("q", "query", "one"),
        RetrieveExample("c", "candidate", "two"),
        RetrieveExample("d", "candidate", "two", context="one"),
    ]
    found = build_features("retrieve", rows, mini_tokenizer, text())
    one, two = (mini_tokenizer(name, add_special_tokens=False).input_ids for name in ("one", "two"))
    assert sequences(found) == [[0, *one, 2], [0, *two, 2], [0, *two, 2, 2, *one, 2]]
    assert found.targets["side"].tolist() == [0, 1, 1]


def test_real_rows_with_the_real_tokenizer(xlmr_tokenizer, real, text):
    pairs = [row for language in ("en", "sw", "th", "zh", "ar") for row in real.classify(language)]
    found = build_features("classify", pairs, xlmr_tokenizer, text(max_length=32), LABELS)
    expected = xlmr_tokenizer(
        [row.first for row in pairs], [row.second for row in pairs], truncation="longest_first", max_length=32
    )
    assert sequences(found) == expected.input_ids
    assert [LABELS[number] for number in found.targets["label"]] == [row.label for row in pairs]
    stories = real.choose()
    found = build_features("choose", stories, xlmr_tokenizer, text())
    assert len(found) == 60
    for row, ids in zip(stories, sequences(found)[3::4], strict=True):
        assert xlmr_tokenizer.decode(ids) == f"<s> {row.context}</s></s> {row.choices[3].strip()}</s>"
    sentences = [row for code in ("deu", "tha", "swh") for row in real.retrieve(code)]
    found = build_features("retrieve", sentences, xlmr_tokenizer, text(max_length=512))
    assert sequences(found) == xlmr_tokenizer([row.text for row in sentences]).input_ids
