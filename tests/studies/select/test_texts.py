"""Numbers about texts, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.data.features import Features
from adaptxfer.studies.select import texts


def features(kind: str, sequences: list[list[int]], labels=None) -> Features:
    bounds = np.cumsum([0, *map(len, sequences)])
    ids = np.array([word for part in sequences for word in part], np.int32)
    targets = {} if labels is None else {"label": np.array(labels)}
    n = len(sequences)
    return Features(kind, ids, bounds, np.arange(n + 1), np.arange(n, dtype=np.int32), n, targets)


def test_special_words_are_no_text() -> None:
    assert list(texts.sample(features("classify", [[0, 9, 8, 2], [0, 9, 3, 2]]))) == [9, 8, 9]
    long = features("classify", [list(range(4, 20_000))])
    assert len(texts.sample(long)) == texts.TOKENS


def test_variety_does_not_depend_on_the_length() -> None:
    assert texts.variety(np.arange(50)) == 1 and texts.variety(np.full(50, 7)) == pytest.approx(1 / 50)
    word = np.tile(np.arange(25), 40)
    assert texts.variety(word) == pytest.approx(0.25) == texts.variety(np.tile(word, 10))
    assert texts.variety(np.zeros(0, int)) == 0


def test_overlap_counts_what_is_read_not_what_is_known() -> None:
    assert texts.overlap(np.array([5, 6, 7]), np.array([5, 5, 5, 9])) == 0.75
    assert texts.overlap(np.array([5]), np.zeros(0, int)) == 0


def test_entropies() -> None:
    assert texts.entropy(np.array([1, 2, 3, 4])) == 2 and texts.entropy(np.array([1, 1])) == 0
    assert texts.label_entropy(features("classify", [[9]] * 4, [0, 0, 1, 1])) == 1
    assert texts.label_entropy(features("tag", [[9, 9], [9]], [0, -100, 1])) == 1
    assert texts.label_entropy(features("choose", [[9]], [0])) is None
    assert texts.length_entropy(features("classify", [[9] * 4, [9] * 5, [9] * 16, [9] * 17])) == 1
