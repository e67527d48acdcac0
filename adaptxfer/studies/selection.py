"""How good a selector of intermediate tasks is: regret in points and ranking quality, target by target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adaptxfer.errors import data_error
from adaptxfer.studies.answers import own_scores
from adaptxfer.studies.pairs import SELECTOR
from adaptxfer.studies.select.predict import gains_by_target, left_out, signals
from adaptxfer.studies.table import NONE, RecordTable

TOP = 3
FEW = 7
"""With fewer targets a comparison of selectors only describes."""
Scores = Mapping[str, float]


@dataclass(frozen=True)
class SelectorScore:
    """How a selector did.

    Args:
        name: of the selector.
        regret: best gain minus gain of its first choice, mean over targets, in points.
        worst: largest regret of a target.
        harm: share of targets on which its first choice is worse than none.
        ndcg: normalised discounted cumulative gain of its first three, mean over targets; None if it does not rank.
        n_units: targets.
    """

    name: str
    regret: float
    worst: float
    harm: float
    ndcg: float | None
    n_units: int


def regret(scores: Scores, gains: Scores) -> float:
    """Best gain minus the gain of what has the highest score, in points (ties: first by name)."""
    return max(gains.values()) - gains[ranked(scores)[0]]


def ranked(scores: Scores) -> list[str]:
    """Names by falling score, ties by name."""
    return sorted(scores, key=lambda name: (-scores[name], name))


def ndcg(scores: Scores, gains: Scores, k: int = TOP) -> float:
    """Discounted cumulative gain of the first ``k`` over the best possible, 0 to 1.

    Relevance is the gain above the lowest one, for gains may be negative; 1 if all are equal.
    """
    least = min(gains.values())
    discount = 1 / np.log2(np.arange(2, k + 2))

    def total(names: Sequence[str]) -> float:
        values = np.array([gains[name] - least for name in names[:k]])
        return float(values @ discount[: len(values)])

    best = total(ranked(gains))
    return total(ranked(scores)) / best if best > 0 else 1.0


def evaluate_selectors(
    table: RecordTable, always: str | None = None, language: str | None = None
) -> list[SelectorScore]:
    """Every selector that a table allows, each target left out of what the selector may learn from.

    ``none``, ``always ...``, ``random`` (its expectation) and ``oracle`` frame ``mean elsewhere`` (mean gain on the
    other targets), ``predicted`` (see `adaptxfer.studies.select.predict`; takes none if it expects no gain), ``own
    score`` and whatever selectors the table holds rows of. None counts as a candidate of gain 0.

    Args:
        table: gains; own scores and rows of study ``selector`` where there are any.
        always: intermediate that is always taken.
        language: judge by the scores in it; None for the mean over languages.

    Raises:
        AdaptxferError: if fewer than two targets have gains of two intermediates.
    """
    gains = _by_target(table, language)
    if len(gains) < 2:
        raise data_error(f"{len(gains)} targets have gains of two intermediates.", "A selector needs two targets.")
    found: dict[str, dict[str, Scores]] = defaultdict(dict)
    own = {name: value for (name, checkpoint), value in own_scores(table).items() if not checkpoint}
    for target, mine in gains.items():
        found["none"][target] = {NONE: 1.0}
        found["oracle"][target] = mine
        found["mean elsewhere"][target] = _elsewhere(gains, target)
        if always in mine:
            found[f"always {always}"][target] = {always: 1.0}
        if own.keys() >= mine.keys() - {NONE}:
            found["own score"][target] = {name: own[name] for name in mine if name != NONE}
    for target, said in left_out({t: _without_none(mine) for t, mine in gains.items()}, signals(table)):
        found["predicted"][target] = {NONE: 0.0, **said}
    for name, by_target in _stored(table, gains).items():
        found[name] = by_target
    scores = [_score(name, by_target, gains) for name, by_target in found.items() if len(by_target) == len(gains)]
    return sorted([*scores, _random(gains)], key=lambda score: (score.regret, score.name))


def _by_target(table: RecordTable, language: str | None) -> dict[str, dict[str, float]]:
    """Gains of targets with at least two intermediates, none with gain 0 among them."""
    return {t: {NONE: 0.0, **gains} for t, gains in gains_by_target(table, language).items() if len(gains) > 1}


def _without_none(gains: Scores) -> dict[str, float]:
    return {name: gain for name, gain in gains.items() if name != NONE}


def _elsewhere(gains: Mapping[str, Scores], target: str) -> dict[str, float]:
    others = [by for name, by in gains.items() if name != target]
    known = {name: [by[name] for by in others if name in by] for name in gains[target]}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def _stored(table: RecordTable, gains: Mapping[str, Scores]) -> dict[str, dict[str, Scores]]:
    """Selectors by metric name from rows of the table, for intermediates that have a gain; mean over seeds."""
    found: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in table.rows:
        if row.study == SELECTOR and row.intermediate in gains.get(row.target_task, {}):
            found[row.metric][row.target_task][row.intermediate].append(row.value)
    return {
        metric: {target: {name: float(np.mean(v)) for name, v in by.items()} for target, by in targets.items()}
        for metric, targets in found.items()
    }


def _score(name: str, chosen: Mapping[str, Scores], gains: Mapping[str, Scores]) -> SelectorScore:
    regrets = [regret(chosen[target], gains[target]) for target in gains]
    harm = float(np.mean([gains[target][ranked(chosen[target])[0]] < 0 for target in gains]))
    whole = all(len(scores) >= min(TOP, len(gains[target]) - 1) for target, scores in chosen.items())
    ranking = float(np.mean([ndcg(chosen[t], gains[t]) for t in gains])) if whole else None
    return SelectorScore(name, float(np.mean(regrets)), max(regrets), harm, ranking, len(gains))


def _random(gains: Mapping[str, Scores]) -> SelectorScore:
    """The expectation of choosing an intermediate (not none) blindly."""
    values = [np.array([gain for name, gain in by.items() if name != NONE]) for by in gains.values()]
    best = [max(by.values()) for by in gains.values()]
    regrets = [top - mine.mean() for top, mine in zip(best, values, strict=True)]
    harm = float(np.mean([(mine < 0).mean() for mine in values]))
    return SelectorScore("random", float(np.mean(regrets)), float(max(regrets)), harm, None, len(gains))
