"""LAReQA: XQuAD with sentence boundaries. Questions are queries, the sentences of all paragraphs are candidates.

A question and its translations share one id. A candidate's ``gold`` holds the ids of the questions it answers, so that
candidates of several languages can be pooled: everything that names a question's id is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adaptxfer.errors import data_error
from adaptxfer.tasks.readers import Row, Upstream
from adaptxfer.tasks.readers.squad import paragraphs, part


def read_lareqa(up: Upstream) -> Iterator[Row]:
    """Queries first, then candidates, each candidate with its paragraph as context."""
    queries: list[dict[str, Any]] = []
    candidates: list[dict[str, Any]] = []
    for number, (place, _, paragraph) in enumerate(paragraphs(up)):
        sentences = _sentences(up, paragraph, place, f"{up.language}:{number}")
        for question in part(up, paragraph, "qas", list, place):
            key = str(part(up, question, "id", (str, int), place))
            right = [sentence for sentence in sentences if _holds(up, sentence, question, place)]
            for sentence in right:
                sentence["gold"].append(key)
            text = part(up, question, "question", str, place)
            queries.append({"id": key, "side": "query", "text": text, "gold": [found["id"] for found in right]})
        candidates += sentences
    yield from enumerate([*queries, *candidates], 1)


def _sentences(up: Upstream, paragraph: dict[str, Any], place: str, prefix: str) -> list[dict[str, Any]]:
    context = part(up, paragraph, "context", str, place)
    breaks = part(up, paragraph, "sentence_breaks", list, place)
    if not all(isinstance(span, list) and len(span) == 2 and 0 <= span[0] < span[1] <= len(context) for span in breaks):
        raise data_error(f"{up.path}: {place} has sentence breaks that leave its context.")
    return [
        {"id": f"{prefix}.{n}", "side": "candidate", "text": context[start:end], "context": context, "gold": []}
        | {"span": (start, end)}
        for n, (start, end) in enumerate(breaks)
    ]


def _holds(up: Upstream, sentence: dict[str, Any], question: dict[str, Any], place: str) -> bool:
    answers = part(up, question, "answers", list, place)
    start, end = sentence["span"]
    return any(start <= part(up, answer, "answer_start", int, place) < end for answer in answers[:1])
