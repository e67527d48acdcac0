"""Examples of one kind made from another: question answering as retrieval."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from adaptxfer.tasks.examples import RetrieveExample, SpanExample

_BREAK = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9])")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Borders of the sentences of an English paragraph: after a full stop, question or exclamation mark and a space.

    A simple rule: abbreviations before a capital letter make a sentence too short, never one that lacks its answer.
    """
    starts = [0, *(match.end() for match in _BREAK.finditer(text))]
    ends = [*(match.start() for match in _BREAK.finditer(text)), len(text)]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if end > start]


def questions_to_pairs(examples: Sequence[SpanExample]) -> list[RetrieveExample]:
    """Each answerable question followed by the sentence that holds its answer, with the paragraph as context.

    The n-th query belongs to the n-th candidate. Questions whose answer crosses a sentence border are left out.
    """
    return [part for example in examples for part in _pair(example)]


def _pair(example: SpanExample) -> Iterator[RetrieveExample]:
    if not example.answers or example.answers[0].start < 0:
        return
    start = example.answers[0].start
    end = start + len(example.answers[0].text)
    for first, last in sentence_spans(example.context):
        if first <= start and end <= last:
            key = f"{example.id}.answer"
            yield RetrieveExample(example.id, "query", example.question, None, (key,))
            yield RetrieveExample(key, "candidate", example.context[first:last], example.context, (example.id,))
            return


def paired(examples: Sequence[RetrieveExample]) -> list[RetrieveExample]:
    """Each query followed by its first right candidate; queries without one are left out."""
    candidates = {example.id: example for example in examples if example.side == "candidate"}
    queries = [example for example in examples if example.side == "query"]
    known = [(query, next((name for name in query.gold if name in candidates), None)) for query in queries]
    return [part for query, name in known if name is not None for part in (query, candidates[name])]


def unique_candidates(pairs: Sequence[RetrieveExample]) -> list[RetrieveExample]:
    """The same examples with every distinct candidate once, naming all queries that it follows."""
    queries = [replace(query, gold=()) for query in pairs[::2]]
    groups: dict[tuple[str, str | None], list[RetrieveExample]] = {}
    for query, candidate in zip(queries, pairs[1::2], strict=True):
        groups.setdefault((candidate.text, candidate.context), []).append(replace(candidate, gold=(query.id,)))
    merged = [replace(group[0], gold=tuple(part.gold[0] for part in group)) for group in groups.values()]
    return [*queries, *merged]
