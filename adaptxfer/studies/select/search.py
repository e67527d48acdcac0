"""Successive halving over intermediate tasks: short trainings on the target decide who gets longer ones.

Jamieson and Talwalkar (2016): every round has an equal share of the budget, the better half goes on. "No intermediate"
takes part like the others. What counts is the English dev score, which says little about small differences elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from adaptxfer.console import console
from adaptxfer.errors import TRAINING, AdaptxferError, use_error
from adaptxfer.modules.bundle import Bundle
from adaptxfer.runs.amounts import Amounts
from adaptxfer.runs.plan import is_trained, plan_target
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.stage import TrainStage
from adaptxfer.runs.train import run_training
from adaptxfer.runs.transfer import default_how
from adaptxfer.studies.table import NONE
from adaptxfer.tasks.spec import TaskSpec

LEAST_STEPS = 10
"""Fewer steps of training tell nothing."""


@dataclass(frozen=True)
class Round:
    """How many candidates train for how many steps; ``tokens`` is an estimate for all of them."""

    candidates: int
    steps: int
    tokens: int


@dataclass(frozen=True)
class Tried:
    """One candidate in one round; ``score`` is its English dev score in points, None if its training failed."""

    round: int
    intermediate: str
    bundle: str
    score: float | None
    steps: int
    tokens: int
    stays: bool


@dataclass(frozen=True)
class Search:
    """What a search would do, and on what.

    Attributes:
        task: target task.
        bundles: the candidates besides none.
        ask: everything else that is asked for.
        seed: of all trainings.
        rounds: first to last.
    """

    task: TaskSpec
    bundles: tuple[Bundle, ...]
    ask: Ask
    seed: int
    rounds: tuple[Round, ...]

    def stage(self, bundle: Bundle | None, steps: int) -> TrainStage:
        """The training of one candidate."""
        ask = replace(self.ask, max_steps=steps, on_chance=self.ask.on_chance or "warn")
        how = "none" if bundle is None else default_how(ask.method, 1)
        return plan_target(self.task, ask, self.seed, how, [bundle] if bundle else [], False)

    def run(self) -> Iterator[Tried]:
        """Train round by round; what was trained before is not trained again.

        Yields:
            the candidates of each round, best first.
        """
        left: list[Bundle | None] = [None, *self.bundles]
        for number, plan in enumerate(self.rounds, 1):
            found = [(bundle, *self._score(bundle, plan.steps)) for bundle in left]
            # a tie goes to none, then to whoever was named first
            order = sorted(range(len(found)), key=lambda i: (-_value(found[i][1]), i))
            left = [found[i][0] for i in order[: (len(order) + 1) // 2]]
            for place, i in enumerate(order):
                bundle, score, tokens = found[i]
                name, folder = (bundle.called(), bundle.folder.name) if bundle else (NONE, "")
                yield Tried(number, name, folder, score, plan.steps, tokens, place < len(left))

    def _score(self, bundle: Bundle | None, steps: int) -> tuple[float | None, int]:
        """English dev score and tokens of one training."""
        try:
            manifest = Run(run_training(self.stage(bundle, steps)).folder).manifest
        except AdaptxferError as error:
            if error.code != TRAINING:
                raise
            console().warn(f"{bundle.folder.name if bundle else NONE}: {error.message}")
            return None, 0
        (scores,) = manifest["dev"].values()
        return float(scores[scores["main"]]), int(manifest["training"]["tokens"])


def plan_search(task: TaskSpec, bundles: Sequence[Bundle], ask: Ask, seed: int, budget: float) -> Search:
    """Share a budget of training tokens among rounds and candidates; nothing is loaded or trained.

    Raises:
        AdaptxferError: if the task is not trained, there is no candidate, or the budget is too small.
    """
    if not is_trained(task):
        raise use_error(f"{task.name} is not trained.", "Score the modules: adaptxfer transfer --to.")
    if not bundles:
        raise use_error("There is no intermediate bundle to try.", "Train some: adaptxfer train-intermediate TASK.")
    search = Search(task, tuple(bundles), ask, seed, ())
    stages = [search.stage(bundle, LEAST_STEPS) for bundle in (None, *bundles)]
    return replace(search, rounds=tuple(share_out(len(stages), budget, step_tokens(stages[0]))))


def step_tokens(stage: TrainStage) -> float:
    """Tokens of one optimiser step, from the first training examples (or by kind of task where there are none)."""
    length = stage.settings["max_length"]
    texts = Amounts(None).texts(stage.sources[0], "train", "en", stage.ask, length)  # type: ignore[arg-type]
    return texts.per_unit * stage.settings["batch_size"]


def share_out(candidates: int, budget: float, per_step: float) -> list[Round]:
    """Rounds of halving candidates that share a budget of tokens alike.

    Raises:
        AdaptxferError: if that leaves fewer than ``LEAST_STEPS`` steps for a candidate; names the least budget.
    """
    counts = [candidates]
    while (counts[-1] + 1) // 2 > 1:
        counts.append((counts[-1] + 1) // 2)
    each = budget / len(counts)
    steps = [int(each / (count * per_step)) for count in counts]
    if min(steps) < LEAST_STEPS:
        least = LEAST_STEPS * max(counts) * per_step * len(counts)
        raise use_error(
            f"A budget of {budget:,.0f} tokens leaves {min(steps)} steps for each of {candidates} candidates.",
            f"{LEAST_STEPS} steps are the least, which takes --budget {least:.2g} or more; or name fewer with --from.",
        )
    return [Round(n, s, round(n * s * per_step)) for n, s in zip(counts, steps, strict=True)]


def _value(score: float | None) -> float:
    return float("-inf") if score is None else score
