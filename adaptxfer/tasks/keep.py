"""Which examples of a split are kept: those fit for training, those that can be scored, the first few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from adaptxfer.tasks.examples import ChooseExample, ClassifyExample, Example, RetrieveExample, SpanExample, TagExample

PLACEHOLDER_ROWS = 50
"""An evaluation split of at least this many rows that all carry one label has placeholders, not labels."""


def kept(stream: Iterable[Example], split: str, limit: int | None, notes: Counter[str]) -> list[Example]:
    """The examples to use, at most ``limit``; what was dropped is counted in ``notes``.

    Training keeps labelled examples whose answer has a place. Evaluation keeps labelled ones too, or all of them if
    none is labelled; it reads on beyond ``limit`` until two labels have been seen, since one alone may be a
    placeholder. Retrieval keeps the first ``limit`` queries and their candidates.
    """
    if split == "train":
        return _first(_trainable(stream, notes), limit)
    items: list[Example] = []
    seen: set[str | int | None] = set()
    scored = 0
    for item in stream:
        items.append(item)
        scored += is_labelled(item)
        seen.update(_labels(item))
        if limit is not None and scored >= limit and (len(seen) > 1 or isinstance(item, SpanExample)):
            break
    if items and isinstance(items[0], RetrieveExample):
        return _pairs(items, limit)
    if scored == len(items) and has_placeholders(items):
        notes["placeholder_labels"] += len(items)
        return [without_label(item) for item in items[:limit]]
    if scored:
        notes["dropped_unlabelled"] += len(items) - scored
        items = [item for item in items if is_labelled(item)]
    return items[:limit]


def _first(stream: Iterator[Example], limit: int | None) -> list[Example]:
    items: list[Example] = []
    for item in stream:
        items.append(item)
        if len(items) == limit:
            break
    return items


def _trainable(stream: Iterable[Example], notes: Counter[str]) -> Iterator[Example]:
    for item in stream:
        if not is_labelled(item):
            notes["dropped_unlabelled"] += 1
        elif isinstance(item, SpanExample) and item.answers:
            placed = tuple(answer for answer in item.answers if answer.start >= 0)
            if placed:
                yield replace(item, answers=placed)
            else:
                notes["dropped_unaligned"] += 1
        else:
            yield item


def _pairs(items: list[Example], limit: int | None) -> list[Example]:
    """Retrieval: the first queries, the first candidates, and whatever the queries ask for.

    All candidates stay if the queries ask for some of another language's part.
    """
    queries = [item for item in items if isinstance(item, RetrieveExample) and item.side == "query"][:limit]
    gold = {key for query in queries for key in query.gold}
    candidates = [item for item in items if isinstance(item, RetrieveExample) and item.side == "candidate"]
    first = {item.id for item in candidates[:limit]}
    if gold <= {item.id for item in candidates}:
        candidates = [item for item in candidates if item.id in gold or item.id in first]
    return [*queries, *candidates]


def is_labelled(item: Example) -> bool:
    """True if the example can be trained on or scored."""
    if isinstance(item, RetrieveExample):
        return True
    if isinstance(item, SpanExample):
        return bool(item.answers) or item.impossible
    return (item.tags if isinstance(item, TagExample) else item.label) is not None


def has_placeholders(items: list[Example]) -> bool:
    """True if one label stands on every row of many, as in test files whose labels were taken out."""
    if len(items) < PLACEHOLDER_ROWS:
        return False
    return len({label for item in items for label in _labels(item)}) == 1


def _labels(item: Example) -> tuple[str | int | None, ...]:
    if isinstance(item, TagExample):
        return item.tags or ()
    return (item.label,) if isinstance(item, ClassifyExample | ChooseExample) else ()


def without_label(item: Example) -> Example:
    """The same example, unlabelled."""
    return replace(item, tags=None) if isinstance(item, TagExample) else replace(item, label=None)
