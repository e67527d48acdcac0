"""What lies ahead of a grid, for ``--dry-run``: its stages with states and costs, which cards they fit, the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adaptxfer.console import Cell, Table
from adaptxfer.runs.cost import Cost, Costs, fitting
from adaptxfer.runs.engines.budget import UNITS, Budget
from adaptxfer.runs.grid import Node
from adaptxfer.runs.settings import model_name
from adaptxfer.runs.survey import Survey

BEYOND = "beyond the budget"


def outlook_document(survey: Survey, budget: Budget | None = None) -> dict[str, Any]:
    """The plan as JSON: counts, every stage with state, parents and costs, set-ups with the cards that hold them."""
    grid, costs = survey.grid, Costs(survey)
    labels = {node.key: node.label for node in grid.nodes}
    stages = [_stage(node, survey, costs.of(node), labels) for node in grid.nodes]
    if budget and budget.limits:
        _cut(stages, survey, budget)
    return {
        "schema": 1, "grid": grid.name, "counts": _counts(stages), "left_out": list(grid.left_out),
        "budget": dict(budget.limits) if budget else {}, "stages": stages, "setups": _setups(survey, costs),
        "assumptions": costs.assumptions(),
    }  # fmt: skip


def _stage(node: Node, survey: Survey, cost: Cost, labels: Mapping[str, str]) -> dict[str, Any]:
    state = survey.states[node.key]
    low, middle, high = cost.hours or (None, None, None)
    return {
        "stage": node.label, "kind": node.kind, "seed": node.seed, "state": state.status,
        "problem": state.problem or None, "run": state.run if state.finished else None, "steps": survey.steps(node),
        "tokens": cost.tokens, "memory_gib": cost.gib, "hours": middle, "hours_range": cost.hours and [high, low],
        "hours_from": cost.basis or None, "parents": [labels[key] for key in node.parents],
    }  # fmt: skip


def _cut(stages: Sequence[dict[str, Any]], survey: Survey, budget: Budget) -> None:
    """Mark the trainings that the budget will probably not reach, and what builds on them."""
    for state, node in zip(survey.states.values(), survey.grid.nodes, strict=True):
        if state.finished:
            budget.add(node.ask.runs / state.run)
    gone: set[str] = set()
    for stage in stages:
        if stage["state"] == "finished":
            continue
        trains = stage["kind"] != "evaluate"
        if gone.intersection(stage["parents"]) or (trains and budget.used_up()):
            stage["state"] = BEYOND
            gone.add(stage["stage"])
            continue
        for unit in UNITS if trains else ("hours",):
            budget.spent[unit] += stage[unit] or 0


def _counts(stages: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Stages in all and finished ones, by kind."""
    kinds: dict[str, dict[str, int]] = {kind: {"stages": 0, "finished": 0} for kind in _kinds(stages)}
    for stage in stages:
        kinds[stage["kind"]]["stages"] += 1
        kinds[stage["kind"]]["finished"] += stage["state"] == "finished"
    return kinds


def _kinds(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    present = {stage["kind"] for stage in stages}
    return [kind for kind in ("intermediate", "target", "evaluate") if kind in present]


def _setups(survey: Survey, costs: Costs) -> list[dict[str, Any]]:
    """What is trained in which way: the largest of each kind, with the cards that hold it."""
    found: dict[tuple[str, str, str], tuple[float, Node]] = {}
    for node in survey.grid.nodes:
        how = (node.wish.how if node.wish else None) or "none"
        key, gib = (model_name(node.ask.model), node.ask.method, how), costs.of(node).gib
        if node.kind != "evaluate" and gib is not None and gib > found.get(key, (0.0, node))[0]:
            found[key] = gib, node
    return [_setup(key, gib, costs, node) for key, (gib, node) in found.items()]


def _setup(key: tuple[str, str, str], gib: float, costs: Costs, node: Node) -> dict[str, Any]:
    sizes = costs.sizes(node)
    assert sizes is not None  # else its memory were not known
    model, method, how = key
    weights = {"weights": sizes.total, "weights_training": sizes.training}
    return {"model": model, "method": method, "how": how, **weights, "memory_gib": gib, "fits": fitting(gib)}


def outlook_views(document: Mapping[str, Any]) -> Sequence[Table | str]:
    """The plan for people: a sum by kind, every stage in the order of work, what fits where, what cannot start."""
    stages = document["stages"]
    columns = ["stages", "in all", "finished", "to do", "steps to do", "tokens to do", "time to do"]
    rows = [_sums(kind, stages, count) for kind, count in document["counts"].items()]
    left = [f"Left out: {what}." for what in document["left_out"]]
    problems = dict.fromkeys(item["problem"] for item in stages if item["problem"])
    return [
        Table(f"Grid {document['grid']}", columns, rows, "\n".join([*left, *_unknown(stages), *_ends(document)])),
        _listed(stages),
        *([_fits(document["setups"])] if document["setups"] else []),
        "\n".join(document["assumptions"]),
        *(f"Cannot start: {problem}" for problem in problems),
    ]


def _listed(stages: Sequence[Mapping[str, Any]]) -> Table:
    columns = ["", "stage", "state", *((name, "right") for name in ("steps", "tokens", "GiB", "time"))]
    rows: list[Sequence[Cell]] = [
        [number, item["stage"], item["state"], item["steps"], _millions(item["tokens"]), item["memory_gib"],
         _hours(item["hours"])]
        for number, item in enumerate(stages, 1)
    ]  # fmt: skip
    return Table("Stages in order", columns, rows, "Long texts add some steps.")


def _fits(setups: Sequence[Mapping[str, Any]]) -> Table:
    cards = list(setups[0]["fits"])
    columns = ["training", "weights", "that train", "GiB", *(f"fits {card}" for card in cards)]
    rows: list[Sequence[Cell]] = [
        [f"{item['model']}, {item['method']}, {item['how']}", item["weights"], item["weights_training"],
         item["memory_gib"], *(item["fits"][card] for card in cards)]
        for item in setups
    ]  # fmt: skip
    return Table("Which cards hold it", columns, rows, "With a tenth to spare. --batch-tokens makes it smaller.")


def _sums(kind: str, stages: Sequence[Mapping[str, Any]], number: Mapping[str, int]) -> Sequence[Cell]:
    left = [item for item in stages if item["kind"] == kind and item["state"] not in ("finished", BEYOND)]
    steps, tokens, hours = (sum(item[key] or 0 for item in left) for key in ("steps", "tokens", "hours"))
    trains = kind != "evaluate"
    return [
        kind, number["stages"], number["finished"], len(left), steps if trains else None, _millions(tokens),
        _hours(hours) if any(item["hours"] is not None for item in left) else None,
    ]  # fmt: skip


def _unknown(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence about stages that are not in the sums."""
    number = sum(item["tokens"] is None for item in stages)
    return [f"What {number:,} stages take is not known: their data is not here."] if number else []


def _ends(document: Mapping[str, Any]) -> list[str]:
    """Where the budget ends."""
    number = sum(item["state"] == BEYOND for item in document["stages"])
    limits = " and ".join(f"{limit:,g} {name}" for name, limit in document["budget"].items())
    return [f"The budget of {limits} will probably not reach {number:,} stages."] if number else []


def _millions(tokens: int | None) -> str | None:
    return None if tokens is None else f"{tokens / 1e6:,.2f} M"


def _hours(hours: float | None) -> str | None:
    if hours is None:
        return None
    if hours >= 0.1:
        return f"{hours:,.2f} h"
    return f"{60 * hours:.1f} min" if hours >= 0.01 else f"{3600 * hours:.1f} s"
