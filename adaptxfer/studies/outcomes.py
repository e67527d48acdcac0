"""What studies correlate and compare: own scores of intermediates, and what they bring to each target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from adaptxfer.studies.pairs import APART, OWN_SCORE, Pairs, pair
from adaptxfer.studies.table import NONE, WHOLE, RecordTable, Row

Key = tuple[str, str]
"""Intermediate and checkpoint."""

ByTarget = dict[Key, dict[str, float]]

ENGLISH = "en"
_MARK = "\0"


def own_metrics(table: RecordTable) -> list[str]:
    """Names of the metrics that intermediates are scored with on their own tasks; the main ones count as ``score``."""
    return ["score", *dict.fromkeys(row.metric for row in table.rows if row.study == OWN_SCORE)]


def own_scores(table: RecordTable, metric: str = "score") -> dict[Key, float]:
    """Score of each intermediate (and checkpoint) on its own task, mean over seeds.

    Args:
        table: rows of study ``intermediate``.
        metric: ``score`` is whatever comes first for each intermediate, its main metric; ``normalised`` is accuracy
            with the most frequent label at 0 and all right at 1.
    """
    found: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in table.rows:
        if row.study == OWN_SCORE:
            found[row.intermediate, row.intermediate_checkpoint][row.metric].append(row.value)
    means = {key: {name: float(np.mean(v)) for name, v in by.items()} for key, by in found.items()}
    if metric == "score":
        return {key: next(iter(by.values())) for key, by in means.items()}
    if metric == "normalised":
        return {
            key: (by["accuracy"] - by["majority"]) / (100 - by["majority"])
            for key, by in means.items()
            if {"accuracy", "majority"} <= by.keys() and by["majority"] < 100
        }
    return {key: by[metric] for key, by in means.items() if metric in by}


def mean_gains(table: RecordTable) -> ByTarget:
    """Gain per target, mean over languages and over the seeds that baseline and intermediate share."""
    return outcome(table, "gain")


def _gain(pairs: Pairs, label: str) -> float:
    return float(pairs.differences(label).mean())


def _score(pairs: Pairs, label: str, keep: Callable[[str], bool]) -> float:
    places = [k for k, language in enumerate(pairs.languages) if keep(language)]
    scores = np.mean([pairs.scores(label, seed) for seed in pairs.seeds(label)], axis=0)
    return float(scores[places].mean()) if places else float("nan")


def _is_english(language: str) -> bool:
    return language == ENGLISH


def _zero_shot(pairs: Pairs, label: str) -> float:
    return _score(pairs, label, lambda language: not _is_english(language))


OUTCOMES: Mapping[str, Callable[[Pairs, str], float]] = {
    "gain": _gain,
    "zero-shot": _zero_shot,
    "english": lambda pairs, label: _score(pairs, label, _is_english),
    "gap": lambda pairs, label: _score(pairs, label, _is_english) - _zero_shot(pairs, label),
}
"""What an intermediate leads to on a target: the gain; the score in other languages, in English, and their distance."""


def outcome(table: RecordTable, name: str) -> ByTarget:
    """One of ``OUTCOMES`` for each intermediate (and checkpoint) and target, in points; unknown ones are left out.

    Rows are paired as gains are: equal settings, languages that every run has, seeds that the baseline has too.
    """
    found: ByTarget = defaultdict(dict)
    for pairs in paired(table):
        for label in pairs.labels():
            value = OUTCOMES[name](pairs, label)
            if pairs.seeds(label) and np.isfinite(value):
                intermediate, _, checkpoint = label.partition(_MARK)
                found[intermediate, checkpoint][pairs.target] = value
    return dict(found)


def paired(table: RecordTable) -> list[Pairs]:
    """The pairs of all targets, checkpoints as intermediates of their own; none without rows of targets.

    Raises:
        AdaptxferError: if no intermediate has a baseline, or a cell is filled twice.
    """
    rows = [_marked(row) for row in table.rows if row.study not in APART and row.slice == WHOLE]
    return pair(RecordTable(tuple(rows)))[0] if rows else []


def _marked(row: Row) -> Row:
    if not row.intermediate_checkpoint or row.intermediate == NONE:
        return row
    label = f"{row.intermediate}{_MARK}{row.intermediate_checkpoint}"
    return replace(row, intermediate=label, intermediate_checkpoint="")
