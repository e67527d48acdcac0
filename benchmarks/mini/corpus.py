"""The training text: sentences in pieces, translation pairs, held-out sentences, and batches drawn from them."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptxfer.data.pieces import Template, special_tokens, tokenise
from adaptxfer.data.ragged import borders
from adaptxfer.errors import data_error

HELD_OUT = 100
"""One sentence in so many is held out, with every line it stands in."""
LONGEST = 128
"""Pieces kept of a sentence."""
STREAM = (64, 510)
"""Shortest and longest stream of sentences of one language, in pieces: they train the later positions."""
SMOOTHING = 0.7
"""Languages and language pairs are drawn by their size to this power (Conneau and Lample 2019, section 3.1)."""


@dataclass(frozen=True)
class Corpus:
    """Distinct sentences without special tokens.

    Attributes:
        ids: (N,) int32 pieces of all sentences.
        bounds: (S+1,) where each sentence starts.
        sentences: by language, numbers of the sentences to train on.
        pairs: by language pair, (P, 2) numbers of translations of each other.
        held_out: by language, numbers of the sentences for the held-out loss.
        template: the special tokens of the tokenizer.
    """

    ids: NDArray
    bounds: NDArray
    sentences: Mapping[str, NDArray]
    pairs: Mapping[tuple[str, str], NDArray]
    held_out: Mapping[str, NDArray]
    template: Template

    def sentence(self, number: int) -> NDArray:
        """The pieces of one sentence, cut at `LONGEST`."""
        return self.ids[self.bounds[number] : min(self.bounds[number + 1], self.bounds[number] + LONGEST)]


@dataclass(frozen=True)
class Batch:
    """Sequences one after the other: those for masked words, then both sides of translation pairs.

    Attributes:
        ids: (T,) int64.
        bounds: (S+1,).
        masked: how many of the tokens are there to be masked; the rest stay as they are.
        pairs: (P, 2) numbers of the sentences of the pairs, whose sequences are the last 2P: first sides, then second.
    """

    ids: NDArray
    bounds: NDArray
    masked: int
    pairs: NDArray


def read_lines(path: Path) -> Iterator[list[str]]:
    """The fields of each line: language, sentence, and for a pair the language and sentence of its translation.

    Raises:
        AdaptxferError: if a line has another number of fields.
    """
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            fields = line.rstrip("\n").split("\t")
            if len(fields) not in (2, 4):
                raise data_error(f"{path.name} line {number} has {len(fields)} fields; expected 2 or 4.", "")
            yield fields


def is_held_out(sentence: str) -> bool:
    """Whether a sentence belongs to the held-out part: by a hash of its text alone."""
    return zlib.crc32(sentence.encode()) % HELD_OUT == 0


def load_corpus(path: Path, tokenizer: Any, held_out_alone: bool = False) -> Corpus:
    """Read and tokenise the whole text (about a minute for 60 million characters), or the held-out part alone.

    A line that contains a held-out sentence is not trained on at all, so no translation of it is seen either.
    """
    lines = [fields for fields in read_lines(path) if not held_out_alone or any(map(is_held_out, fields[1::2]))]
    texts = [text for fields in lines for text in fields[1::2]]
    pieces = tokenise(tokenizer, texts)
    number = iter(pieces.rows.tolist())
    train: dict[str, list[int]] = {}
    held: dict[str, list[int]] = {}
    pairs: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for fields in lines:
        sides = [(language, text, next(number)) for language, text in zip(fields[::2], fields[1::2], strict=True)]
        kept = not any(is_held_out(text) for _, text, _ in sides)
        for language, text, row in sides:
            if kept:
                train.setdefault(language, []).append(row)
            elif is_held_out(text):
                held.setdefault(language, []).append(row)
        if kept and len(sides) == 2:
            languages = (sides[0][0], sides[1][0])
            pairs.setdefault(languages, []).append((sides[0][2], sides[1][2]))
    return Corpus(
        pieces.ids,
        pieces.bounds,
        {language: np.unique(train[language]) for language in sorted(train)},
        {key: np.unique(np.array(pairs[key]), axis=0) for key in sorted(pairs)},
        {language: np.unique(held[language]) for language in sorted(held)},
        special_tokens(tokenizer),
    )


class Sampler:
    """Draws batches that depend on the seed and the step alone, so that a run can go on anywhere.

    Args:
        corpus: what to draw from.
        seed: of all draws.
        tokens: for masked words in a batch; half in translation pairs, 0.3 in single sentences, 0.2 in streams.
        contrast: translation pairs in a batch, 0 for none.
    """

    def __init__(self, corpus: Corpus, seed: int, tokens: int, contrast: int) -> None:
        self.corpus, self.seed, self.tokens, self.contrast = corpus, seed, tokens, contrast
        self.languages, self.language_share = _shares(corpus.sentences)
        self.groups, self.group_share = _shares(corpus.pairs)

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        draw = np.random.default_rng((self.seed, step))
        kinds = [(self._pair, 0.5), (self._single, 0.3), (self._stream, 0.2)] if self.groups else [
            (self._single, 0.6), (self._stream, 0.4)]  # fmt: skip
        sequences: list[list[NDArray]] = []
        for make, share in kinds:
            room = self.tokens * share
            while room > 0:
                sequences.append(make(draw))
                room -= sum(map(len, sequences[-1]))
        masked = sum(len(part) for parts in sequences for part in parts)
        pairs = self._contrasted(draw) if self.contrast else np.zeros((0, 2), np.int64)
        sequences += [self._framed([self.corpus.sentence(n)]) for n in pairs.T.ravel().tolist()]
        lengths = np.array([sum(map(len, parts)) for parts in sequences])
        ids = np.concatenate([part for parts in sequences for part in parts]).astype(np.int64)
        return Batch(ids, borders(lengths), masked, pairs)

    def _framed(self, sentences: Sequence[NDArray]) -> list[NDArray]:
        return [self.corpus.template.prefix, *sentences, self.corpus.template.single_end]

    def _language(self, draw: np.random.Generator) -> NDArray:
        return self.corpus.sentences[self.languages[draw.choice(len(self.languages), p=self.language_share)]]

    def _single(self, draw: np.random.Generator) -> list[NDArray]:
        return self._framed([self.corpus.sentence(int(draw.choice(self._language(draw))))])

    def _stream(self, draw: np.random.Generator) -> list[NDArray]:
        rows, room, parts = self._language(draw), draw.integers(*STREAM, endpoint=True), []
        while room > 0:
            parts.append(self.corpus.sentence(draw.choice(rows))[:room])
            room -= max(1, len(parts[-1]))
        return self._framed(parts)

    def _pair(self, draw: np.random.Generator) -> list[NDArray]:
        pairs = self.corpus.pairs[self.groups[draw.choice(len(self.groups), p=self.group_share)]]
        sides = pairs[draw.integers(len(pairs))]
        first, second = (self.corpus.sentence(n) for n in (sides if draw.random() < 0.5 else sides[::-1]))
        template = self.corpus.template
        return [template.prefix, first, template.middle, second, template.pair_end]

    def _contrasted(self, draw: np.random.Generator) -> NDArray:
        """Pairs of a few language pairs: each finds many wrong candidates in its own languages."""
        found = []
        for chosen in draw.choice(len(self.groups), size=4, p=self.group_share):
            pairs = self.corpus.pairs[self.groups[chosen]]
            found.append(pairs[draw.choice(len(pairs), min(len(pairs), self.contrast // 4), replace=False)])
        return np.concatenate(found)


def _shares(sizes: Mapping[Any, NDArray]) -> tuple[list[Any], NDArray]:
    weights = np.array([len(rows) for rows in sizes.values()], float) ** SMOOTHING
    return list(sizes), weights / weights.sum()
