"""Scores of single items in a form that can be resampled: every metric is a ratio of two sums."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adaptxfer.errors import AdaptxferError, data_error
from adaptxfer.files import csv_rows, read_text
from adaptxfer.metrics.mlqa import normalise as mlqa_normalise
from adaptxfer.metrics.ranking import average_precision
from adaptxfer.metrics.squad import exact_match, f1
from adaptxfer.metrics.tagging import entity_counts
from adaptxfer.studies.table import Row

ENGLISH = "en"
TOLERANCE = 0.01
"""Points by which the items may miss the recorded score (predictions are stored with five decimals)."""

Pair = tuple[float, float]
Clusters = Mapping[str, str]


@dataclass(frozen=True)
class Items:
    """Items of one score: 100 * sum(above) / sum(below) is the metric.

    Args:
        ids: item ids (N,).
        clusters: the unit that is resampled, such as the article of a question (N,); the id itself if unknown.
        above: numerators (N,): right or not, F1 of an answer, twice the true positives of a sentence.
        below: denominators (N,): 1, words, or predicted plus gold entities.
    """

    ids: Sequence[str]
    clusters: Sequence[str]
    above: np.ndarray
    below: np.ndarray

    def score(self) -> float:
        """The metric over all items, in points."""
        total = float(self.below.sum())
        return 100.0 * float(self.above.sum()) / total if total else 0.0


def load_items(row: Row, clusters: Clusters | None = None) -> Items | None:
    """The items behind a score, or None if its metric is no ratio of sums over items or there is no file.

    Args:
        row: ``items`` names a predictions file (.jsonl), or a CSV with item_id, score and optionally cluster_id and
            weight (the denominator, 1 if absent; the score is the numerator).
        clusters: item id to cluster.

    Raises:
        AdaptxferError: if the file is damaged, or its items do not give the recorded score.
    """
    if not row.items:
        return None
    items = _from_csv(Path(row.items)) if row.items.endswith(".csv") else _from_predictions(row)
    if items is None:
        return None
    if abs(items.score() - row.value) > TOLERANCE:
        told = f"The items in {row.items} give {items.score():.2f}, the score says {row.value:.2f}."
        raise data_error(told, "Score the run again, or leave its items out.")
    if clusters:
        found = [clusters.get(name, cluster) for name, cluster in zip(items.ids, items.clusters, strict=True)]
        return Items(items.ids, found, items.above, items.below)
    return items


def read_clusters(path: Path) -> dict[str, str]:
    """Item id to cluster from a CSV or TSV file with the columns item_id and cluster_id.

    Raises:
        AdaptxferError: if a column is missing or an item has two clusters.
    """
    found: dict[str, str] = {}
    for cells in _cells(path, ("item_id", "cluster_id")):
        if found.setdefault(cells["item_id"], cells["cluster_id"]) != cells["cluster_id"]:
            raise data_error(
                f"{path} puts item {cells['item_id']!r} into two clusters.", "Keep one line for each item."
            )
    return found


def _from_csv(path: Path) -> Items:
    cells = _cells(path, ("item_id", "score"))
    try:
        pairs = [(float(c["score"]), float(c.get("weight") or 1.0)) for c in cells]
    except ValueError as error:
        raise data_error(f"{path} holds a score that is no number ({error}).", "Mend the line.") from error
    ids = [c["item_id"] for c in cells]
    return _items(ids, [c.get("cluster_id") or name for c, name in zip(cells, ids, strict=True)], pairs)


def _cells(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    names, lines = csv_rows(read_text(path, "item file"), str(path))
    if missing := [name for name in needed if name not in names]:
        raise data_error(f"{path} lacks the column {', '.join(missing)}.", f"Needed: {', '.join(needed)}.")
    cells = [{str(key): value or "" for key, value in line.items() if key} for _, line in lines]
    if not cells:
        raise data_error(f"{path} holds no items.", "Give a file with one line for each item.")
    return cells


def _from_predictions(row: Row) -> Items | None:
    text = read_text(Path(row.items), "predictions file").rstrip("\n")
    try:
        records = json.loads(f"[{text.replace(chr(10), ',')}]")  # in one go: twice as fast as line by line
    except json.JSONDecodeError as error:
        raise data_error(f"{row.items} is damaged ({error.msg}).", "Score the run again with --fresh.") from error
    count = _counter(row, records[0]) if records else None
    if count is None:
        return None
    try:
        pairs = [count(record) for record in records]
    except (KeyError, TypeError, AdaptxferError):  # such as a question without answers
        return None
    ids = [str(record["id"]) for record in records]
    own = [str(record.get("cluster", name)) for record, name in zip(records, ids, strict=True)]
    if own != ids and row.language != ENGLISH:  # MLQA's titles are translated: an article is what English calls it
        known = _english_clusters(row)
        own = [known.get(name, cluster) for name, cluster in zip(ids, own, strict=True)]
    return _items(ids, own, pairs)


_CLUSTERS: dict[tuple[str, Path], Clusters] = {}
"""By target task and folder of runs; the same for all of its runs."""


def _english_clusters(row: Row) -> Clusters:
    path = Path(row.items).with_name(f"{ENGLISH}.jsonl")
    key = (row.target_task, path.parent.parent.parent)
    if key not in _CLUSTERS:
        lines = read_text(path, "predictions file").splitlines() if path.is_file() else []
        records = [json.loads(line) for line in lines]
        _CLUSTERS[key] = {str(r["id"]): str(r["cluster"]) for r in records if "cluster" in r}
    return _CLUSTERS[key]


def _items(ids: Sequence[str], clusters: Sequence[str], pairs: Sequence[Pair]) -> Items:
    above, below = np.asarray(pairs, np.float64).T
    return Items(ids, clusters, above, below)


def _counter(row: Row, record: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Pair] | None:
    """How a record of this metric counts; None for a metric that is no sum over items (mining, fitted thresholds)."""
    tagged = isinstance(record.get("gold"), list) and isinstance(record.get("predicted"), list)
    if row.metric == "accuracy":
        return _tokens if tagged else _right
    if row.metric == "mlqa":
        return partial(_mlqa, language=row.language.split("-")[0])
    if row.metric == "f1" and not tagged:
        return None
    return {"f1": _entities, "squad": _answer, "map": _ranked}.get(row.metric)


def _right(record: Mapping[str, Any]) -> Pair:
    return float(record["correct"]), 1.0


def _tokens(record: Mapping[str, Any]) -> Pair:
    return float(sum(a == b for a, b in zip(record["gold"], record["predicted"], strict=True))), len(record["gold"])


def _entities(record: Mapping[str, Any]) -> Pair:
    counts = entity_counts(record["gold"], record["predicted"])
    return 2.0 * counts.tp, counts.predicted + counts.gold


def _answer(record: Mapping[str, Any]) -> Pair:
    return (record["exact"] + record["f1"]) / 200, 1.0


def _mlqa(record: Mapping[str, Any], language: str) -> Pair:
    normalise = partial(mlqa_normalise, language=language)
    guess, gold = record["predicted"], record["gold"]
    return (exact_match(guess, gold, normalise) + f1(guess, gold, normalise)) / 200, 1.0


def _ranked(record: Mapping[str, Any]) -> Pair:
    return average_precision(record["predicted"], record["gold"]) / 100, 1.0
