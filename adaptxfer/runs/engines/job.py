"""One stage of a grid, carried out: the same function on every engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from adaptxfer.errors import INTERRUPTED, AdaptxferError
from adaptxfer.modules.bundle import read_bundle
from adaptxfer.runs.evaluate import run_evaluation
from adaptxfer.runs.grid import Node
from adaptxfer.runs.lock import is_held
from adaptxfer.runs.plan import plan_intermediate
from adaptxfer.runs.stage import EvaluateStage, TrainStage
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.train import run_training
from adaptxfer.runs.transfer import plan_transfer

UNFORESEEN = 70
"""Exit code of an error nobody foresaw."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a stage ended.

    Attributes:
        state: finished, failed, interrupted, busy (another process has it) or lost (its process died).
        run: the run folder's name, if finished.
        error: what went wrong, and its exit code ``code``.
        again: whether another attempt may end otherwise.
    """

    state: str
    run: str = ""
    seconds: float = 0.0
    error: str = ""
    code: int = 0
    again: bool = False


INTERRUPTION = Outcome("interrupted", error="it was asked to stop", code=INTERRUPTED, again=True)


def lost(why: str) -> Outcome:
    """The outcome of a stage whose process died."""
    return Outcome("lost", error=f"its process ended ({why})", code=UNFORESEEN, again=True)


def attempt(node: Node, places: Mapping[str, str]) -> Outcome:
    """Carry out a node whose parents lie in the run folders ``places``; every error becomes an outcome."""
    begun = time.monotonic()
    outcome = _attempt(node, places)
    return replace(outcome, seconds=round(time.monotonic() - begun, 3))


def _attempt(node: Node, places: Mapping[str, str]) -> Outcome:
    try:
        stage = stage_of(node, places)
        try:
            return Outcome("finished", carry_out(stage))
        except AdaptxferError:
            if is_held(RunStore(node.ask.runs).folder(stage.kind, stage.name, stage.hash)):
                return Outcome("busy")
            raise
    except KeyboardInterrupt:
        return INTERRUPTION
    except AdaptxferError as error:
        return INTERRUPTION if error.code == INTERRUPTED else Outcome("failed", error=str(error), code=error.code)
    except Exception as error:  # out of memory, a full disk: the next attempt may go well
        return Outcome("failed", error=f"Unexpected {type(error).__name__}: {error}", code=UNFORESEEN, again=True)


def stage_of(node: Node, places: Mapping[str, str]) -> TrainStage | EvaluateStage:
    """The stage that a node is, now that its parents are there.

    Raises:
        AdaptxferError: for data, models or parents that cannot be used.
    """
    if node.wish is None:
        return plan_intermediate(node.names, node.ask, node.seed, node.mixture)
    bundles = tuple(node.ask.runs / places[key] for key in node.modules)
    plan = plan_transfer(replace(node.wish, bundles=bundles), node.ask, node.seed)
    if node.kind == "target" and plan.training is not None:
        return plan.training
    return plan.evaluation(read_bundle(node.ask.runs / places[node.training]) if node.training else None)


def carry_out(stage: TrainStage | EvaluateStage) -> str:
    """Train or evaluate; the name of the run folder."""
    if isinstance(stage, TrainStage):
        return run_training(stage).folder.name
    return run_evaluation(stage).name
