"""BUCC 2018: from mined sentence pairs to F1, with the threshold tuned on development gold."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from itertools import groupby, product

from adaptxfer.errors import data_error
from adaptxfer.metrics.counts import Counts, check_aligned, f1_points, precision_recall_f1
from adaptxfer.metrics.mining import Pair

Link = tuple[Hashable, Hashable]


def unique_sentences(ids: Sequence[str], sentences: Sequence[str]) -> tuple[list[int], list[list[str]]]:
    """Keep each sentence once, so that copies do not fill the neighbourhoods.

    Returns:
        position of the first occurrence of each distinct sentence, and the ids of all its occurrences.

    Raises:
        AdaptxferError: if the lists differ in length or are empty.
    """
    check_aligned(sentences, ids, "sentences")
    groups: dict[str, tuple[int, list[str]]] = {}
    for i, (name, sentence) in enumerate(zip(ids, sentences, strict=True)):
        groups.setdefault(sentence.strip(), (i, []))[1].append(name)
    return [position for position, _ in groups.values()], [names for _, names in groups.values()]


def name_pairs(
    pairs: Iterable[Pair], sources: Sequence[list[str]], targets: Sequence[list[str]], repeated: bool = False
) -> list[Pair]:
    """Replace rows by sentence ids (the groups of ``unique_sentences``).

    Sentences that occur more than once are dropped, as XTREME does; with ``repeated`` they get all their ids (jiant).
    """
    groups = ((sources[pair.source], targets[pair.target], pair.score) for pair in pairs)  # type: ignore[call-overload]
    return [
        Pair(source, target, score)
        for left, right, score in groups
        if repeated or len(left) == len(right) == 1
        for source, target in product(left, right)
    ]


def tune_threshold(pairs: Iterable[Pair], gold: Collection[Link]) -> tuple[float, float]:
    """The threshold that gives the best F1 on development gold, and that F1 in points.

    It lies midway between the last pair kept and the first one dropped; it is the last score itself when all pairs are
    kept. Pairs with equal scores are never parted. When no pair is right it is 0, which keeps every pair.

    Raises:
        AdaptxferError: if the gold is empty.
    """
    links = _gold(gold)
    ordered = sorted(pairs, key=lambda pair: -pair.score)
    tp, kept, best, cut = 0, 0, 0.0, 0.0
    for score, tied in groupby(ordered, key=lambda pair: pair.score):
        found = [(pair.source, pair.target) for pair in tied]
        tp, kept = tp + len(links & set(found)), kept + len(found)
        f1 = f1_points(tp, kept, len(links))
        if f1 > best:
            best, cut = f1, _between(score, ordered[kept].score) if kept < len(ordered) else score
    return cut, best


def bucc_f1(links: Iterable[Link], gold: Collection[Link]) -> dict[str, float]:
    """Precision, recall, f1 in points over the set of links, and the counts.

    Raises:
        AdaptxferError: if the gold is empty.
    """
    found, right = set(links), _gold(gold)
    return precision_recall_f1(Counts(len(found & right), len(found), len(right)))


def bucc_scores(pairs: Iterable[Pair], gold: Collection[Link], threshold: float) -> dict[str, float]:
    """``bucc_f1`` of the pairs at or above ``threshold`` (tuned on another set), with ``threshold`` and ``n`` (gold).

    Raises:
        AdaptxferError: if the gold is empty.
    """
    kept = ((source, target) for source, target, score in pairs if score >= threshold)
    scores = bucc_f1(kept, gold)
    return {**scores, "threshold": threshold, "n": scores["gold"]}


def _between(upper: float, lower: float) -> float:
    middle = (upper + lower) / 2
    return middle if middle > lower else upper  # neighbouring floats have nothing between them


def _gold(gold: Collection[Link]) -> set[Link]:
    links = {(source, target) for source, target in gold}
    if not links:
        raise data_error("The gold has no pair.", "BUCC is scored on sets with gold pairs only.")
    return links
