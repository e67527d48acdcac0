"""Features of questions about a context: overlapping windows, and answers found by character offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptxfer.data.features import IGNORED, Features, make_features
from adaptxfer.data.pieces import Pieces, encodable, special_tokens, tokenise
from adaptxfer.data.ragged import borders, constant, join_parts, ranges
from adaptxfer.errors import use_error
from adaptxfer.tasks.examples import SpanExample


@dataclass(frozen=True)
class Targets:
    """Where each example's answer lies among the pieces of its context.

    Attributes:
        first: (N,) first piece; -1 for an impossible question, -100 if there is no usable answer.
        last: (N,) last piece, inclusive.
        notes: why answers were not usable.
    """

    first: NDArray
    last: NDArray
    notes: dict[str, int]


def span(
    examples: Sequence[SpanExample], tokenizer: Any, text: Any, labels: tuple, training: bool, max_length: int
) -> Features:
    """One sequence per window of the context; arguments as in ``build_features``.

    The window holds what the question (cut to ``text.max_question`` pieces) leaves free; the next one starts
    ``text.stride`` pieces further, or where this one ends if that comes first.
    """
    questions = tokenise(tokenizer, [row.question for row in examples])
    contexts = trimmed(tokenise(tokenizer, [row.context for row in examples], offsets=True), examples, tokenizer)
    targets = find_answers(examples, contexts)
    chosen = np.flatnonzero(targets.first != IGNORED) if training else np.arange(len(examples))
    owner, starts, sizes, asked = cut_windows(questions, contexts, chosen, special_tokens(tokenizer), text, max_length)
    template, count = special_tokens(tokenizer), len(owner)
    context_row, question_row = contexts.rows[owner], questions.rows[owner]
    context = (contexts.ids, contexts.bounds[context_row] + starts, sizes)
    ids, bounds, places = join_parts(
        [
            constant(template.prefix, count),
            (questions.ids, questions.bounds[question_row], asked),
            constant(template.middle, count),
            context,
            constant(template.pair_end, count),
        ]
    )
    offset = np.full((len(ids), 2), -1, np.int32)
    offset[ranges(places[:, 3], sizes)] = contexts.offsets[ranges(*context[1:])]  # type: ignore[index]
    begin = places[:, 3] - bounds[:-1]
    start, end = positions(targets, owner, starts, sizes, begin)
    notes = targets.notes | {
        "questions_cut": int(np.sum(questions.lengths[questions.rows[chosen]] > text.max_question)),
        "windows_added": count - len(chosen),
        "examples_dropped": len(examples) - len(chosen),
    }
    fields = {"start": start, "end": end, "context_start": begin, "context_end": begin + sizes, "offset": offset}
    return make_features("span", ids, bounds, owner, len(examples), fields, notes)


def cut_windows(
    questions: Pieces, contexts: Pieces, chosen: NDArray, template: Any, text: Any, max_length: int
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """The windows of the ``chosen`` examples.

    Returns:
        per window (S,): its example, its first context piece, its number of context pieces, pieces of the question.

    Raises:
        AdaptxferError: if the longest question leaves no room for context.
    """
    asked = np.minimum(questions.lengths[questions.rows[chosen]], text.max_question)
    total = contexts.lengths[contexts.rows[chosen]]
    room = max_length - template.pair_size - asked
    if np.any(room < 1):
        raise use_error(
            f"A question of {asked.max()} pieces leaves no room for context in a max_length of {max_length}.",
            "Lower max_question or raise max_length.",
        )
    step = np.clip(text.stride, 1, room)
    windows = 1 + -(-np.maximum(total - room, 0) // step)
    row = np.repeat(np.arange(len(chosen)), windows)
    starts = ranges(np.zeros(len(chosen), np.int64), windows) * step[row]
    return chosen[row], starts, np.minimum(room[row], total[row] - starts), asked[row]


def trimmed(contexts: Pieces, examples: Sequence[SpanExample], tokenizer: Any) -> Pieces:
    """The same pieces with offsets that leave out the spaces around and take in what the normaliser dropped.

    XLM-R's pieces include the space before a word; a lone word mark points at a character that is not its own and gets
    an empty range; a combining accent that was composed with its letter is in no piece and goes to the one before.
    """
    texts = list(dict.fromkeys(row.context for row in examples))
    joined = "".join(encodable(texts))
    points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    spaces = np.array([ord(character) for character in set(joined) if character.isspace()], np.uint32)
    solid, place, size = ~np.isin(points, spaces), np.arange(len(points)), len(points)
    after = np.append(np.minimum.accumulate(np.where(solid, place, size)[::-1])[::-1], size)
    before = np.append(0, np.maximum.accumulate(np.where(solid, place, -1)) + 1)
    edges = borders(np.array([len(text) for text in texts], np.int64))
    shift, limit = (np.repeat(edge, contexts.lengths) for edge in (edges[:-1], edges[1:]))
    begin, end = contexts.offsets[:, 0] + shift, contexts.offsets[:, 1] + shift  # type: ignore[index]
    following = np.minimum(np.append(begin[1:], size)[: len(begin)], limit)
    start = np.minimum(after[begin], end)
    stop = np.maximum.reduce([before[end], before[following], start])
    stop = np.where(contexts.ids == tokenizer.convert_tokens_to_ids("▁"), start, stop)
    offsets = np.stack([start - shift, stop - shift], axis=1).astype(np.int32)
    return replace(contexts, offsets=offsets)


def find_answers(examples: Sequence[SpanExample], contexts: Pieces) -> Targets:
    """The smallest range of context pieces that covers each first gold answer."""
    begin, end = (np.full(len(examples), IGNORED, np.int64) for _ in range(2))
    impossible = np.zeros(len(examples), bool)
    unplaced = 0
    for index, row in enumerate(examples):
        answer = row.answers[0] if row.answers else None
        if answer is None:
            impossible[index] = row.impossible
        elif text := answer.text.strip():
            lead = answer.start + len(answer.text) - len(answer.text.lstrip())
            if answer.start >= 0 and row.context.startswith(text, lead):
                begin[index], end[index] = lead, lead + len(text)
            else:
                unplaced += 1
    first, last = cover(contexts, begin, end)
    usable = (begin >= 0) & (first <= last)
    first = np.where(impossible, -1, np.where(usable, first, IGNORED))
    lost = int(np.sum((begin >= 0) & ~usable))
    return Targets(first, last, {"answers_unplaced": unplaced, "answers_without_pieces": lost})


def cover(contexts: Pieces, begin: NDArray, end: NDArray) -> tuple[NDArray, NDArray]:
    """First and last piece (within the context) that share a character with ``begin .. end`` of each example (N,)."""
    begins, ends = contexts.offsets[:, 0], contexts.offsets[:, 1]  # type: ignore[index]
    row = np.repeat(np.arange(len(contexts.bounds) - 1), contexts.lengths)
    width = int(ends.max(initial=0)) + int(max(end.max(initial=0), 0)) + 2
    base = contexts.rows * width
    # Offsets grow within a context, and the contexts follow one another: one sorted key serves all of them.
    start_keys, end_keys = (np.maximum.accumulate(row * width + column) for column in (begins, ends))
    first = np.searchsorted(end_keys, base + begin, side="right")
    last = np.searchsorted(start_keys, base + end, side="left") - 1
    return first - contexts.bounds[contexts.rows], last - contexts.bounds[contexts.rows]


def positions(
    targets: Targets, owner: NDArray, starts: NDArray, sizes: NDArray, begin: NDArray
) -> tuple[NDArray, NDArray]:
    """Start and end position in each window's sequence (S,); 0 without the whole answer, -100 if it is unknown."""
    first, last = targets.first[owner], targets.last[owner]
    inside = (first >= starts) & (last < starts + sizes) & (first >= 0)
    other = np.where(first == IGNORED, IGNORED, 0)
    return np.where(inside, first - starts + begin, other), np.where(inside, last - starts + begin, other)
