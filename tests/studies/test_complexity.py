"""Halves by difficulty and fake texts: numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.studies.complexity import easy_and_hard, real_and_fake, v_information


def test_information_by_hand() -> None:
    gold = np.array([0, 0, 0, 1])
    found = v_information(np.array([[0.75, 0.25], [1.0, 0.0], [0.375, 0.625], [0.5, 0.5]]), gold)
    assert found == pytest.approx([0, np.log2(4 / 3), -1, 1]), "0 tells nothing new, 1 bit doubles the odds of chance"


def test_a_model_that_knows_only_the_shares_has_none() -> None:
    gold = np.array([0, 1, 2, 0])
    assert v_information(np.tile([0.5, 0.25, 0.25], (4, 1)), gold) == pytest.approx(np.zeros(4))


def test_halves_have_equal_size_and_labels_and_share_nothing() -> None:
    generator = np.random.default_rng(1)
    values, labels = generator.normal(size=101), generator.choice(["a", "b", "c"], 101).tolist()
    easy, hard = easy_and_hard(values, labels)
    assert len(easy) == len(hard) and not set(easy) & set(hard) and len(easy) >= 49
    for label in "abc":
        one, other = ([k for k in half if labels[k] == label] for half in (easy, hard))
        assert len(one) == len(other) and min(values[one]) >= max(values[other])


def test_fakes_keep_their_length_and_borrow_words() -> None:
    texts = [f"{word} was seen by the river on a day in {month}" for word in "abcdefgh" for month in ("May", "June")]
    made = real_and_fake([*texts, "too short"], 3)
    assert [label for _, label in made].count("fake") == len(texts) // 2 and len(made) == len(texts)
    for (text, label), source in zip(made, texts, strict=True):
        pairs = list(zip(text.split(), source.split(), strict=True))
        assert sum(a != b for a, b in pairs) <= 3 and (label == "fake" or text == source)
    assert made == real_and_fake([*texts, "too short"], 3) != real_and_fake(texts, 4)
