from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.bucc import bucc_f1, bucc_scores, name_pairs, tune_threshold, unique_sentences
from adaptxfer.metrics.mining import Pair


def naive_f1(found: set, gold: set) -> float:
    both = len(found & gold)
    if not both:
        return 0.0
    precision, recall = both / len(found), both / len(gold)
    return 100 * 2 * precision * recall / (precision + recall)


def kept(pairs, cut) -> set:
    return {(pair.source, pair.target) for pair in pairs if pair.score >= cut}


def random_pairs(rng: random.Random):
    n = rng.randint(1, 12)
    scores = (
        rng.choices((0.5, 0.9, 1.0, 1.1, 1.1, 1.3), k=n) if rng.random() < 0.5 else [rng.random() for _ in range(n)]
    )
    pairs = [Pair(f"s{i}", f"t{i}", score) for i, score in enumerate(scores)]
    gold = {(f"s{i}", f"t{rng.choice((i, i, 99))}") for i in range(n + 2) if rng.random() < 0.6} | {("s0", "t0")}
    return pairs, gold


def test_the_threshold_of_a_thousand_random_sets_is_the_best_of_all():
    rng = random.Random(13)
    for _ in range(1000):
        pairs, gold = random_pairs(rng)
        cut, best = tune_threshold(pairs, gold)
        assert abs(best - max(naive_f1(kept(pairs, pair.score), gold) for pair in pairs)) < 1e-9
        scores = bucc_scores(pairs, gold, cut)
        assert abs(scores["f1"] - best) < 1e-9
        assert abs(scores["f1"] - naive_f1(kept(pairs, cut), gold)) < 1e-9


def test_the_threshold_lies_midway_to_the_first_pair_dropped():
    pairs = [Pair(1, 1, 1.5), Pair(2, 2, 1.25), Pair(3, 9, 1.0)]
    assert tune_threshold(pairs, {(1, 1), (2, 2)}) == (1.125, 100.0)


def test_the_last_pair_may_be_the_best_cut():
    pairs = [Pair(1, 1, 1.5), Pair(2, 2, 1.25)]
    assert tune_threshold(pairs, {(1, 1), (2, 2)}) == (1.25, 100.0)
    assert tune_threshold(pairs[:1], {(1, 1)}) == (1.5, 100.0)


def test_neighbouring_scores_are_parted_exactly():
    import math

    first = 1.1
    for upper in (first, math.nextafter(first, 0)):  # the mean of two neighbours rounds up for one, down for the other
        pairs = [Pair(1, 1, upper), Pair(2, 9, math.nextafter(upper, 0))]
        cut, best = tune_threshold(pairs, {(1, 1)})
        assert bucc_scores(pairs, {(1, 1)}, cut)["f1"] == best == 100.0


def test_no_right_pair_keeps_all():
    assert tune_threshold([Pair(1, 2, 1.5)], {(1, 1)}) == (0.0, 0.0)
    assert tune_threshold([], {(1, 1)}) == (0.0, 0.0)


def test_scores_of_a_small_set():
    scores = bucc_f1([(1, 1), (2, 3), (1, 1)], [(1, 1), (2, 2), (4, 4)])
    assert (scores["tp"], scores["predicted"], scores["gold"]) == (1, 2, 3)
    assert scores["f1"] == pytest.approx(40.0)
    with pytest.raises(AdaptxferError, match="gold has no pair"):
        bucc_f1([(1, 1)], [])


def test_repeated_sentences_are_searched_once_and_named_by_rule():
    positions, groups = unique_sentences(["a", "b", "c"], ["one", "two\n", "one "])
    assert positions == [0, 1]
    assert groups == [["a", "c"], ["b"]]
    pairs = [Pair(0, 0, 1.2), Pair(1, 1, 1.1)]
    targets = [["x"], ["y"]]
    assert name_pairs(pairs, groups, targets) == [Pair("b", "y", 1.1)]
    assert name_pairs(pairs, groups, targets, repeated=True) == [
        Pair("a", "x", 1.2),
        Pair("c", "x", 1.2),
        Pair("b", "y", 1.1),
    ]


@given(st.randoms(use_true_random=False))
def test_the_order_of_pairs_does_not_matter(rng):
    pairs, gold = random_pairs(rng)
    shuffled = pairs[:]
    rng.shuffle(shuffled)
    assert tune_threshold(shuffled, gold) == tune_threshold(pairs, gold)
