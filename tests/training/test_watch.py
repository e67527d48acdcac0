"""Divergence and chance, step by step."""

from __future__ import annotations

import math

import pytest

from adaptxfer.errors import TRAINING, AdaptxferError
from adaptxfer.training.watch import WINDOW, Watch, check_finite


def watched(loss, steps, total=1000, chance=0.6931):
    watch = Watch(chance, total, 0.1)
    for step in range(steps):
        watch.add(step, loss)
    return watch


def test_at_chance_only_after_warmup_and_a_quarter():
    watch = watched(math.log(2), 400)
    assert watch.start == 100 + 250
    assert not watch.at_chance(349, 50.0, 50.0)
    assert watch.at_chance(350, 50.0, 50.0)
    assert Watch(1.0, 100, 0.1).start == 10 + 2 * WINDOW  # short runs are left alone


def test_a_falling_loss_or_a_good_score_is_not_chance():
    assert not watched(0.98 * math.log(2), 400).at_chance(399, 50.0, 50.0)
    watch = watched(math.log(2), 400)
    assert watch.at_chance(399, 51.0, 50.0) and not watch.at_chance(399, 51.1, 50.0)
    assert watch.at_chance(399, None, None)
    assert not watched(5.0, 400, chance=None).at_chance(399, 0.0, 50.0)


def test_only_the_last_window_counts_and_a_continued_run_remembers_it():
    watch = watched(5.0, 300)
    for step in range(WINDOW):
        watch.add(300 + step, 0.1)
    assert not watch.at_chance(399, 50.0, 50.0)
    assert len(watch.losses) == WINDOW
    again = Watch(math.log(2), 1000, 0.1, [5.0] * WINDOW)
    assert again.at_chance(399, 50.0, 50.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite(value):
    with pytest.raises(AdaptxferError, match="the loss of step 8 is") as caught:
        Watch(None, 10, 0.1).add(7, value)
    assert caught.value.code == TRAINING
    with pytest.raises(AdaptxferError, match="the gradient norm of step 1 is"):
        check_finite("gradient norm", 0, value)
