"""What the stages of a grid will cost, before anything runs: tokens, memory and hours, with what was assumed.

Tokens come from a sample of the data where it is here. Work is counted as 2 FLOP per weight and token and pass plus
attention, with two passes' worth for a frozen base, three for full fine-tuning and one for scoring. It becomes hours
by the speed of finished runs of the same base model and method, or without any by three guesses for one H200.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.amounts import Amounts
from adaptxfer.runs.grid import Node
from adaptxfer.runs.settings import MODULE_OPTIONS, model_name
from adaptxfer.runs.sizes import Sizes, config_of, count_sizes, memory_gib
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.survey import Survey

PASSES = {"frozen": 2, "full": 3, "evaluate": 1}
"""Forward passes' worth of work per token: without gradients of frozen weights, with them, without any gradient."""

SPEEDS = (80e12, 180e12, 300e12)
"""FLOP/s that one H200 may reach on XLM-R Large: pessimistic, middle, optimistic. Guesses, never measured."""

CARDS = (16, 24, 40, 80, 139)
"""Memory of usual cards in GiB; the last is an H200's."""


@dataclass(frozen=True)
class Cost:
    """What one stage takes; None is not known. ``hours`` are pessimistic, middle, optimistic (measured: all alike)."""

    tokens: int | None = None
    gib: float | None = None
    hours: tuple[float, float, float] | None = None
    basis: str = ""


class Costs:
    """Costs of the nodes of a survey; what several share is worked out once."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.amounts = Amounts(survey)
        self.of_recipe: dict[str, Cost] = {}
        self._sizes: dict[tuple[Any, ...], Sizes | None] = {}

    def of(self, node: Node) -> Cost:
        """The cost of one stage, whatever of it is done already."""
        if node.recipe not in self.of_recipe:
            try:
                self.of_recipe[node.recipe] = self._cost(node)
            except AdaptxferError:  # the survey says what is wrong
                self.of_recipe[node.recipe] = Cost()
        return self.of_recipe[node.recipe]

    def _cost(self, node: Node) -> Cost:
        tokens, length = self.amounts.of(node)
        sizes = self.sizes(node)
        if sizes is None:
            return Cost(tokens)
        settings = self.survey.settings(node)
        batch, how = settings["batch_tokens"], node.wish.how if node.wish else None
        kept = "fuse" if how == "fuse" else node.ask.method
        gib = memory_gib(sizes.total, sizes.training, sizes.layers, sizes.width, kept, batch, settings["precision"])
        if node.kind == "evaluate":
            gib = round(sizes.total * 4 / 2**30, 2)
        if tokens is None:
            return Cost(None, gib)
        passes = PASSES["evaluate" if node.kind == "evaluate" else "full" if node.ask.method == "full" else "frozen"]
        work = passes * tokens * (2 * sizes.body + 4 * length * sizes.width * sizes.layers)
        if speed := self.measured.get((model_name(node.ask.model), node.ask.method)):
            trained = PASSES["full" if node.ask.method == "full" else "frozen"]
            hours = tokens * passes / trained / speed / 3600
            return Cost(tokens, gib, (hours, hours, hours), "measured")
        slow, middle, fast = (work / speed / 3600 for speed in SPEEDS)
        return Cost(tokens, gib, (slow, middle, fast), "H200")

    @cached_property
    def measured(self) -> dict[tuple[str, str], float]:
        """Training tokens per second by base model and method: the median of the finished runs here."""
        found: dict[tuple[str, str], list[float]] = {}
        for root in {node.ask.runs for node in self.survey.grid.nodes}:
            for run in RunStore(root).find_finished():
                training = run.manifest.get("training") or {}
                if training.get("seconds") and training.get("tokens"):
                    key = (run.manifest["base_model"].get("id", ""), run.asked("method"))
                    found.setdefault(key, []).append(training["tokens"] / training["seconds"])
        return {key: median(speeds) for key, speeds in found.items()}

    def sizes(self, node: Node) -> Sizes | None:
        """The sizes of the stage's model; None if its configuration is not to be had."""
        ask, how = node.ask, node.wish.how or "none" if node.wish else "none"
        parts = len(node.modules) if how in ("stack", "fuse") else 0
        given = {name: getattr(ask, name) for name in MODULE_OPTIONS[ask.method] if getattr(ask, name) is not None}
        own = bool(node.wish and node.wish.own_module)
        key = (ask.model, ask.revision, ask.method, how, parts, own, tuple(given.items()))
        if key not in self._sizes:
            try:
                self._sizes[key] = count_sizes(config_of(ask.model, ask.revision), ask.method, how, parts, own, given)
            except AdaptxferError:
                self._sizes[key] = None
        return self._sizes[key]

    def assumptions(self) -> list[str]:
        """What the figures rest on, in sentences."""
        costs = list(self.of_recipe.values())
        assumed = self.amounts.assumed()
        said = ["All figures are estimates; memory: weights in fp32 and what the backward pass keeps, without heads."]
        for (model, method), speed in self.measured.items():
            if any(cost.basis == "measured" for cost in costs):
                said.append(f"Hours of {model} with {method}: {speed:,.0f} training tokens/s, the median of runs here.")
        if any(cost.basis == "H200" for cost in costs):
            low, middle, high = (round(speed / 1e12) for speed in SPEEDS)
            said.append(f"Hours on one H200 at {middle} TFLOP/s (range: {low} to {high}), which nobody measured.")
        if assumed:
            said.append(f"Lengths of texts were guessed by kind of task, since no data is here: {', '.join(assumed)}.")
        return said


def fitting(gib: float) -> Mapping[str, bool]:
    """Which usual cards hold so much; a tenth is left for what no estimate sees."""
    return {f"{card} GiB": gib <= 0.9 * card for card in CARDS}
