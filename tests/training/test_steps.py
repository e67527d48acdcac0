"""Which examples each step sees."""

from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.errors import DATA, AdaptxferError
from adaptxfer.training import Steps, TaskData, TrainingOptions
from adaptxfer.training.steps import single_task
from tests.training.toy import toy


def seen(steps, number, tokens=10_000):
    """The examples of one step."""
    return np.concatenate([batch.examples for batch in steps.at(number, tokens)[1]])


def test_an_epoch_takes_every_example_once_and_epochs_differ():
    steps = single_task(TaskData("goal", toy(units=22), 4, 1), TrainingOptions(1e-3, epochs=2, batch_size=4))
    assert len(steps) == 12
    first, second = (np.concatenate([seen(steps, 6 * epoch + number) for number in range(6)]) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(22))
    assert first.tolist() != second.tolist()


def test_a_step_depends_on_its_number_alone():
    options = TrainingOptions(1e-3, max_steps=14, batch_size=4)
    forward, backward = (single_task(TaskData("goal", toy(), 4, 1), options) for _ in range(2))
    one = [seen(forward, number).tolist() for number in range(14)]
    two = [seen(backward, number).tolist() for number in reversed(range(14))][::-1]
    assert one == two


def test_batch_tokens_cuts_without_losing_or_reordering_the_set():
    steps = single_task(TaskData("goal", toy("choose"), 8, 1), TrainingOptions(1e-3, batch_size=8))
    task, parts = steps.at(0, 60)
    assert task == "goal" and len(parts) > 1
    assert sorted(np.concatenate([part.examples for part in parts])) == sorted(seen(steps, 0))
    assert all(part.padded_tokens <= 60 or len(part) == 1 for part in parts)


def test_each_task_goes_through_its_own_batches():
    order = np.array([0, 1, 1, 0, 1])
    steps = Steps([TaskData("one", toy(), 4, 1), TaskData("two", toy("tag"), 4, 1)], order)
    alone = single_task(TaskData("two", toy("tag"), 4, 1), TrainingOptions(1e-3, max_steps=3, batch_size=4))
    assert [task for _, task in steps] == ["one", "two", "two", "one", "two"]
    for number, step in enumerate((1, 2, 4)):
        assert steps.at(step, 10_000)[0] == "two"
        assert seen(steps, step).tolist() == seen(alone, number).tolist()


def test_no_examples():
    with pytest.raises(AdaptxferError, match="goal has no training examples") as caught:
        TaskData("goal", toy(units=0), 4, 1)
    assert caught.value.code == DATA


def test_fractions_of_an_epoch():
    data = TaskData("goal", toy(units=20), 4, 1)
    assert len(single_task(data, TrainingOptions(1e-3, epochs=0.5, batch_size=4))) == 2
    assert len(single_task(data, TrainingOptions(1e-3, epochs=0.01, batch_size=4))) == 1
