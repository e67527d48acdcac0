"""From head outputs in packed order to one prediction per example. Scores are raw head outputs (logits)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptxfer.data.features import Features
from adaptxfer.data.ragged import row_of
from adaptxfer.errors import training_error


@dataclass(frozen=True, slots=True)
class SpanPrediction:
    """The best answer to one question.

    Attributes:
        text: cut out of the context.
        start: where it starts, in code points; -1 if there is no context to cut from.
        score: start score + end score.
        null_difference: score of "no answer" (lowest over the windows) minus ``score``; a v2 task answers nothing
            where this exceeds its threshold.
    """

    text: str
    start: int
    score: float
    null_difference: float


def classify(features: Features, scores: NDArray, labels: Sequence[str]) -> list[str | None]:
    """The label with the highest score.

    Args:
        features: of kind classify.
        scores: (S, labels).
        labels: in the order of the head.

    Returns:
        one label per example; None for an example without a sequence.
    """
    found: list[str | None] = [None] * features.size
    for example, number in zip(features.example, checked(scores).argmax(axis=1), strict=True):
        found[example] = labels[number]
    return found


def choose(features: Features, scores: NDArray) -> list[int | None]:
    """The number of the choice with the highest score, the first of equal ones.

    Args:
        features: of kind choose.
        scores: (S,), one per choice.
    """
    found: list[int | None] = [None] * features.size
    if len(features):
        unit, starts = row_of(features.units), features.units[:-1]
        best = scores == np.maximum.reduceat(checked(scores), starts)[unit]
        place = np.where(best, np.arange(len(scores)) - starts[unit], len(scores))
        for example, number in zip(features.unit_example, np.minimum.reduceat(place, starts), strict=True):
            found[example] = int(number)
    return found


def tag(features: Features, scores: NDArray, labels: Sequence[str]) -> list[list[str] | None]:
    """One label per word, the chunks of a sentence joined again.

    Args:
        features: of kind tag.
        scores: (T, labels), read at the first piece of each word.
        labels: in the order of the head.
    """
    places = np.flatnonzero(features.targets["word"] >= 0)
    numbers = checked(scores[places]).argmax(axis=1)
    owner = features.example[row_of(features.bounds)[places]]
    found: list[list[str] | None] = [None] * features.size
    for example in features.example:
        found[example] = []
    for example, number in zip(owner, numbers, strict=True):
        found[example].append(labels[number])  # type: ignore[union-attr]
    return found


def span(
    features: Features,
    start: NDArray,
    end: NDArray,
    contexts: Sequence[str],
    n_best: int = 20,
    max_answer: int = 30,
) -> list[SpanPrediction]:
    """The span with the highest start + end score over all windows of each example.

    A span lies inside the context, is at most ``max_answer`` pieces long, starts at one of the ``n_best`` starts of its
    window and ends at one of its ``n_best`` ends. Where no such span exists the best valid one is taken. No span starts
    or ends at a piece that covers no character, such as a lone word mark, so that an answer is never empty while there
    is context. The first of equal spans wins, the shorter one first.

    Args:
        features: of kind span.
        start: (T,) start scores.
        end: (T,) end scores.
        contexts: the context of each example.
        n_best: starts and ends that are considered per window.
        max_answer: in pieces.
    """
    start, end = checked(start), checked(end)
    offset = features.targets["offset"]
    inside = (offset[:, 0] >= 0) & (offset[:, 1] > offset[:, 0])
    bounds, row = features.bounds, row_of(features.bounds)
    near = (among_best(scores, inside, bounds, n_best) for scores in (start, end))
    score, first, last = best_spans(*_masked(start, end, *near), bounds, max_answer)
    if np.any(bare := np.isneginf(score)):
        other = best_spans(*_masked(start, end, inside & bare[row], inside & bare[row]), bounds, max_answer)
        score, first, last = (np.where(bare, new, old) for new, old in zip(other, (score, first, last), strict=True))
    null = start[bounds[:-1]] + end[bounds[:-1]]
    return [
        _cut(features, contexts[example], windows, score, first, last, null)
        for example, windows in enumerate(_windows(features))
    ]


def among_best(scores: NDArray, inside: NDArray, bounds: NDArray, count: int) -> NDArray:
    """Which tokens (T,) bool reach the ``count``-th highest score of those ``inside`` their sequence."""
    row, lengths = row_of(bounds), np.diff(bounds)
    rectangle = np.full((len(lengths), max(lengths.max(initial=0), count)), -np.inf)
    rectangle[row, np.arange(len(scores)) - bounds[row]] = np.where(inside, scores, -np.inf)
    return inside & (scores >= np.partition(rectangle, -count, axis=1)[row, -count])


def best_spans(start: NDArray, end: NDArray, bounds: NDArray, max_answer: int) -> tuple[NDArray, NDArray, NDArray]:
    """Best valid span of each sequence: score (S,), and its first and last token in packed order; -inf if none.

    All lengths are tried one after the other, each over all tokens of all sequences at once.
    """
    row, place = row_of(bounds), np.arange(len(start))
    best, last = start + end, place.copy()
    for more in range(1, min(max_answer, len(start))):
        longer = start[:-more] + end[more:]
        better = (longer > best[:-more]) & (row[:-more] == row[more:])
        best[:-more][better] = longer[better]
        last[:-more][better] = place[more:][better]
    if not len(start):
        return best, last, last
    score = np.maximum.reduceat(best, bounds[:-1])
    first = np.minimum.reduceat(np.where(best == score[row], place, len(start)), bounds[:-1])
    return score, first, last[first]


def checked(scores: NDArray) -> NDArray:
    """The scores, if there is no NaN among them.

    Raises:
        AdaptxferError: otherwise; a prediction from them would mean nothing.
    """
    if np.isnan(scores).any():
        raise training_error("The model gives scores that are not a number.", "Restart with a lower learning rate.")
    return scores


def _masked(start: NDArray, end: NDArray, starts: NDArray, ends: NDArray) -> tuple[NDArray, NDArray]:
    return np.where(starts, start, -np.inf), np.where(ends, end, -np.inf)


def _windows(features: Features) -> list[NDArray]:
    order = np.argsort(features.example, kind="stable")
    edges = np.searchsorted(features.example[order], np.arange(1, features.size))
    return np.split(order, edges) if features.size else []


def _cut(
    features: Features, context: str, windows: NDArray, score: NDArray, first: NDArray, last: NDArray, null: NDArray
) -> SpanPrediction:
    empty = float(null[windows].min(initial=np.inf))
    if not len(windows) or np.isneginf(score[windows]).all():
        return SpanPrediction("", -1, 0.0, empty if len(windows) else 0.0)
    best = windows[np.argmax(score[windows])]
    offset = features.targets["offset"]
    begin, stop = int(offset[first[best], 0]), int(offset[last[best], 1])
    return SpanPrediction(context[begin:stop], begin, float(score[best]), empty - float(score[best]))
