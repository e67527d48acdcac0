"""BUCC: which sentence pairs of two large sets are translations, mined by margin with a threshold from dev."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from adaptxfer.errors import data_error
from adaptxfer.evaluation.score import Record
from adaptxfer.metrics.bucc import bucc_scores, name_pairs, tune_threshold, unique_sentences
from adaptxfer.metrics.mining import Pair
from adaptxfer.metrics.retrieval import mine
from adaptxfer.tasks.examples import RetrieveExample

Links = set[tuple[str, str]]


def mine_pairs(examples: Sequence[RetrieveExample], vectors: Tensor) -> tuple[list[Pair], Links]:
    """Mined pairs of sentence ids, best first, and the gold pairs.

    Args:
        examples: queries (with their gold) and candidates in any order.
        vectors: (S, width), one per example.

    Raises:
        AdaptxferError: if nothing but gold pairs is there: the task's F1 cannot be computed from them.
    """
    kept, groups = {}, {}
    for side in ("query", "candidate"):
        rows = [i for i, example in enumerate(examples) if example.side == side]
        places, groups[side] = unique_sentences([examples[i].id for i in rows], [examples[i].text for i in rows])
        kept[side] = [rows[place] for place in places]
    queries, candidates = (sum(example.side == side for example in examples) for side in ("query", "candidate"))
    gold = {(example.id, right) for example in examples if example.side == "query" for right in example.gold}
    if queries == candidates == len(gold) > 1:
        raise data_error(
            "Every sentence has its translation: these are the gold pairs without the sentences they hide among.",
            "Give the whole files of the shared task with --data-dir.",
        )
    pairs = mine(vectors[kept["query"]], vectors[kept["candidate"]])
    return name_pairs(pairs, groups["query"], groups["candidate"]), gold


def bucc_records(pairs: Sequence[Pair], gold: Links) -> list[Record]:
    """One record per mined pair: the two ids, the margin score, whether it is right."""
    return [
        {
            "id": f"{p.source}/{p.target}",
            "source": p.source,
            "target": p.target,
            "score": round(p.score, 6),
            "correct": (p.source, p.target) in gold,
        }
        for p in pairs
    ]


def score_mined(pairs: Sequence[Pair], gold: Links, dev: tuple[Sequence[Pair], Links] | None) -> dict[str, Any]:
    """F1 at the threshold that is best on dev; without dev it is tuned on the same pairs and marked ``oracle``.

    The published "dev" figures are oracle figures: threshold and score come from one set. Where the gold is not public
    there is only the threshold.

    Raises:
        AdaptxferError: if there is neither gold nor dev to tune the threshold on.
    """
    if not gold and dev is None:
        raise data_error(
            "There are no gold pairs to tune the threshold on.", "Put the dev files beside the test files."
        )
    threshold, _ = tune_threshold(*(dev or (pairs, gold)))
    if not gold:
        return {"threshold": threshold, "oracle": False}
    return {**bucc_scores(pairs, gold, threshold), "oracle": dev is None}
