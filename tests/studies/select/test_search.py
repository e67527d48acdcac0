"""Successive halving: the budget is kept, the better half goes on, and the same command trains nothing again."""

from __future__ import annotations

from itertools import pairwise

import pytest

from adaptxfer.api import make_ask, train_intermediate
from adaptxfer.errors import AdaptxferError, training_error
from adaptxfer.runs.plan import find_task
from adaptxfer.runs.store import RunStore
from adaptxfer.studies.select import search as searching
from adaptxfer.studies.select.search import Round, plan_search, share_out
from adaptxfer.studies.table import NONE
from tests.world import open_world


@pytest.fixture(scope="module")
def found(tmp_path_factory, mini_dir):
    """A world with two intermediate modules."""
    with open_world(tmp_path_factory.mktemp("search"), mini_dir) as world:
        yield world, [train_intermediate(name, **world.training) for name in ("weather", "endings")]


@pytest.mark.parametrize("candidates", [2, 3, 5, 9, 16])
@pytest.mark.parametrize("budget", [1e5, 3.3e6])
def test_a_budget_is_kept(candidates: int, budget: float) -> None:
    rounds = share_out(candidates, budget, 100.0)
    assert rounds[0].candidates == candidates and rounds[-1].candidates == 2
    assert all(b.candidates == (a.candidates + 1) // 2 and b.steps >= a.steps for a, b in pairwise(rounds))
    assert 0.8 * budget < sum(item.tokens for item in rounds) <= budget


def test_the_least_budget_is_named_and_enough() -> None:
    with pytest.raises(
        AdaptxferError, match=r"leaves 0 steps for each of 5 candidates.*--budget (\S+) or more"
    ) as caught:
        share_out(5, 1000, 100.0)
    least = float(str(caught.value).split("--budget ")[1].split(" ")[0])
    assert share_out(5, least, 100.0)[0].steps >= searching.LEAST_STEPS


def test_a_search_from_end_to_end(found, tmp_path) -> None:
    world, bundles = found
    options = {**world.options, "runs": tmp_path / "runs", "batch_size": 4, "learning_rate": 1e-3}
    search = plan_search(find_task("names", make_ask(**options), "target"), bundles, make_ask(**options), 1, 5000)
    assert [item.candidates for item in search.rounds] == [3, 2]
    tried = list(search.run())
    assert [item.round for item in tried] == [1, 1, 1, 2, 2]
    assert {item.intermediate for item in tried[:3]} == {NONE, "weather", "endings"}
    assert [item.stays for item in tried] == [True, True, False, True, False]
    for number in (1, 2):
        scores = [item.score for item in tried if item.round == number]
        assert scores == sorted(scores, reverse=True)
    spent = sum(item.tokens for item in tried)
    assert spent == sum(
        run.manifest["training"]["tokens"] for run in RunStore(tmp_path / "runs").find_finished("target")
    )
    assert 0.5 * 5000 < spent < 1.5 * 5000  # planned from the first examples
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.safetensors")}
    assert list(search.run()) == tried
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.safetensors")}


def test_ties_go_to_none_and_a_failed_training_is_out(found, monkeypatch) -> None:
    world, bundles = found
    ask = make_ask(**world.options)
    search = searching.Search(
        find_task("names", ask, "target"), tuple(bundles), ask, 1, (Round(3, 10, 0), Round(2, 20, 0))
    )
    scores = iter([(50.0, 1), (None, 0), (50.0, 1), (40.0, 1), (60.0, 1)])
    monkeypatch.setattr(searching.Search, "_score", lambda *_: next(scores))
    tried = list(search.run())
    assert [item.intermediate for item in tried] == [NONE, "endings", "weather", "endings", NONE]
    assert tried[2].score is None and not tried[2].stays


def test_a_training_that_fails_is_told_and_others_go_on(found, monkeypatch, capsys) -> None:
    world, bundles = found
    ask = make_ask(**world.options)
    search = searching.Search(find_task("names", ask, "target"), tuple(bundles), ask, 1, ())

    def fails(stage):
        raise training_error("It diverged.")

    monkeypatch.setattr(searching, "run_training", fails)
    assert search._score(bundles[0], 10) == (None, 0)
    assert "It diverged." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("to", "bundles", "told"), [("twins", 1, "is not trained"), ("names", 0, "no intermediate bundle")]
)
def test_what_cannot_be_searched(found, to, bundles, told) -> None:
    world, there = found
    ask = make_ask(**world.options)
    with pytest.raises(AdaptxferError, match=told):
        plan_search(find_task(to, ask, "target"), there[:bundles], ask, 1, 1e6)
