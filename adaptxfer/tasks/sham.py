"""Sham labels: the same texts, the same labels, but which label belongs to which text is drawn by lot.

A module trained on them has seen the task's language, format and amount of training and nothing of the task itself: the
control for what an intermediate task teaches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from adaptxfer.errors import use_error
from adaptxfer.tasks.examples import Answer, ChooseExample, ClassifyExample, SpanExample, TagExample

WORD = re.compile(r"\S+")


def with_sham_labels(kind: str, items: Sequence[Any], seed: int) -> list[Any]:
    """Examples in their order with the labels of all of them shuffled; those without a label keep none.

    - classify: labels among the examples.
    - choose: numbers of the right choice, among examples with as many choices.
    - tag: tags among all words.
    - span: lengths in words, and which questions have no answer, among the examples; the answer then lies anywhere in
      the example's own context.

    Args:
        kind: of the examples.
        items: in normal form.
        seed: of the lot.

    Raises:
        AdaptxferError: for a kind without labels (retrieve).
    """
    ways: dict[str, Callable[[list[Any], Random], list[Any]]] = {
        "classify": _classify, "choose": _choose, "tag": _tag, "span": _span
    }  # fmt: skip
    if kind not in ways:
        raise use_error(f"Tasks of kind {kind} have no labels to shuffle.", f"Sham labels exist for {', '.join(ways)}.")
    return ways[kind](list(items), Random(seed))


def _shuffled(values: Sequence[Any], random: Random) -> list[Any]:
    return random.sample(values, len(values))


def _classify(items: list[ClassifyExample], random: Random) -> list[ClassifyExample]:
    drawn = iter(_shuffled([item.label for item in items if item.label is not None], random))
    return [item if item.label is None else replace(item, label=next(drawn)) for item in items]


def _choose(items: list[ChooseExample], random: Random) -> list[ChooseExample]:
    labels: dict[int, list[int]] = {}
    for item in items:
        if item.label is not None:
            labels.setdefault(len(item.choices), []).append(item.label)
    drawn = {count: iter(_shuffled(labels[count], random)) for count in sorted(labels)}
    return [item if item.label is None else replace(item, label=next(drawn[len(item.choices)])) for item in items]


def _tag(items: list[TagExample], random: Random) -> list[TagExample]:
    drawn = iter(_shuffled([tag for item in items for tag in item.tags or ()], random))
    return [item if item.tags is None else replace(item, tags=tuple(next(drawn) for _ in item.tags)) for item in items]


def _span(items: list[SpanExample], random: Random) -> list[SpanExample]:
    lengths = [_words(item) for item in items if item.answers or item.impossible]
    drawn = iter(_shuffled(lengths, random))
    return [_answered(item, next(drawn), random) if item.answers or item.impossible else item for item in items]


def _words(item: SpanExample) -> int:
    """Words of the answer; 0 if there is none."""
    return len(WORD.findall(item.answers[0].text)) or 1 if item.answers else 0


def _answered(item: SpanExample, count: int, random: Random) -> SpanExample:
    if not count:
        return replace(item, answers=(), impossible=True)
    words = list(WORD.finditer(item.context))
    first = random.randrange(max(1, len(words) - count + 1))
    chosen = words[first : first + count]
    start, end = (chosen[0].start(), chosen[-1].end()) if chosen else (0, 0)
    return replace(item, answers=(Answer(item.context[start:end], start),), impossible=False)
