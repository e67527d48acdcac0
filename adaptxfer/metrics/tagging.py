"""One tag per word: token accuracy, and F1 over chunks of bare tags (POS) or of IOB2 entities (NER)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adaptxfer.errors import data_error
from adaptxfer.metrics.counts import Counts, check_aligned, precision_recall_f1, share

Tags = Sequence[str]
Chunk = tuple[str, int, int]
Counter = Callable[[Tags, Tags], Counts]


def token_accuracy(gold: Sequence[Tags], predicted: Sequence[Tags]) -> float:
    """Share of right tags over the words of all sentences, in points.

    Raises:
        AdaptxferError: if a sentence has another number of predicted than of gold tags, or there is no word.
    """
    _check(gold, predicted)
    pairs = [pair for sentence in zip(gold, predicted, strict=True) for pair in zip(*sentence, strict=True)]
    return share(sum(right == guess for right, guess in pairs), len(pairs))


def find_chunks(tags: Tags, label_of: Callable[[str], str]) -> set[Chunk]:
    """Chunks of one sentence as (label, first, last), read leniently by the rules of the CoNLL script.

    The first letter of a tag is its position (B, I, E, S; O is outside, as is "."), whatever the tag is. A chunk ends
    before a word when its last word was E or S, when B, S or O follows B or I, or when the label changes; it starts
    with B or S, with E or I after E, S or O, or when the label changes. So bare UPOS tags form runs of equal tags,
    except those that begin with S, which stay single.
    """
    chunks: set[Chunk] = set()
    first, before, label_before = 0, "O", "O"
    for i, tag in enumerate((*tags, "O")):
        if not tag:
            raise data_error(f"Tag {i} of a sentence is empty.", "Give every word a tag.")
        position, label = tag[0], label_of(tag)
        changed = label != label_before
        if before in "ES" or (before in "BI" and position in "BSO") or (before not in "O." and changed):
            chunks.add((label_before, first, i - 1))
        if position in "BS" or (before in "ESO" and position in "EI") or (position not in "O." and changed):
            first = i
        before, label_before = position, label
    return chunks


def chunk_counts(gold: Tags, predicted: Tags) -> Counts:
    """Counts for one sentence, chunks read as seqeval 0.0.12 reads bare tags: the label follows the last dash."""
    return _counts(gold, predicted, lambda tag: tag.rsplit("-", 1)[-1])


def entity_counts(gold: Tags, predicted: Tags) -> Counts:
    """Counts for one sentence, entities read as seqeval's default mode does: the label follows the first dash."""
    return _counts(gold, predicted, lambda tag: tag[1:].split("-", 1)[-1] or "_")


def chunk_f1(gold: Sequence[Tags], predicted: Sequence[Tags]) -> dict[str, float]:
    """The "F1" of XTREME's POS: micro precision, recall, f1 in points, and tp, predicted, gold, n (sentences).

    Raises:
        AdaptxferError: as ``token_accuracy``, or if a tag is empty.
    """
    return _micro(gold, predicted, chunk_counts)


def entity_f1(gold: Sequence[Tags], predicted: Sequence[Tags]) -> dict[str, float]:
    """Micro F1 over entities, where an I- without its B- starts one too; keys and errors as ``chunk_f1``."""
    return _micro(gold, predicted, entity_counts)


def pos_scores(gold: Sequence[Tags], predicted: Sequence[Tags]) -> dict[str, float]:
    """``accuracy`` (the main number), ``chunk_`` precision, recall, f1, tp, predicted, gold, then ``tokens`` and ``n``.

    Raises:
        AdaptxferError: as ``chunk_f1``.
    """
    chunks = {f"chunk_{key}": value for key, value in chunk_f1(gold, predicted).items() if key != "n"}
    return {"accuracy": token_accuracy(gold, predicted), **chunks, "tokens": sum(map(len, gold)), "n": len(gold)}


def _micro(gold: Sequence[Tags], predicted: Sequence[Tags], count: Counter) -> dict[str, float]:
    _check(gold, predicted)
    per_sentence = [count(right, guess) for right, guess in zip(gold, predicted, strict=True)]
    totals = Counts(*(sum(column) for column in zip(*per_sentence, strict=True)))
    return {**precision_recall_f1(totals), "n": len(gold)}


def _counts(gold: Tags, predicted: Tags, label_of: Callable[[str], str]) -> Counts:
    right, found = find_chunks(gold, label_of), find_chunks(predicted, label_of)
    return Counts(len(right & found), len(found), len(right))


def _check(gold: Sequence[Tags], predicted: Sequence[Tags]) -> None:
    check_aligned(gold, predicted, "sentences")
    for i, (right, guess) in enumerate(zip(gold, predicted, strict=True)):
        if len(right) != len(guess):
            raise data_error(
                f"Sentence {i} has {len(right)} gold tags and {len(guess)} predicted ones.", "Predict every word once."
            )
    if not any(len(tags) for tags in gold):
        raise data_error("None of the sentences has a word.", "Check the split, the language and the limit.")
