from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptxfer.data import decode
from adaptxfer.data.features import Features, build_features
from adaptxfer.data.ragged import borders
from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.examples import ChooseExample, ClassifyExample, SpanExample, TagExample

LABELS = ("X", "Y", "Z")


def one_hot(numbers, width=3):
    return np.eye(width)[np.array(numbers, np.int64)]


def test_classify(mini_tokenizer, text):
    rows = [ClassifyExample("a", "b", None, "X"), ClassifyExample("b", "b", None, None)]
    features = build_features("classify", rows, mini_tokenizer, text(), LABELS)
    assert decode.classify(features, one_hot([2, 1]), LABELS) == ["Z", "Y"]
    trained = build_features("classify", rows[::-1], mini_tokenizer, text(), LABELS, training=True)
    assert decode.classify(trained, one_hot([1]), LABELS) == [None, "Y"]


def test_choose_stays_inside_the_unit(mini_tokenizer, text):
    rows = [ChooseExample("a", "b", ("c", "d"), 0), ChooseExample("b", "b", ("c", "d", "e"), 0)]
    features = build_features("choose", rows, mini_tokenizer, text())
    assert decode.choose(features, np.array([-3.0, -2.0, 5.0, 9.0, 9.0])) == [1, 1]
    assert decode.choose(features, np.array([0.0, 0.0, -5.0, -7.0, -4.0])) == [0, 2]


def test_tag_joins_the_chunks(mini_tokenizer, text):
    rows = [
        TagExample("a", ("one", "unbelievably") * 9, None),
        TagExample("b", (), None),
        TagExample("c", ("two",), None),
    ]
    features = build_features("tag", rows, mini_tokenizer, text(max_length=16), LABELS)
    assert len(features) > 3
    word = features.targets["word"]
    scores = one_hot(np.where(word >= 0, word % 3, 1))
    assert decode.tag(features, scores, LABELS) == [["X", "Y", "Z"] * 6, [], ["X"]]


def spans(sizes, owners):
    """Span features of one-letter pieces: windows with ``sizes`` context pieces of the examples ``owners``."""
    lengths = np.array(sizes) + 3
    bounds = borders(lengths)
    offset = np.full((bounds[-1], 2), -1, np.int32)
    for start, size in zip(bounds[:-1], sizes, strict=True):
        offset[start + 2 : start + 2 + size] = np.stack([np.arange(size), np.arange(size) + 1], axis=1)
    return Features(
        "span",
        np.zeros(bounds[-1], np.int32),
        bounds,
        np.arange(len(bounds)),
        np.array(owners, np.int32),
        max(owners, default=-1) + 1,
        {"offset": offset},
    )


def naive(features, start, end, example, n_best, max_answer):
    """The same by trying every pair; also whether any pair was among the best starts and ends."""
    best = []
    for limited in (True, False):
        for window in np.flatnonzero(features.example == example):
            a, b = features.bounds[window : window + 2]
            inside = [place for place in range(a, b) if features.targets["offset"][place, 0] >= 0]
            starts = sorted(inside, key=lambda place: -start[place])[: n_best if limited else None]
            ends = sorted(inside, key=lambda place: -end[place])[: n_best if limited else None]
            found = [(start[i] + end[j], i, j) for i in starts for j in ends if i <= j < i + max_answer]
            if found and (limited or window not in [w for w, *_ in best]):
                best.append((window, *max(found, key=lambda item: item[0])))
    return max(best, key=lambda item: item[1], default=None)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=5),
    st.integers(0, 2**31),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_span_equals_trying_every_pair(windows, seed, n_best, max_answer):
    features = spans([size for size, _ in windows], [owner for _, owner in windows])
    start, end = np.random.default_rng(seed).normal(size=(2, len(features.ids)))
    found = decode.span(features, start, end, ["abcdefghi"] * features.size, n_best, max_answer)
    for example, answer in enumerate(found):
        mine = np.flatnonzero(features.example == example)
        nulls = [start[features.bounds[row]] + end[features.bounds[row]] for row in mine]
        expected = naive(features, start, end, example, n_best, max_answer)
        if expected is None:
            assert (answer.text, answer.start, answer.score) == ("", -1, 0.0)
            assert answer.null_difference == (min(nulls) if nulls else 0.0)
            continue
        window, score, first, last = expected
        begin = first - features.bounds[window] - 2
        assert answer.score == pytest.approx(score)
        assert (answer.start, answer.text) == (begin, "abcdefghi"[begin : begin + last - first + 1])
        assert answer.null_difference == pytest.approx(min(nulls) - score)


def test_equal_spans_shorter_and_earlier_first():
    found = decode.span(spans([4, 4], [0, 0]), np.zeros(14), np.zeros(14), ["abcd"])
    assert (found[0].text, found[0].start) == ("a", 0)


def test_never_empty_while_there_is_context():
    features = spans([3], [0])
    start, end = np.zeros(6), np.zeros(6)
    start[4], end[2] = 9, 9  # the best start comes after the best end
    assert decode.span(features, start, end, ["abc"], n_best=1)[0].text in {"a", "c"}


def test_a_lone_word_mark_is_no_answer():
    features = spans([3], [0])
    features.targets["offset"][2:5] = [[0, 0], [0, 2], [2, 2]]
    scores = np.array([0.0, 0, 9, 1, 9, 0])
    assert decode.span(features, scores, scores, ["ab"], n_best=1)[0].text == "ab"


def test_no_answer_is_empty_where_words_have_marks_of_their_own(xlmr_tokenizer, real, text):
    rows = real.span("zh")[:40]
    features = build_features("span", rows, xlmr_tokenizer, text(max_length=160, stride=40))
    marks = (features.ids == xlmr_tokenizer.convert_tokens_to_ids("▁")).astype(np.float64)
    assert marks.sum() > 40
    for found in decode.span(features, marks, marks, [row.context for row in rows]):
        assert found.text.strip()


def test_masked_scores_are_fine_and_nan_is_not():
    features = spans([3], [0])
    masked = np.array([0, -np.inf, 1, 2, 3, -np.inf])
    assert decode.span(features, masked, masked, ["abc"])[0].text == "c"
    with pytest.raises(AdaptxferError, match="not a number"):
        decode.span(features, masked * np.nan, masked, ["abc"])


def test_gold_scores_give_the_gold_answer(xlmr_tokenizer, real, text):
    rows = real.span("th")[:300]
    features = build_features("span", rows, xlmr_tokenizer, text(max_length=160, stride=40))
    start, end = (np.zeros(len(features.ids)) for _ in range(2))
    for scores, name in ((start, "start"), (end, "end")):
        scores[features.bounds[:-1] + features.targets[name]] = 5
    found = decode.span(features, start, end, [row.context for row in rows], max_answer=60)
    for row, answer in zip(rows, found, strict=True):
        gold = row.answers[0]
        assert gold.text in answer.text
        assert answer.start <= gold.start < answer.start + len(answer.text)
        assert len(answer.text) <= len(gold.text) + 25


def test_unanswerable_shows_in_the_difference(mini_tokenizer, text):
    row = SpanExample("q", "two", "one two three", (), impossible=True)
    features = build_features("span", [row], mini_tokenizer, text())
    scores = np.where(np.arange(len(features.ids)) == 0, 4.0, 0.0)
    assert decode.span(features, scores, scores, [row.context])[0].null_difference == 8.0
