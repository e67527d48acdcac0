"""LAReQA and Mewsli-X: mean average precision over one pool of candidates in all languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from adaptxfer.errors import data_error
from adaptxfer.evaluation.score import Record
from adaptxfer.metrics.retrieval import nearest
from adaptxfer.tasks.examples import RetrieveExample

DEPTH = 20
"""Candidates kept per query: mAP@20."""


def rank_pool(
    examples: Mapping[str, Sequence[RetrieveExample]], vectors: Mapping[str, Tensor]
) -> dict[str, list[Record]]:
    """Records per language of the queries, ranked against the candidates of all languages together.

    A candidate is right for a query if it names the query's id, or the query names the candidate's.

    Args:
        examples: queries and candidates by language.
        vectors: (S, width) by language, one per example.

    Raises:
        AdaptxferError: if a query has no right candidate in the pool.
    """
    pool = [example for found in examples.values() for example in found if example.side == "candidate"]
    stacked = torch.cat([vectors[code][_rows(found, "candidate")] for code, found in examples.items()])
    right: dict[str, set[str]] = {}
    for candidate in pool:
        for query in candidate.gold:
            right.setdefault(query, set()).add(candidate.id)
    return {
        code: _ranked(
            [e for e in found if e.side == "query"], vectors[code][_rows(found, "query")], pool, stacked, right
        )
        for code, found in examples.items()
    }


def _rows(examples: Sequence[RetrieveExample], side: str) -> list[int]:
    return [i for i, example in enumerate(examples) if example.side == side]


def _ranked(
    queries: Sequence[RetrieveExample],
    vectors: Tensor,
    pool: Sequence[RetrieveExample],
    stacked: Tensor,
    right: Mapping[str, set[str]],
) -> list[Record]:
    if not queries:
        return []
    _, rows = nearest(vectors, stacked, min(DEPTH, len(pool)))
    records = []
    for query, best in zip(queries, rows.tolist(), strict=True):
        gold = sorted({*query.gold, *right.get(query.id, ())})
        if not gold:
            raise data_error(f"The query {query.id!r} has no right candidate in the pool.", "Check the data.")
        records.append({"id": query.id, "gold": gold, "predicted": [pool[row].id for row in best]})
    return records
