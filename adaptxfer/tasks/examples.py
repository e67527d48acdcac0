"""The normal form of an example, one class per kind.

A reader of any upstream format ends here, and everything that trains or scores starts here. Labels are names, never
numbers; text is exactly what the source holds.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("classify", "choose", "tag", "span", "retrieve")


@dataclass(frozen=True, slots=True)
class ClassifyExample:
    """One text or a pair with one label out of the task's list."""

    id: str
    first: str
    second: str | None
    label: str | None  # None: unlabelled


@dataclass(frozen=True, slots=True)
class ChooseExample:
    """A context and any number of candidate continuations, one of them right."""

    id: str
    context: str
    choices: tuple[str, ...]
    label: int | None  # index into choices


@dataclass(frozen=True, slots=True)
class TagExample:
    """A sentence in words with one tag per word."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and where it starts in the context, in code points (-1: position unknown, fit for scoring only)."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class SpanExample:
    """A question about a context. No answers and ``impossible``: the question has none; otherwise it is unlabelled."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    impossible: bool = False
    title: str = ""  # article the context is from; its questions are not independent


@dataclass(frozen=True, slots=True)
class RetrieveExample:
    """One side of a retrieval task: a query with the ids of its right candidates, or a candidate."""

    id: str
    side: str  # "query" or "candidate"
    text: str
    context: str | None = None  # LAReQA: the paragraph that follows the candidate sentence
    gold: tuple[str, ...] = ()
    domain: str = ""  # of a query: the part of the collection it is from; scores are also given by domain


Example = ClassifyExample | ChooseExample | TagExample | SpanExample | RetrieveExample
