from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.pairs import SELECTOR
from adaptxfer.studies.selection import evaluate_selectors, ndcg, regret
from adaptxfer.studies.table import RecordTable, Row
from adaptxfer.studies.worlds import changed, simulate

GAINS = {"a": 3.0, "b": 1.0, "c": -1.0, "none": 0.0}


def test_regret_and_ranking_by_hand() -> None:
    assert regret({"a": 0.2, "b": 0.9}, GAINS) == 2.0
    assert ndcg(GAINS, GAINS) == 1.0
    # relevance 4, 2, 0, 1; chosen b, a, none; best a, b, none
    assert ndcg({"b": 3, "a": 2, "none": 1, "c": 0}, GAINS) == pytest.approx(
        (2 + 4 / 1.58496 + 0.5) / (4 + 2 / 1.58496 + 0.5)
    )
    assert ndcg({"a": 1, "b": 0}, {"a": 1.0, "b": 1.0}) == 1.0


def found(world: str, **planted) -> dict:
    table = simulate(world, 1, changed(world, **planted)).table
    return {score.name: score for score in evaluate_selectors(table, "i01")}


def test_selectors_in_a_world_with_levels() -> None:
    scores = found("positive", rho=1.0, between=2.0, by_target=0.3)
    assert scores["oracle"].regret == 0 and scores["oracle"].ndcg == 1
    assert scores["mean elsewhere"].regret < 0.5 < scores["random"].regret < scores["none"].regret
    assert scores["own score"].regret < 1.0
    assert scores["always i01"].ndcg is None and scores["none"].harm == 0
    assert all(score.n_units == 9 for score in scores.values())


def test_nothing_is_learnt_where_targets_differ_alone() -> None:
    scores = found("positive", rho=0.0, between=0.01, by_target=3.0, effect=0.0, intermediates=20)
    assert scores["mean elsewhere"].regret > 0.5 * scores["random"].regret


def test_selectors_stored_in_the_table() -> None:
    made = simulate("positive", 2, changed("positive", intermediates=4))
    said = [
        Row(target, "en", "logme", gain, 0, name, "simulated", study=SELECTOR)
        for (name, target), gain in made.gains.items()
    ]
    table = RecordTable((*made.table.rows, *said))
    scores = {score.name: score for score in evaluate_selectors(table)}
    assert scores["logme"].regret < 0.3 and scores["logme"].ndcg > 0.9
    backwards = RecordTable((*made.table.rows, *(replace(row, value=-row.value) for row in said)))
    assert {s.name: s for s in evaluate_selectors(backwards)}["logme"].regret > 1


def test_one_target_is_not_enough() -> None:
    with pytest.raises(AdaptxferError, match="two targets"):
        evaluate_selectors(simulate("positive", 1, changed("positive", targets=1)).table)
