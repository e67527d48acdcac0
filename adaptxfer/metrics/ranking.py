"""Ranked lists with several right answers per query."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence

from adaptxfer.errors import data_error
from adaptxfer.metrics.counts import check_aligned


def average_precision(ranked: Sequence[Hashable], gold: Collection[Hashable], k: int = 20) -> float:
    """Average precision at ``k`` of one query in points.

    The precision at each right answer within the first ``k`` (a repeated answer counts once), summed and divided by
    min(number of right answers, k), as XTREME-R does for LAReQA. With one right answer it is the reciprocal rank.

    Raises:
        AdaptxferError: if the query has no right answer.
    """
    right, seen, total = set(gold), set(), 0.0
    if not right:
        raise data_error("A query has no right answer.", "Leave out queries without gold.")
    for rank, answer in enumerate(ranked[:k], start=1):
        if answer in right and answer not in seen:
            seen.add(answer)
            total += len(seen) / rank
    return 100.0 * total / min(len(right), k)


def map_scores(
    ranked: Sequence[Sequence[Hashable]], gold: Sequence[Collection[Hashable]], k: int = 20
) -> dict[str, float]:
    """``map`` (mean average precision at ``k`` in points) and ``n`` (queries).

    Raises:
        AdaptxferError: if the lists differ in length or are empty, or a query has no right answer.
    """
    check_aligned(gold, ranked, "queries")
    points = [average_precision(answers, right, k) for answers, right in zip(ranked, gold, strict=True)]
    return {"map": math.fsum(points) / len(points), "n": len(points)}
