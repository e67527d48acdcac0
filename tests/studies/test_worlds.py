from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.answers import mean_gains, metric_across, metric_within, own_scores, scale_slope, slice_shift
from adaptxfer.studies.collect import read_table
from adaptxfer.studies.items import load_items
from adaptxfer.studies.power import QUESTIONS, power, wilson
from adaptxfer.studies.worlds import EASY, HARD, REFERENCE, SHIFTED, WORLDS, changed, save, simulate

SMALL = {"cluster": {"clusters": 8, "languages": 1}, "interaction": {"languages": 4}}


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_makes_a_table(name: str, tmp_path: Path) -> None:
    made = simulate(name, 1, changed(name, **SMALL.get(name, {})))
    assert made.table.statuses() == ("simulated",) and made.truth
    again = simulate(name, 1, changed(name, **SMALL.get(name, {})))
    assert again.table.rows == made.table.rows
    found = read_table(save(made, tmp_path / "w"))
    assert len(found.rows) == len(made.table.rows)
    assert [row.value for row in found.rows] == [row.value for row in made.table.rows]
    with_items = [row for row in found.rows if row.items]
    assert all(load_items(row) is not None for row in with_items[:5])


def test_unknown_world() -> None:
    with pytest.raises(AdaptxferError, match="positve"):
        simulate("positve", 0)


def test_simpson_reverses_the_sign() -> None:
    made = simulate("simpson", 5)
    own, gains = own_scores(made.table), mean_gains(made.table)
    pooled = stats.spearmanr([own[k] for k in own], [np.mean(list(gains[k].values())) for k in own])
    assert pooled.statistic < -0.3 < 0.2 < metric_within(made.table).value


def test_interaction_changes_rankings_between_languages() -> None:
    def agreement(strength: float) -> float:
        made = simulate("interaction", 2, changed("interaction", interaction=strength, languages=12))
        rows = [r for r in made.table.rows if r.study == "" and r.target_task == "t01" and r.target_seed == 1]
        names, codes = sorted({r.intermediate for r in rows} - {"none"}), sorted({r.language for r in rows})
        table = {(r.intermediate, r.language): r.value for r in rows}
        gains = np.array([[table[n, c] - table["none", c] for c in codes] for n in names])
        return float(stats.spearmanr(gains)[0].min())

    assert agreement(0.0) > 0 > -0.5 > agreement(4.0)


def rate(study: str, repetitions: int, **planted) -> tuple[float, float]:
    found = power(study, changed(QUESTIONS[study].world, **planted), repetitions)
    return found.found, found.false_alarms


def test_metric_across_intermediates() -> None:
    found, alarms = rate("metric", 60, rho=0.95, intermediates=15)
    assert found > 0.8 and alarms <= 0.15


def test_metric_within_intermediates() -> None:
    found, alarms = rate("within", 40, rho=0.6, targets=2, languages=1)
    assert found > 0.85 and alarms <= 0.175


def test_slope_over_sizes() -> None:
    found, alarms = rate("scale", 100, slope=2.5, ladders=("xlmr", "mt5"))
    assert found > 0.9 and alarms <= 0.13


def test_difference_between_slices() -> None:
    found, alarms = rate("domain", 40, shift=6.0, clusters=40, languages=1)
    assert found > 0.6 and alarms <= 0.175


def test_ranks_on_held_out_tasks() -> None:
    found, alarms = rate("generalise", 40, transfer=0.98, intermediates=15, languages=1, targets=6)
    assert found > 0.8 and alarms <= 0.175


def test_choice_that_looks_at_languages() -> None:
    found, alarms = rate("diversity", 12, interaction=2.0, intermediates=6, languages=24, targets=2)
    assert found > 0.6 and alarms <= 0.25


def test_naive_items_understate_the_shift() -> None:
    """Without the clusters the interval is narrower than it may be."""
    made = simulate("cluster", 4, changed("cluster", cluster_sd=20.0, clusters=40))

    def single(row):
        items = made.items_of(row)
        return type(items)(items.ids, items.ids, items.above, items.below)

    honest, naive = (
        slice_shift(made.table, "i01", "t01", (SHIFTED, REFERENCE), load, 500) for load in (made.items_of, single)
    )
    assert honest.value == pytest.approx(naive.value)
    assert honest.half_width > 1.3 * naive.half_width
    assert (honest.n_units, naive.n_units) == (40, 400)


def test_answers_say_what_is_missing() -> None:
    made = simulate("scaling", 0)
    with pytest.raises(AdaptxferError, match="No base model"):
        scale_slope(made.table, HARD, "other")
    with pytest.raises(AdaptxferError, match="three"):
        metric_across(made.table)
    with pytest.raises(AdaptxferError, match="no rows of slice"):
        slice_shift(made.table, HARD, "t01", (SHIFTED, REFERENCE), made.items_of)
    assert scale_slope(made.table, HARD, EASY).n_units == 4


def test_wilson() -> None:
    reference = stats.binomtest(7, 40).proportion_ci(method="wilson")
    assert wilson(7, 40) == pytest.approx((reference.low, reference.high), abs=1e-6)
