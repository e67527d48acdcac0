"""Features: the examples of one kind as a few flat arrays, ready to be cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptxfer.errors import data_error, nearest, use_error
from adaptxfer.tasks.examples import Example

VERSION = 1
"""Part of every cache key: raise it whenever the same examples give other features."""

IGNORED = -100
"""Target of whatever has none; the losses skip it."""

ALIGNED = {
    "classify": {"label": "sequence"},
    "choose": {"label": "unit"},
    "tag": {"label": "token", "word": "token"},
    "span": {
        "start": "sequence",
        "end": "sequence",
        "context_start": "sequence",
        "context_end": "sequence",
        "offset": "token",
    },
    "retrieve": {"side": "sequence"},
    "mlm": {},
}
"""What each target of a kind has one entry for."""


@dataclass(frozen=True, eq=False)
class Features:
    """Tokenised examples of one kind; T tokens in S sequences in U units.

    Attributes:
        kind: one of ``ALIGNED``.
        ids: (T,) int32, special tokens included, no padding.
        bounds: (S+1,) int64 borders of the sequences in ``ids``.
        units: (U+1,) int64 borders of the units in the sequences. Batching never parts a unit: all choices of a
            choose example, else one sequence.
        example: (S,) int32, the example each sequence came from.
        size: number of examples that were given, those without a sequence included.
        targets: arrays aligned as ``ALIGNED`` says. ``label`` is -100 where there is none; ``word`` is the word's
            number on its first piece, else -1; ``start`` and ``end`` are positions in the sequence, 0 if the whole
            answer is not in it; ``context_start`` and ``context_end`` are the first and last + 1 context position;
            ``offset`` (T, 2) holds code points of the context, -1 elsewhere; ``side`` is 0 query, 1 candidate.
        notes: what was cut, dropped or replaced, by name.
    """

    kind: str
    ids: NDArray
    bounds: NDArray
    units: NDArray
    example: NDArray
    size: int
    targets: dict[str, NDArray] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of units."""
        return len(self.units) - 1

    @cached_property
    def lengths(self) -> NDArray:
        """Tokens of each sequence (S,)."""
        return np.diff(self.bounds)

    @cached_property
    def unit_lengths(self) -> NDArray:
        """Tokens of the longest sequence of each unit (U,)."""
        return np.maximum.reduceat(self.lengths, self.units[:-1]) if len(self) else np.zeros(0, np.int64)

    @cached_property
    def unit_example(self) -> NDArray:
        """The example of each unit (U,)."""
        return self.example[self.units[:-1]]

    def counts(self) -> dict[str, int]:
        """Examples, units, sequences and tokens, followed by the notes."""
        sizes = {"examples": self.size, "units": len(self), "sequences": len(self.example), "tokens": len(self.ids)}
        return sizes | self.notes


def build_features(
    kind: str,
    examples: Sequence[Example],
    tokenizer: Any,
    text: Any,
    labels: Sequence[str] = (),
    training: bool = False,
    max_length: int | None = None,
) -> Features:
    """Tokenise examples of one kind.

    Args:
        kind: classify, choose, tag, span or retrieve.
        examples: in normal form.
        tokenizer: a fast ``transformers`` tokenizer.
        text: anything with ``max_length`` and, for span, ``max_question`` and ``stride`` (the step between windows, as
            in the original scripts); for classify and retrieve also ``side``, the end that loses pieces when a text is
            too long. Choose always loses its start.
        labels: the task's labels in order (classify, tag).
        training: drop (and count) examples that have no target.
        max_length: overrides ``text.max_length``; neither goes beyond what the tokenizer says its model takes.

    Raises:
        AdaptxferError: unknown kind, a label outside ``labels``, or a ``max_length`` that leaves no room.
    """
    from adaptxfer.data import pairs, tags, windows

    builders = {
        "classify": pairs.classify,
        "choose": pairs.choose,
        "retrieve": pairs.retrieve,
        "tag": tags.tag,
        "span": windows.span,
    }
    if kind not in builders:
        raise use_error(f"There are no features of kind {kind!r}.", nearest(kind, builders))
    limit = min(max_length or text.max_length, tokenizer.model_max_length)
    if limit < 8:
        raise use_error(f"A max_length of {limit} leaves no room for text.", "Use 8 or more.")
    return builders[kind](examples, tokenizer, text, tuple(labels), training, limit)


def label_numbers(names: Sequence[str | None], labels: Sequence[str]) -> NDArray:
    """Labels as int64 by name, -100 for None.

    Raises:
        AdaptxferError: for a name that is not among ``labels``.
    """
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(labels)}
    numbers[None] = IGNORED
    try:
        return np.fromiter(map(numbers.__getitem__, names), np.int64, len(names))
    except KeyError as error:
        unknown = error.args[0]
        raise data_error(
            f"The data has the label {unknown!r}, which is not one of the task's {len(labels)} labels.",
            nearest(str(unknown), labels) if len(labels) < 40 else "Is this the right label list?",
        ) from None


def make_features(
    kind: str,
    ids: NDArray,
    bounds: NDArray,
    example: NDArray,
    size: int,
    targets: dict[str, NDArray],
    notes: dict[str, int],
    units: NDArray | None = None,
) -> Features:
    """``Features`` with the usual types; one sequence per unit if ``units`` is None; empty notes left out."""
    units = np.arange(len(bounds), dtype=np.int64) if units is None else units
    notes = {name: count for name, count in notes.items() if count}
    return Features(kind, ids, bounds, units, example.astype(np.int32), size, targets, notes)
