"""How hard examples are for a model, and tasks made to tell why an intermediate task helps: numbers and texts alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from random import Random

import numpy as np

REPLACED = 0.3
"""Share of the words of a fake text that are from other texts."""
LEAST_WORDS = 6


def v_information(probabilities: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Pointwise V-information of each example in bits: how much its input tells the model of its label.

    log2 p(label | input) - log2 p(label), as Ethayarajh et al. (2022); a model that sees no input converges to the
    shares of the labels, so these stand for it. Low or negative values are hard examples.

    Args:
        probabilities: of the labels given the input (N, K).
        gold: right label of each example (N,).
    """
    shares = np.bincount(gold, minlength=probabilities.shape[1]) / len(gold)
    given = np.maximum(probabilities[np.arange(len(gold)), gold], 1e-12)
    return np.log2(given) - np.log2(shares[gold])


def easy_and_hard(values: np.ndarray, groups: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Places of the easier and the harder half, in rising order; of each group, such as a label, equally many in both.

    Args:
        values: high ones are easy (N,).
        groups: of the examples (N,); the middle one of an odd group is in neither half.
    """
    easy: list[int] = []
    hard: list[int] = []
    for group in dict.fromkeys(groups):
        places = [k for k, name in enumerate(groups) if name == group]
        order = sorted(places, key=lambda k: values[k])
        half = len(order) // 2
        hard += order[:half]
        easy += order[len(order) - half :]
    return np.array(sorted(easy), int), np.array(sorted(hard), int)


def real_and_fake(texts: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """Texts with ``real`` or ``fake``, half of each: in a fake one three words of ten are from other texts.

    Telling them apart takes knowledge of the language and of nothing that the task teaches. Words come as often as they
    do in the texts; texts of fewer than six words are left out.

    Args:
        texts: of any task.
        seed: of the lot.
    """
    random = Random(seed)
    long = [text for text in dict.fromkeys(texts) if len(text.split()) >= LEAST_WORDS]
    pool = [word for text in long for word in text.split()]
    faked = set(random.sample(range(len(long)), len(long) // 2))
    return [(_faked(text, pool, random), "fake") if k in faked else (text, "real") for k, text in enumerate(long)]


def _faked(text: str, pool: Sequence[str], random: Random) -> str:
    words = text.split()
    for place in random.sample(range(len(words)), max(1, round(REPLACED * len(words)))):
        words[place] = random.choice(pool)
    return " ".join(words)
