from __future__ import annotations

import random
import warnings

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.classification import acc_f1_scores, accuracy, accuracy_scores, binary_f1, macro_f1, matthews

LABELS = ("entailment", "neutral", "contradiction")


def random_sets(count: int, labels: tuple[str, ...], seed: int = 1):
    rng = random.Random(seed)
    for _ in range(count):
        n = rng.randint(1, 30)
        some = labels[: rng.randint(1, len(labels))]
        yield [rng.choice(labels) for _ in range(n)], [rng.choice(some) for _ in range(n)]


def naive_f1(gold, predicted, name) -> float:
    found = [i for i, guess in enumerate(predicted) if guess == name]
    right = [i for i, label in enumerate(gold) if label == name]
    both = [i for i in found if i in right]
    if not both:
        return 0.0
    precision, recall = len(both) / len(found), len(both) / len(right)
    return 100 * 2 * precision * recall / (precision + recall)


def naive_matthews(gold, predicted) -> float:
    """Covariance of the one-hot codes over the root of their variances."""
    n = len(gold)

    def covariance(a, b):
        total = 0.0
        for name in set(gold) | set(predicted):
            mean_a, mean_b = sum(v == name for v in a) / n, sum(v == name for v in b) / n
            total += sum(((u == name) - mean_a) * ((v == name) - mean_b) for u, v in zip(a, b, strict=True))
        return total

    spread = covariance(gold, gold) * covariance(predicted, predicted)
    return 100 * covariance(gold, predicted) / spread**0.5 if spread > 1e-12 else 0.0


def test_known_values():
    gold, predicted = ["duplicate", "duplicate", "different"], ["duplicate", "different", "different"]
    scores = acc_f1_scores(gold, predicted, positive="duplicate")
    assert scores["accuracy"] == pytest.approx(200 / 3)
    assert scores["f1"] == pytest.approx(200 / 3)
    assert scores["acc_f1"] == pytest.approx(200 / 3)
    assert scores["n"] == 3
    assert matthews([1, 1, 0, 0], [0, 0, 1, 1]) == -100.0
    assert macro_f1(["a"], ["a"], labels=["a", "b"]) == 50.0


def test_a_thousand_random_sets_agree_with_the_definitions():
    for gold, predicted in random_sets(1000, LABELS):
        pairs = list(zip(gold, predicted, strict=True))
        names = sorted(set(gold) | set(predicted))
        assert abs(accuracy(gold, predicted) - 100 * sum(a == b for a, b in pairs) / len(pairs)) < 1e-9
        assert abs(binary_f1(gold, predicted, "neutral") - naive_f1(gold, predicted, "neutral")) < 1e-9
        mean = sum(naive_f1(gold, predicted, name) for name in names) / len(names)
        assert abs(macro_f1(gold, predicted) - mean) < 1e-9
        assert abs(matthews(gold, predicted) - naive_matthews(gold, predicted)) < 1e-9


def test_a_thousand_random_sets_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for gold, predicted in random_sets(1000, LABELS, seed=2):
            assert abs(accuracy(gold, predicted) - 100 * metrics.accuracy_score(gold, predicted)) < 1e-9
            assert abs(macro_f1(gold, predicted) - 100 * metrics.f1_score(gold, predicted, average="macro")) < 1e-9
            assert abs(matthews(gold, predicted) - 100 * metrics.matthews_corrcoef(gold, predicted)) < 1e-9
            one = metrics.f1_score(gold, predicted, labels=["neutral"], average="macro")
            assert abs(binary_f1(gold, predicted, "neutral") - 100 * one) < 1e-9


@pytest.mark.parametrize("scorer", [accuracy, accuracy_scores, macro_f1, matthews])
def test_unlabelled_gold_is_refused(scorer):
    with pytest.raises(AdaptxferError, match="Item 1 has no gold label"):
        scorer(["a", None], ["a", "a"])
