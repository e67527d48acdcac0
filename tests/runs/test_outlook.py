from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.runs.cost import SPEEDS, Costs, fitting
from adaptxfer.runs.engines.budget import Budget
from adaptxfer.runs.engines.job import attempt, stage_of
from adaptxfer.runs.outlook import BEYOND, outlook_document, outlook_views
from adaptxfer.runs.run import Run
from adaptxfer.runs.survey import Survey
from adaptxfer.runs.train import run_training
from tests.runs.plans import PLAN


def node_of(grid, label: str):
    return next(node for node in grid.nodes if node.label.startswith(label))


def test_tokens_are_those_that_training_counts(grid_of) -> None:
    grid = grid_of(PLAN.replace("evaluations = 1", "evaluations = 1\ndev_limit = 1\nbatch_size = 4"))
    node = node_of(grid, "intermediate weather")
    run = Run(run_training(stage_of(node, {})).folder)
    estimate = Costs(Survey(grid)).of(node).tokens
    assert estimate == pytest.approx(run.manifest["training"]["tokens"], rel=0.15)


def test_scoring_reads_every_language(grid_of) -> None:
    grid = grid_of()
    few = grid_of(PLAN.replace("layer = 1", 'layer = 1\nlanguages = ["de"]'))
    label = "evaluate weather, no intermediate"
    whole, part = (Costs(Survey(g)).of(node_of(g, label)) for g in (grid, few))
    assert whole.tokens == pytest.approx(3 * part.tokens, rel=0.1) and part.tokens > 0
    assert part.gib < Costs(Survey(grid)).of(node_of(grid, "target weather, no intermediate")).gib


def test_hours_are_guessed_for_a_card_until_something_was_measured(grid_of) -> None:
    grid = grid_of()
    node = node_of(grid, "target weather, no intermediate")
    guess = Costs(Survey(grid)).of(node)
    slow, middle, fast = guess.hours
    assert guess.basis == "H200" and middle / fast == pytest.approx(SPEEDS[2] / SPEEDS[1]) and slow > middle
    outcome = attempt(node_of(grid, "intermediate weather"), {})
    training = Run(node.ask.runs / outcome.run).manifest["training"]
    costs = Costs(Survey(grid))
    told = costs.of(node)
    assert told.basis == "measured"
    assert told.hours[1] == pytest.approx(told.tokens / (training["tokens"] / training["seconds"]) / 3600)
    assert any("the median of runs here" in line for line in costs.assumptions())


def test_what_is_not_here_is_guessed_or_left_open(grid_of) -> None:
    away = replace(node_of(grid_of(), "target weather").ask, model="FacebookAI/xlm-roberta-large", data_dir=None)
    text = PLAN.replace('"MODEL"', '"FacebookAI/xlm-roberta-large"').replace("max_steps = 2", "max_steps = 100")
    document = outlook_document(Survey(grid_of(text, base=replace(away, max_steps=None))))
    module = next(item for item in document["stages"] if item["kind"] == "intermediate")
    assert module["memory_gib"] > 8 and module["tokens"] > 100 * 4 * 50 and module["hours"] > 0
    assert "guessed by kind" in " ".join(document["assumptions"])


def test_the_budget_cuts_the_tail(grid_of) -> None:
    survey = Survey(grid_of())
    whole = outlook_document(survey, Budget())
    trainings = [item for item in whole["stages"] if item["kind"] != "evaluate"]
    document = outlook_document(survey, Budget({"steps": 5}))
    left = [item for item in document["stages"] if item["kind"] != "evaluate" and item["state"] != BEYOND]
    assert [item["stage"] for item in left] == [item["stage"] for item in trainings[:3]], "two steps each"
    assert "will probably not reach" in outlook_views(document)[0].caption
    for item in document["stages"]:
        if item["kind"] == "evaluate" and item["state"] != BEYOND:
            assert not {trainings[n]["stage"] for n in range(3, len(trainings))} & set(item["parents"])


def test_cards() -> None:
    assert list(fitting(22.0).values()) == [False, False, True, True, True]
    assert not any(fitting(200.0).values())
