"""Features of sentences in words: a tag stands on its word's first piece; long sentences become several sequences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptxfer.data.features import IGNORED, Features, label_numbers, make_features
from adaptxfer.data.pieces import special_tokens, tokenise
from adaptxfer.data.ragged import borders, constant, join_parts, ranges
from adaptxfer.errors import data_error
from adaptxfer.tasks.examples import TagExample

MAX_PIECES = 125
"""XTREME replaces a word of more pieces by the unknown token, so that it still has a place for its tag."""

SPECIAL = 3
"""Special tokens XTREME leaves room for; ours are two, but keeping its number keeps its chunk borders."""


def tag(
    examples: Sequence[TagExample], tokenizer: Any, text: Any, labels: tuple, training: bool, max_length: int
) -> Features:
    """One or more sequences per sentence; every word is in exactly one. Arguments as in ``build_features``."""
    chosen = np.array([i for i, row in enumerate(examples) if row.tags is not None or not training], np.int64)
    rows = [examples[index] for index in chosen.tolist()]
    tags = [row.tags if row.tags is not None else (None,) * len(row.words) for row in rows]
    for row, names in zip(rows, tags, strict=True):
        if len(names) != len(row.words):
            raise data_error(f"Sentence {row.id} has {len(row.words)} words and {len(names)} tags.")
    number = label_numbers(list(chain.from_iterable(tags)), labels)
    words = list(chain.from_iterable(row.words for row in rows))
    sentences = borders(np.array([len(row.words) for row in rows], np.int64))
    room = max_length - SPECIAL
    source, starts, sizes, unknown = word_pieces(tokenizer, words, min(MAX_PIECES, room))
    chunks, owner = split(sentences, sizes, room)
    ids, bounds, first = lay_out(tokenizer, source, starts, sizes, chunks)
    label, word = np.full(len(ids), IGNORED, np.int64), np.full(len(ids), -1, np.int32)
    label[first] = number
    word[first] = ranges(np.zeros(len(rows), np.int64), np.diff(sentences))
    notes = {
        "unknown_words": unknown,
        "sentences_split": int(np.sum(np.bincount(owner, minlength=1) > 1)),
        "unlabelled_dropped": len(examples) - len(rows),
    }
    return make_features("tag", ids, bounds, chosen[owner], len(examples), {"label": label, "word": word}, notes)


def word_pieces(tokenizer: Any, words: list[str], limit: int) -> tuple[NDArray, NDArray, NDArray, int]:
    """Pieces of each word, tokenised by itself.

    Returns:
        a flat source of ids; where in it each word starts; how many pieces it has, 1 to ``limit``; and how many words
        had none or more and became the unknown token, which is the last id of the source.
    """
    pieces = tokenise(tokenizer, words)
    source = np.append(pieces.ids, np.int32(tokenizer.unk_token_id))
    sizes = pieces.lengths[pieces.rows]
    unknown = (sizes == 0) | (sizes > limit)
    starts = np.where(unknown, len(source) - 1, pieces.bounds[pieces.rows])
    return source, starts, np.where(unknown, 1, sizes), int(unknown.sum())


def split(sentences: NDArray, sizes: NDArray, room: int) -> tuple[NDArray, NDArray]:
    """Cut sentences of more than ``room`` pieces where the next word would not fit, without overlap.

    Args:
        sentences: (N+1,) borders in words.
        sizes: (W,) pieces of each word.
        room: pieces a chunk can hold.

    Returns:
        borders of the chunks in words (S+1), and the sentence of each chunk (S,).
    """
    before = borders(sizes)
    starts, owners = [sentences[:-1]], [np.arange(len(sentences) - 1)]
    for sentence in np.flatnonzero(before[sentences[1:]] - before[sentences[:-1]] > room):
        start, end, cuts = sentences[sentence], sentences[sentence + 1], []
        while before[end] - before[start] > room:
            start = np.searchsorted(before, before[start] + room, side="right") - 1
            cuts.append(start)
        starts.append(np.array(cuts, np.int64))
        owners.append(np.full(len(cuts), sentence))
    flat, owner = np.concatenate(starts), np.concatenate(owners)
    order = np.lexsort((flat, owner))
    return np.append(flat[order], sentences[-1]), owner[order]


def lay_out(
    tokenizer: Any, source: NDArray, starts: NDArray, sizes: NDArray, chunks: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """``<s> words </s>`` for each chunk: ids (T,), bounds (S+1,) and the position of each word's first piece (W,)."""
    template, count = special_tokens(tokenizer), len(chunks) - 1
    flat, before = source[ranges(starts, sizes)], borders(sizes)
    content = before[chunks]
    ids, bounds, places = join_parts(
        [
            constant(template.prefix, count),
            (flat, content[:-1], np.diff(content)),
            constant(template.single_end, count),
        ]
    )
    first = before[:-1] + np.repeat(places[:, 1] - content[:-1], np.diff(chunks))
    return ids, bounds, first
