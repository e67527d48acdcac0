from __future__ import annotations

import random

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.ranking import average_precision, map_scores


def naive(ranked, gold, k) -> float:
    """Precision at every cut whose last answer is new and right."""
    cut = ranked[:k]
    total = 0.0
    for i, answer in enumerate(cut):
        if answer in gold and answer not in cut[:i]:
            total += len(set(cut[: i + 1]) & set(gold)) / (i + 1)
    return 100 * total / min(len(gold), k)


def test_known_values():
    assert average_precision("abcd", "ac") == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert average_precision("xyz", "z") == pytest.approx(100 / 3)  # one gold: the reciprocal rank
    assert average_precision("aa", "ab") == pytest.approx(50.0)  # a repeated answer counts once
    assert average_precision(range(30), [25]) == 0.0
    assert average_precision(range(30), range(25)) == 100.0  # 25 right answers, 20 places


def test_a_thousand_random_sets_agree_with_the_definition():
    rng = random.Random(12)
    for _ in range(1000):
        n = rng.randint(1, 5)
        gold = [rng.sample(range(40), rng.randint(1, 11)) for _ in range(n)]
        ranked = [[rng.randrange(40) for _ in range(rng.randint(0, 25))] for _ in range(n)]
        k = rng.choice((1, 3, 20))
        mean = sum(naive(answers, right, k) for answers, right in zip(ranked, gold, strict=True)) / n
        assert abs(map_scores(ranked, gold, k)["map"] - mean) < 1e-9


def test_a_query_without_gold_is_refused():
    with pytest.raises(AdaptxferError, match="no right answer"):
        map_scores([[1]], [[]])
