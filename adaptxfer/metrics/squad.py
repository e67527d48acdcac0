"""Extracted answers scored as SQuAD v1.1 and v2.0 do, whatever the language of the text."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from adaptxfer.errors import data_error
from adaptxfer.metrics.counts import check_same_ids, f1_points

Normaliser = Callable[[str], str]
References = Mapping[str, Sequence[str]]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """The v1.1 form for every language: lower case, no ASCII punctuation, no English articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(prediction: str, golds: Sequence[str], normalise: Normaliser = normalise) -> float:
    """100 if the prediction equals one of ``golds`` after normalisation, else 0."""
    form = normalise(prediction)
    return 100.0 * any(form == normalise(gold) for gold in golds)


def f1(prediction: str, golds: Sequence[str], normalise: Normaliser = normalise) -> float:
    """Best F1 (0-100) over ``golds`` between the bags of whitespace tokens; an empty prediction scores 0."""
    guess = Counter(normalise(prediction).split())
    return max((_overlap(guess, Counter(normalise(gold).split())) for gold in golds), default=0.0)


def span_scores(predictions: Mapping[str, str], references: References, normalise: Normaliser) -> dict[str, float]:
    """Mean exact match and F1 over questions under any normaliser: ``exact``, ``f1``, ``n``.

    Raises:
        AdaptxferError: if the ids of both sides differ, or a question has no gold answer.
    """
    check_same_ids(references, predictions, "questions")
    for key, golds in references.items():
        if not golds:
            raise data_error(f"Question {key!r} has no gold answer.", "Use squad_v2 for unanswerable questions.")
    n = len(references)
    exact = math.fsum(exact_match(predictions[key], golds, normalise) for key, golds in references.items())
    overlap = math.fsum(f1(predictions[key], golds, normalise) for key, golds in references.items())
    return {"exact": exact / n, "f1": overlap / n, "n": n}


def squad_scores(predictions: Mapping[str, str], references: References) -> dict[str, float]:
    """SQuAD v1.1, XQuAD, TyDiQA: ``exact``, ``f1``, ``n`` with the English normaliser; raises as ``span_scores``."""
    return span_scores(predictions, references, normalise)


def squad2_pair(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 (0-100) of one v2.0 question; without gold answers only an empty prediction is right."""
    answers = [gold for gold in golds if normalise(gold)]
    if not answers:
        return (100.0, 100.0) if not normalise(prediction) else (0.0, 0.0)
    return exact_match(prediction, answers), f1(prediction, answers)


def squad2_scores(
    predictions: Mapping[str, str],
    references: References,
    null_scores: Mapping[str, float],
    threshold: float = 0.0,
) -> dict[str, float]:
    """SQuAD v2.0 at a fixed threshold, and at the best threshold for this very set.

    Args:
        predictions: the best span that is not empty, per question id.
        references: gold answers per question id; an empty list marks an unanswerable question.
        null_scores: score of "no answer" minus score of the best span; above the threshold the answer is empty.
        threshold: where ``exact`` and ``f1`` are read.

    Returns:
        ``exact``, ``f1``, ``n``; the same three with ``has_answer_`` and ``no_answer_`` in front (left out when there
        is no such question); ``best_exact``, ``best_f1`` and their ``_threshold``, each a point that can be reached
        with one threshold: questions with equal null scores are never parted.

    Raises:
        AdaptxferError: if the ids differ or a null score is not a number or minus infinity.
    """
    check_same_ids(references, predictions, "questions")
    check_same_ids(references, null_scores, "questions")
    for key, score in null_scores.items():
        if not score > -math.inf:
            raise data_error(f"The null score of question {key!r} is {score}.", "Expected a finite number.")
    spans = {key: squad2_pair(predictions[key], golds) for key, golds in references.items()}
    empty = {key: squad2_pair("", golds) for key, golds in references.items()}
    chosen = {key: empty[key] if null_scores[key] > threshold else spans[key] for key in references}
    scores = _means(list(chosen.values()))
    for part, wanted in (("has_answer", True), ("no_answer", False)):
        members = [chosen[key] for key, golds in references.items() if bool(golds) is wanted]
        scores |= {f"{part}_{name}": value for name, value in _means(members).items()} if members else {}
    for column, name in enumerate(("exact", "f1")):
        gains = {key: spans[key][column] - empty[key][column] for key in references}
        total, cut = _best_threshold(math.fsum(pair[column] for pair in empty.values()), gains, null_scores)
        scores |= {f"best_{name}": total / len(references), f"best_{name}_threshold": cut}
    return scores


def _best_threshold(total: float, gains: Mapping[str, float], null_scores: Mapping[str, float]) -> tuple[float, float]:
    """Raise the threshold from "answer nothing" (sum of scores ``total``) through every distinct null score."""
    order = sorted(gains, key=null_scores.__getitem__)
    best, cut = total, math.nextafter(null_scores[order[0]], -math.inf)
    for value, tied in groupby(order, key=null_scores.__getitem__):
        total += math.fsum(gains[key] for key in tied)
        if total > best + 1e-9:  # rounding must not move the threshold
            best, cut = total, value
    return best, cut


def _means(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    n = len(pairs)
    return {"exact": math.fsum(a for a, _ in pairs) / n, "f1": math.fsum(b for _, b in pairs) / n, "n": n}


def _overlap(guess: Counter[str], gold: Counter[str]) -> float:
    return f1_points((guess & gold).total(), guess.total(), gold.total())
