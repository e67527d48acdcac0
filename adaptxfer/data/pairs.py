"""Features of one text or a pair of texts: classify, choose and retrieve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptxfer.data.features import IGNORED, Features, label_numbers, make_features
from adaptxfer.data.pieces import special_tokens, tokenise
from adaptxfer.data.ragged import borders, constant, join_parts
from adaptxfer.errors import data_error
from adaptxfer.tasks.examples import ChooseExample, ClassifyExample, RetrieveExample


def fit(first: NDArray, second: NDArray, room: NDArray) -> tuple[NDArray, NDArray]:
    """How many pieces of each side are kept when the longer side gives up one piece at a time.

    Args:
        first: pieces of the first side (S,).
        second: pieces of the second side (S,).
        room: pieces that fit (S,).

    Returns:
        both sides' new lengths. When both are cut and ``room`` is odd, the side that was longer keeps one more, the
        second if they were equal: exactly what ``truncation="longest_first"`` of the fast tokenizers does.
    """
    over = np.maximum(first + second - room, 0)
    longer, shorter = np.maximum(first, second), np.minimum(first, second)
    both = over > longer - shorter
    longer = np.where(both, (room + 1) // 2, longer - over)
    shorter = np.where(both, room // 2, shorter)
    return np.where(first > second, longer, shorter), np.where(first > second, shorter, longer)


def join(
    tokenizer: Any, first: Sequence[str], second: Sequence[str | None], max_length: int | NDArray, side: str
) -> tuple[NDArray, NDArray, int]:
    """Sequences ``<s> A </s>`` or ``<s> A </s></s> B </s>`` of at most ``max_length`` tokens.

    Args:
        tokenizer: a fast tokenizer.
        first: A of each sequence.
        second: B of each sequence, None for a single text.
        max_length: in tokens, special ones included; one number or one per sequence (S,).
        side: "right" removes pieces from the end, "left" from the start.

    Returns:
        ids (T,), bounds (S+1), and how many sequences were cut.
    """
    template, count = special_tokens(tokenizer), len(first)
    pieces = tokenise(tokenizer, [*first, *(text or "" for text in second)])
    rows, other = pieces.rows[:count], pieces.rows[count:]
    paired = np.fromiter((text is not None for text in second), bool, count)
    size, other_size = pieces.lengths[rows], pieces.lengths[other]
    single = len(template.prefix) + len(template.single_end)
    kept, other_kept = fit(size, other_size, max_length - np.where(paired, template.pair_size, single))
    left = side == "left"
    end = np.concatenate([template.single_end, template.pair_end])
    ids, bounds, _ = join_parts(
        [
            constant(template.prefix, count),
            (pieces.ids, pieces.bounds[rows] + left * (size - kept), kept),
            (template.middle, np.zeros(count, np.int64), paired * len(template.middle)),
            (pieces.ids, pieces.bounds[other] + left * (other_size - other_kept), other_kept),
            (
                end,
                paired * len(template.single_end),
                np.where(paired, len(template.pair_end), len(template.single_end)),
            ),
        ]
    )
    return ids, bounds, int(np.sum((kept < size) | (other_kept < other_size)))


def classify(
    examples: Sequence[ClassifyExample], tokenizer: Any, text: Any, labels: tuple, training: bool, max_length: int
) -> Features:
    """One sequence per example; arguments as in ``build_features``."""
    number = label_numbers([example.label for example in examples], labels)
    chosen = np.flatnonzero(number != IGNORED) if training else np.arange(len(examples))
    rows = [examples[index] for index in chosen.tolist()]
    ids, bounds, cut = join(tokenizer, [row.first for row in rows], [row.second for row in rows], max_length, text.side)
    notes = {"truncated": cut, "unlabelled_dropped": len(examples) - len(rows)}
    return make_features("classify", ids, bounds, chosen, len(examples), {"label": number[chosen]}, notes)


def choose(
    examples: Sequence[ChooseExample], tokenizer: Any, text: Any, labels: tuple, training: bool, max_length: int
) -> Features:
    """One unit per example, one sequence per choice; pieces are removed from the start, so that endings survive."""
    for row in examples:
        if not row.choices or not 0 <= (row.label or 0) < len(row.choices):
            raise data_error(f"Row {row.id} has {len(row.choices)} choices and the label {row.label}.")
    number = np.array([IGNORED if example.label is None else example.label for example in examples], np.int64)
    chosen = np.flatnonzero(number != IGNORED) if training else np.arange(len(examples))
    rows = [examples[index] for index in chosen.tolist()]
    sizes = np.array([len(row.choices) for row in rows], np.int64)
    first = [row.context for row in rows for _ in row.choices]
    ids, bounds, cut = join(tokenizer, first, [choice for row in rows for choice in row.choices], max_length, "left")
    notes = {"truncated": cut, "unlabelled_dropped": len(examples) - len(rows)}
    units = borders(sizes)
    return make_features(
        "choose", ids, bounds, np.repeat(chosen, sizes), len(examples), {"label": number[chosen]}, notes, units
    )


def retrieve(
    examples: Sequence[RetrieveExample], tokenizer: Any, text: Any, labels: tuple, training: bool, max_length: int
) -> Features:
    """One sequence per query or candidate; a candidate's context follows it as second text."""
    side = np.array([row.side != "query" for row in examples], np.int64)
    limit: Any = max_length
    if any(row.context is not None for row in examples):  # LAReQA cuts questions shorter than paragraphs
        limit = np.where(side == 0, min(max_length, text.max_question), max_length)
    ids, bounds, cut = join(
        tokenizer, [row.text for row in examples], [row.context for row in examples], limit, text.side
    )
    return make_features("retrieve", ids, bounds, np.arange(len(side)), len(side), {"side": side}, {"truncated": cut})
