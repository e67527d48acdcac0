"""Study generalise on planted worlds, and how its tasks are found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.generalise import (
    Split,
    choice,
    generalise_study,
    mean_gain,
    split_gains,
    split_tasks,
)
from adaptxfer.studies.stats.correlation import rank_transfer
from adaptxfer.studies.table import RecordTable, Row
from adaptxfer.studies.worlds import changed, simulate

KNOWN, NEW = [f"t{k:02d}" for k in range(1, 10)], [f"h{k:02d}" for k in range(1, 6)]


def tau(transfer: float, seed: int, **planted: object) -> float:
    table = simulate("transfer", seed, changed("transfer", transfer=transfer, languages=1, **planted)).table
    split = split_gains(table, KNOWN, NEW)
    return rank_transfer(split.before.mean(0), split.after, 200).value


def test_a_ranking_carries_over_or_not_or_is_reversed() -> None:
    quiet = {"by_target": 0.05, "by_language": 0.0, "seed_sd": 0.05, "noise_sd": 0.0}
    assert tau(1.0, 1, **quiet) > 0.85 and tau(-1.0, 1, **quiet) < -0.85
    assert abs(np.mean([tau(0.0, seed) for seed in range(30)])) < 0.15


def test_tau_is_that_of_kendall() -> None:
    from scipy import stats

    one, other = np.random.default_rng(3).normal(size=(2, 12)).round(1)  # with ties
    found = rank_transfer(one, other[None], 2000)
    reference = stats.kendalltau(one, other)
    assert found.value == pytest.approx(reference.statistic)
    assert found.p == pytest.approx(reference.pvalue, abs=0.05) and found.n_units == 12
    assert math.isnan(rank_transfer(one[:2], other[None, :2]).p)


def test_the_mean_gain_has_two_kinds_of_samples() -> None:
    gains = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    found = mean_gain(gains)
    assert found.value == 2.5 and found.n_units == 2
    assert found.error == pytest.approx(math.sqrt(1 / 3 + 0.5 / 2))
    assert math.isnan(mean_gain(gains[:1]).p)


def test_a_choice_by_luck() -> None:
    after = np.array([[3.0, 1.0, 2.0]])
    split = Split(("a", "b", "c"), ("t",), ("h",), np.array([[0.0, 0.1, 5.0]]), after)
    found = choice(split)
    assert found.value == 0 and found.p == pytest.approx(2 / 3) and found.n_units == 3


def test_claims_of_a_world_that_carries_over() -> None:
    table = simulate("transfer", 2, changed("transfer", intermediates=24, transfer=1.0, effect=2.0)).table
    report = generalise_study(table, KNOWN, NEW, permutations=500, resamples=100)
    gain, ranks, picked, ahead = report.claims
    assert [c.verdict for c in report.claims] == ["supported"] * 4
    assert (gain.unit, ranks.unit, picked.estimate.n_units) == ("held-out tasks", "intermediates", 24)
    assert math.isnan(ahead.estimate.p) and ahead.estimate.low > 0
    assert {"ranks", "gains", "languages-h01"} <= report.plots.keys()
    regrets = {row[0]: float(str(row[2])) for row in report.views[1].rows}
    assert regrets["oracle"] == 0 < regrets["random (expected)"]


def test_few_of_everything_only_describe() -> None:
    table = simulate("transfer", 2, changed("transfer", intermediates=4, held_out=2)).table
    report = generalise_study(table, KNOWN, NEW[:2], permutations=100, resamples=100)
    assert [c.verdict for c in report.claims] == ["descriptive"] * 4
    assert "3 held-out tasks" in report.claims[0].why and "7 intermediates" in report.claims[1].why


def test_suites_and_tasks() -> None:
    names = ("xnli", "tatoeba", "xcopa", "udpos_xr", "lareqa", "flores200")
    table = RecordTable(tuple(Row(name, "en", "accuracy", 50.0, 1) for name in names))
    known, new = split_tasks(table, ["xtreme"], ["xtreme-r", "flores"])
    assert known == ["xnli", "tatoeba"] and new == ["xcopa", "lareqa", "flores200"]  # udpos_xr is not new
    assert split_tasks(table, ["xnli"], ["lareqa"]) == (["xnli"], ["lareqa"])
    with pytest.raises(AdaptxferError, match="neither a suite nor a task"):
        split_tasks(table, ["xtreem"], ["xcopa"])
    with pytest.raises(AdaptxferError, match="no task of tatoeba"):
        split_tasks(table, ["xtreme"], ["tatoeba"])
