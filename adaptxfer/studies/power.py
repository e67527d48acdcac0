"""How often a study of a given size would find what is planted, by simulation with the study's own procedure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from adaptxfer.errors import nearest, use_error
from adaptxfer.files import derived_seed
from adaptxfer.studies.answers import metric_across, metric_within, scale_slope, slice_shift
from adaptxfer.studies.diversity import advantage
from adaptxfer.studies.gain import gain_matrix
from adaptxfer.studies.generalise import split_gains
from adaptxfer.studies.pairs import APART
from adaptxfer.studies.selectors import ALL, BLIND, gain_cells, left_out
from adaptxfer.studies.stats.correlation import rank_transfer
from adaptxfer.studies.stats.estimate import ALPHA, Estimate
from adaptxfer.studies.worlds import EASY, HARD, REFERENCE, SHIFTED, Simulation, World, simulate

RESAMPLES = 1000
"""Permutations and bootstrap draws within one repetition."""


@dataclass(frozen=True)
class Question:
    """One thing to find.

    Args:
        world: the simulated world it lives in.
        planted: the field of ``World`` that holds the truth.
        unit: what ``n_units`` counts.
        answer: the procedure.
    """

    world: str
    planted: str
    unit: str
    answer: Callable[[Simulation], Estimate]


def _gain(simulation: Simulation) -> Estimate:
    """The first intermediate's mean over targets, with Holm's correction over all of them in ``p``."""
    first = gain_matrix(simulation.table, RESAMPLES, items_of=simulation.items_of).overall[0]
    return replace(first.estimate, p=first.p_adjusted)


def _ranks(simulation: Simulation) -> Estimate:
    """How far the ranking on the benchmark carries over to held-out tasks."""
    targets = list(dict.fromkeys(row.target_task for row in simulation.table.rows if row.study not in APART))
    sides = [[name for name in targets if name.startswith(start)] for start in ("t", "h")]
    split = split_gains(simulation.table, *sides)
    return rank_transfer(split.before.mean(0), split.after, RESAMPLES)


def _diversity(simulation: Simulation) -> Estimate:
    """What looking at languages adds to the choice for languages left out."""
    cells = gain_cells(simulation.table, simulation.features)
    one, other = (left_out(cells, name, "lolo") for name in (ALL, BLIND))
    return advantage(cells, one, other, np.ones(len(cells.gains), bool), {})[0]


QUESTIONS: Mapping[str, Question] = {
    "gain": Question("null", "effect", "seeds", _gain),
    "metric": Question("positive", "rho", "intermediates", lambda s: metric_across(s.table, RESAMPLES)),
    "within": Question("simpson", "rho", "intermediates", lambda s: metric_within(s.table)),
    "scale": Question(
        "scaling", "slope", "model sizes",
        lambda s: scale_slope(s.table, HARD, EASY, lambda name: name.split("-")[0]),
    ),
    "generalise": Question("transfer", "transfer", "intermediates", _ranks),
    "diversity": Question("interaction", "interaction", "languages", _diversity),
    "domain": Question(
        "cluster", "shift", "clusters",
        lambda s: slice_shift(s.table, "i01", "t01", (SHIFTED, REFERENCE), s.items_of, RESAMPLES),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Power:
    """How a study would end.

    Args:
        study: one of ``QUESTIONS``.
        planted: the truth.
        found: share of repetitions with p <= 5 % and the right sign.
        low: lower end of the 95 % interval of ``found`` (Wilson), for the repetitions are finite.
        high: upper end.
        false_alarms: share with p <= 5 % where nothing is planted.
        half_width: mean half length of the 95 % interval of the estimate, where it has one.
        n_units: units of replication of each study.
        unit: what they are.
        repetitions: simulated studies.
    """

    study: str
    planted: float
    found: float
    low: float
    high: float
    false_alarms: float
    half_width: float
    n_units: int
    unit: str
    repetitions: int


def power(study: str, world: World, repetitions: int = 400, seed: int = 0) -> Power:
    """Simulate a study many times, with the truth as planted and without.

    Args:
        study: one of ``QUESTIONS``.
        world: sizes, spreads and the planted truth.
        repetitions: simulated studies of each kind.
        seed: of the simulations.

    Raises:
        AdaptxferError: if there is no such study.
    """
    if study not in QUESTIONS:
        raise use_error(f"There is no power calculation for {study!r}.", nearest(study, QUESTIONS))
    question = QUESTIONS[study]
    truth = getattr(world, question.planted)
    answers = _answers(question, world, repetitions, seed)
    nothing = _answers(question, replace(world, **{question.planted: 0.0}), repetitions, seed + 1)
    hits = sum(answer.p <= ALPHA and answer.value * truth > 0 for answer in answers)
    widths = [answer.half_width for answer in answers if not math.isnan(answer.half_width)]
    return Power(
        study, truth, hits / repetitions, *wilson(hits, repetitions),
        sum(answer.p <= ALPHA for answer in nothing) / repetitions,
        sum(widths) / len(widths) if widths else math.nan, answers[0].n_units, question.unit, repetitions,
    )  # fmt: skip


def _answers(question: Question, world: World, repetitions: int, seed: int) -> list[Estimate]:
    seeds = (derived_seed(seed, question.world, str(number)) for number in range(repetitions))
    return [question.answer(simulate(question.world, one, world)) for one in seeds]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z, share = 1.959964, hits / n
    middle, reach = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - reach) / (1 + z * z / n)), min(1.0, (middle + reach) / (1 + z * z / n))
