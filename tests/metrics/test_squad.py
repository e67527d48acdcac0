from __future__ import annotations

import math
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.squad import exact_match, f1, normalise, span_scores, squad2_pair, squad2_scores, squad_scores

WORDS = ("the", "a", "An", "Krone", "krone!", "„Krone“", "1998", "U.S.", "big", "big", "red-dog", "...", "ß", "北京")

VECTORS = [
    ('The  U.S.A.\'s, an "A-team"!', "usas ateam"),
    ("Der König, die „Krone“", "der könig die „krone“"),
    ("¿Los Reyes Católicos?", "¿los reyes católicos"),
    ("في المدينة القديمة، الرياض", "في المدينة القديمة، الرياض"),
    ("của những người là", "của những người là"),
    ("भारत, दिल्ली।", "भारत दिल्ली।"),
    ("1998年，北京大学(PKU) Campus 3区", "1998年，北京大学pku campus 3区"),
]


def random_text(rng: random.Random) -> str:
    return rng.choice((" ", "  ", "\n")).join(rng.choice(WORDS) for _ in range(rng.randint(0, 5)))


def naive_normalise(text: str) -> str:
    kept = [c for c in text.lower() if not (33 <= ord(c) <= 126 and not c.isalnum())]
    parts = [" " if part in ("a", "an", "the") else part for part in re.findall(r"\w+|\W+", "".join(kept))]
    return " ".join("".join(parts).split())


def naive_f1(prediction: str, gold: str) -> float:
    guess, left = naive_normalise(prediction).split(), naive_normalise(gold).split()
    found, total = 0, len(left)
    for token in guess:
        if token in left:
            left.remove(token)
            found += 1
    if not found:
        return 0.0
    precision, recall = found / len(guess), found / total
    return 100 * 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("text", "form"), VECTORS)
def test_the_normaliser_is_english_for_every_language(text, form):
    assert normalise(text) == form


def test_unsegmented_text_shares_no_token():
    assert f1("北京大学", ["北京"]) == 0.0
    assert f1("die große Krone", ["Krone"]) == pytest.approx(50.0)


def test_the_best_gold_answer_counts():
    assert exact_match("The Crown.", ["king", "crown"]) == 100.0
    assert f1("red crown", ["king", "red", "the red crown"]) == 100.0


def test_a_thousand_random_sets_agree_with_a_naive_scorer():
    rng = random.Random(3)
    for _ in range(1000):
        golds = {str(i): [random_text(rng) for _ in range(rng.randint(1, 3))] for i in range(rng.randint(1, 6))}
        said = {key: random_text(rng) for key in golds}
        scores = squad_scores(said, golds)
        forms = {key: [naive_normalise(gold) for gold in golds[key]] for key in golds}
        exact = [100.0 * (naive_normalise(said[key]) in forms[key]) for key in golds]
        overlap = [max(naive_f1(said[key], gold) for gold in golds[key]) for key in golds]
        assert abs(scores["exact"] - sum(exact) / len(golds)) < 1e-9
        assert abs(scores["f1"] - sum(overlap) / len(golds)) < 1e-9
        assert scores["n"] == len(golds)


def test_bad_input_is_refused():
    with pytest.raises(AdaptxferError, match="no prediction"):
        squad_scores({}, {"q": ["x"]})
    with pytest.raises(AdaptxferError, match="'q' has no gold answer"):
        span_scores({"q": "x"}, {"q": []}, normalise)
    with pytest.raises(AdaptxferError, match="null score of question 'q' is nan"):
        squad2_scores({"q": "x"}, {"q": []}, {"q": math.nan})


def test_an_unanswerable_question_wants_an_empty_answer():
    assert squad2_pair("", []) == (100.0, 100.0)
    assert squad2_pair("the", []) == (100.0, 100.0)  # nothing is left of it
    assert squad2_pair("crown", []) == (0.0, 0.0)
    assert squad2_pair("", ["crown"]) == (0.0, 0.0)
    assert squad2_pair("crown", ["the", "crown"]) == (100.0, 100.0)


def test_parts_and_thresholds_of_a_small_set():
    golds = {"a": ["red"], "b": ["blue sky"], "c": [], "d": []}
    said = {"a": "red", "b": "sky", "c": "green", "d": "grey"}
    scores = squad2_scores(said, golds, {"a": -3.0, "b": 1.0, "c": -1.0, "d": 2.0})
    assert scores["exact"] == 50.0  # a right, b empty, c answered, d empty
    assert scores["has_answer_exact"] == 50.0
    assert scores["has_answer_f1"] == 50.0
    assert scores["no_answer_exact"] == scores["no_answer_f1"] == 50.0
    assert (scores["has_answer_n"], scores["no_answer_n"], scores["n"]) == (2, 2, 4)
    assert (scores["best_exact"], scores["best_exact_threshold"]) == (75.0, -3.0)
    assert (scores["best_f1"], scores["best_f1_threshold"]) == (75.0, -3.0)


def test_a_part_without_questions_is_left_out():
    scores = squad2_scores({"a": "red"}, {"a": ["red"]}, {"a": -1.0})
    assert "no_answer_f1" not in scores
    assert scores["has_answer_f1"] == 100.0


def test_equal_null_scores_are_never_parted():
    golds = {str(i): (["red"] if i < 5 else []) for i in range(10)}
    scores = squad2_scores(dict.fromkeys(golds, "red"), golds, dict.fromkeys(golds, 0.0))
    assert scores["best_exact"] == 50.0  # row order would reach 100


def random_v2_set(rng: random.Random):
    keys = [str(i) for i in range(rng.randint(1, 8))]
    golds = {key: [random_text(rng) for _ in range(rng.randint(0, 2))] for key in keys}
    nulls = {key: rng.choice((-2.0, -0.5, 0.0, 0.25, 3.0)) for key in keys}
    return {key: random_text(rng) for key in keys}, golds, nulls


def test_the_best_threshold_of_a_thousand_random_sets_is_the_best_of_all():
    rng = random.Random(4)
    for _ in range(1000):
        said, golds, nulls = random_v2_set(rng)
        scores = squad2_scores(said, golds, nulls)
        pairs = {key: (squad2_pair(said[key], golds[key]), squad2_pair("", golds[key])) for key in golds}
        for column, name in enumerate(("exact", "f1")):
            reached = [
                sum(empty[column] if nulls[key] > cut else span[column] for key, (span, empty) in pairs.items())
                for cut in (-9.0, *nulls.values())
            ]
            assert abs(scores[f"best_{name}"] - max(reached) / len(golds)) < 1e-9
            again = squad2_scores(said, golds, nulls, threshold=scores[f"best_{name}_threshold"])
            assert abs(again[name] - scores[f"best_{name}"]) < 1e-9


@given(st.text(), st.text())
def test_f1_is_symmetric_and_bounded_by_exact_match(one, other):
    assert f1(one, [other]) == pytest.approx(f1(other, [one]))
    assert 0.0 <= f1(one, [other]) <= 100.0
    if normalise(one):
        assert f1(one, [other]) >= exact_match(one, [other])


@given(st.text())
def test_normalising_keeps_only_what_the_naive_rule_keeps(text):
    assert normalise(text) == naive_normalise(text)
