"""Texts to sub-word pieces: every distinct text once, all pieces in one array."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptxfer.data.ragged import borders
from adaptxfer.errors import data_error

CHUNK = 4096
SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Pieces:
    """Pieces of the distinct texts without special tokens.

    Attributes:
        ids: (N,) int32, all texts one after the other.
        bounds: (distinct + 1,) int64.
        rows: for each text asked for, its row.
        offsets: (N, 2) int32 borders in code points of the text, or None if not asked for.
    """

    ids: NDArray
    bounds: NDArray
    rows: NDArray
    offsets: NDArray | None = None

    @property
    def lengths(self) -> NDArray:
        """Number of pieces of each distinct text."""
        return np.diff(self.bounds)


@dataclass(frozen=True)
class Template:
    """The special tokens around one text (``prefix A single_end``) or a pair (``prefix A middle B pair_end``)."""

    prefix: NDArray
    middle: NDArray
    pair_end: NDArray
    single_end: NDArray

    @property
    def pair_size(self) -> int:
        """How many special tokens a pair costs."""
        return len(self.prefix) + len(self.middle) + len(self.pair_end)


def backend(tokenizer: Any) -> Any:
    """The fast tokenizer inside ``tokenizer``, told neither to cut nor to pad.

    Raises:
        AdaptxferError: if the tokenizer has no fast form.
    """
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise data_error(
            f"The tokenizer {type(tokenizer).__name__} has no fast form, which offsets and speed depend on.",
            "Use a base model whose folder holds a tokenizer.json.",
        )
    fast.no_truncation()
    fast.no_padding()
    return fast


def special_tokens(tokenizer: Any) -> Template:
    """Read the template off what the tokenizer itself does with ``a`` and with the pair ``a``, ``b``."""
    fast = backend(tokenizer)

    def cut(encoding: Any) -> list[NDArray]:
        groups: list[list[int]] = [[]]
        for token, sequence in zip(encoding.ids, encoding.sequence_ids, strict=True):
            if sequence is None:
                groups[-1].append(token)
            elif sequence == len(groups) - 1:
                groups.append([])
        return [np.array(group, np.int32) for group in groups]

    prefix, middle, pair_end = cut(fast.encode("a", "b"))
    return Template(prefix, middle, pair_end, cut(fast.encode("a"))[1])


def tokenise(tokenizer: Any, texts: Sequence[str], offsets: bool = False) -> Pieces:
    """Cut each distinct text into pieces.

    A text that stands in many examples (the context of several questions or choices, a frequent word) costs once.

    Args:
        tokenizer: a fast ``transformers`` tokenizer.
        texts: any number of texts, with repetitions.
        offsets: whether to keep the character borders of each piece.
    """
    rows = dict.fromkeys(texts)
    for row, text in enumerate(rows):
        rows[text] = row
    index = np.fromiter(map(rows.__getitem__, texts), np.int64, len(texts))
    fast, distinct = backend(tokenizer), list(rows)
    encode = fast.encode_batch if offsets else fast.encode_batch_fast
    ids, places, lengths = array("i"), array("i"), array("i")
    for start in range(0, len(distinct), CHUNK):
        for encoding in encode(encodable(distinct[start : start + CHUNK]), add_special_tokens=False):
            found = encoding.ids
            lengths.append(len(found))
            ids.extend(found)
            if offsets:
                places.extend(chain.from_iterable(encoding.offsets))
    pairs = np.array(places, np.int32).reshape(-1, 2) if offsets else None
    return Pieces(np.array(ids, np.int32), borders(np.array(lengths, np.int64)), index, pairs)


def encodable(texts: list[str]) -> list[str]:
    """The texts with lone surrogates, which UTF-8 has no bytes for, replaced one for one."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return [SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text) for text in texts]
    return texts
