"""Telling early that a run is going nowhere."""

from __future__ import annotations

import math

from adaptxfer.errors import training_error

WINDOW = 100
"""Steps over which the loss is averaged."""


class Watch:
    """Follows the loss of one run.

    Args:
        chance: the loss of a head that has learnt nothing, where it is known.
        total: optimiser steps of the run.
        warmup: share of the steps that warm up.
        losses: of the steps before, when a run continues; the watch appends to it and keeps the last ``WINDOW``.
    """

    def __init__(self, chance: float | None, total: int, warmup: float, losses: list[float] | None = None) -> None:
        self.chance = chance
        self.start = int(total * warmup) + max(2 * WINDOW, total // 4)
        self.losses = [] if losses is None else losses

    def add(self, step: int, loss: float) -> None:
        """Take the loss of a 0-based step.

        Raises:
            AdaptxferError: if it is NaN or infinite.
        """
        check_finite("loss", step, loss)
        self.losses.append(loss)
        del self.losses[:-WINDOW]

    def at_chance(self, step: int, dev_score: float | None, chance_score: float | None) -> bool:
        """Whether, well after warm-up, the loss has not left chance level and the dev score neither."""
        if self.chance is None or step < self.start or len(self.losses) < WINDOW:
            return False
        stuck = sum(self.losses) / len(self.losses) > 0.99 * self.chance
        if dev_score is None or chance_score is None:
            return stuck
        return stuck and dev_score <= chance_score + 1.0


def check_finite(what: str, step: int, value: float) -> None:
    """Refuse a loss, gradient norm or score of a 0-based step that is NaN or infinite.

    Raises:
        AdaptxferError: with the advice for a run that diverged.
    """
    if not math.isfinite(value):
        raise training_error(
            f"Training diverged: the {what} of step {step + 1} is {value}.",
            "Use a lower --learning-rate, a longer --warmup or another seed. The last checkpoint is kept.",
        )


def chance_error(step: int) -> Exception:
    """The advice for a run that stays at chance."""
    return training_error(
        f"Training is still at chance level after {step + 1} steps.",
        "Use a lower --learning-rate or another seed, or --on-chance warn to go on. The last checkpoint is kept.",
    )
