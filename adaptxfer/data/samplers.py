"""Which task, or which language, comes next in multi-task training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from adaptxfer.errors import nearest, use_error
from adaptxfer.files import derived_seed

CAP = 131_072
"""Examples beyond 2^17 do not make a task more frequent (the T5 way of mixing)."""

RULES = ("proportional", "capped", "sqrt", "temperature", "uniform")


def probabilities(sizes: Sequence[int], rule: str = "capped", cap: int = CAP, temperature: float = 2.0) -> NDArray:
    """How likely each task is drawn, float64 with sum 1.

    Args:
        sizes: training examples of each task.
        rule: ``proportional`` n, ``capped`` min(n, cap), ``sqrt`` of n, ``temperature`` min(n, cap)^(1/temperature),
            ``uniform``.
        cap: for capped and temperature.
        temperature: 1 is capped, large values come near uniform.

    Raises:
        AdaptxferError: for an unknown rule, a size, cap or temperature that is not positive.
    """
    counts = np.asarray(sizes, np.float64)
    if rule not in RULES:
        raise use_error(f"There is no mixing rule {rule!r}.", nearest(rule, RULES))
    if not len(counts) or min(*counts, cap, temperature) <= 0:
        raise use_error("Mixing needs tasks with at least one example, and a positive cap and temperature.")
    capped = np.minimum(counts, cap)
    weights = {
        "proportional": counts,
        "capped": capped,
        "sqrt": np.sqrt(counts),
        "temperature": capped ** (1 / temperature),
        "uniform": np.ones_like(counts),
    }[rule]
    return weights / weights.sum()


def schedule(chances: NDArray, total_steps: int, seed: int) -> NDArray:
    """The task of every optimiser step (total_steps,) int64, drawn independently; the same for the same arguments.

    Args:
        chances: probability of each task, as `probabilities` gives them.
        total_steps: optimiser steps.
        seed: of the run or stage.
    """
    random = np.random.default_rng(derived_seed(seed, "tasks"))
    return random.choice(len(chances), size=total_steps, p=chances)


def language_weights(sizes: Mapping[str, int], power: float = 0.3) -> dict[str, float]:
    """Share of each language in masked-language-model batches, proportional to n^power (0.3 as in XLM-R)."""
    counts = np.array(list(sizes.values()), np.float64) ** power
    return dict(zip(sizes, (counts / counts.sum()).tolist(), strict=True))
