"""Local workers that train several stages at a time over one encoder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from adaptxfer.errors import INTERRUPTED, AdaptxferError
from adaptxfer.runs.engines.local import LocalEngine

if TYPE_CHECKING:
    from adaptxfer.runs.engines.job import Outcome
    from adaptxfer.runs.grid import Node

Job = tuple["Node", Mapping[str, str]]


class TogetherEngine(LocalEngine):
    """As `LocalEngine`, but trainings of one base model and method that are ready together are shared out evenly.

    Args:
        workers: processes.
        gpus: as for `LocalEngine`.
        together: how many stages a worker trains at a time.
    """

    def __init__(self, workers: int, gpus: Sequence[str], together: int) -> None:
        super().__init__(workers, gpus)
        self._together = together
        self._queued: list[Job] = []
        self._groups: dict[str, list[str]] = {}

    def has_room(self) -> bool:
        """Whether another stage may join what goes out next."""
        return len(self._queued) < self._together * self.idle()

    def submit(self, node: Node, places: Mapping[str, str]) -> None:
        """Put the stage among those that go out next."""
        self._queued.append((node, dict(places)))

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """Hand out what was submitted, then outcomes as of `LocalEngine`."""
        while self._queued and self.idle():
            self._hand_out()
        return [pair for key, found in super().wait(seconds) for pair in self._apart(key, found)]

    def _hand_out(self) -> None:
        """Give an idle worker the most urgent stage, with its share of those like it."""
        first = self._queued[0]
        alike = [job for job in self._queued if job is first or _shares(job[0], first[0])]
        chosen = alike[: min(self._together, math.ceil(len(alike) / self.idle()))]
        self._queued = [job for job in self._queued if job not in chosen]
        self._groups[first[0].key] = [node.key for node, _ in chosen]
        self.give(first[0].key, partial(attempt_together, chosen))

    def _apart(self, key: str, found: Outcome | list[Outcome]) -> Iterator[tuple[str, Outcome]]:
        """The outcome of every member; a worker that died has one for all of them."""
        members = self._groups.pop(key)
        outcomes = found if isinstance(found, list) else [found] * len(members)
        return zip(members, outcomes, strict=True)

    def interrupt(self) -> None:
        """As of `LocalEngine`; what has not gone out stays."""
        self._queued.clear()
        super().interrupt()


def _shares(one: Node, other: Node) -> bool:
    """Whether two stages can be trained over one encoder."""
    if "evaluate" in (one.kind, other.kind) or one.ask.method == "full":
        return False
    names = ("model", "revision", "method", "base_precision", "precision", "kernels", "runs")
    return all(getattr(one.ask, name) == getattr(other.ask, name) for name in names)


def attempt_together(jobs: Sequence[Job]) -> list[Outcome]:
    """Carry out nodes at once, as `adaptxfer.runs.engines.job.attempt` carries out one.

    Where that is not possible, for want of memory too, one after the other.
    """
    from adaptxfer.runs.engines.job import INTERRUPTION, attempt

    begun = time.monotonic()
    if len(jobs) == 1:
        return [attempt(*jobs[0])]
    try:
        found = _attempt_together(jobs)
    except KeyboardInterrupt:
        return [INTERRUPTION] * len(jobs)
    except Exception as error:
        if isinstance(error, AdaptxferError) and error.code == INTERRUPTED:
            return [INTERRUPTION] * len(jobs)
        return [attempt(*job) for job in jobs]
    seconds = round((time.monotonic() - begun) / len(jobs), 3)
    return [replace(outcome, seconds=seconds) for outcome in found]


def _attempt_together(jobs: Sequence[Job]) -> list[Outcome]:
    from adaptxfer.runs.engines.job import Outcome, stage_of
    from adaptxfer.runs.lock import is_held
    from adaptxfer.runs.stage import TrainStage
    from adaptxfer.runs.together import run_together

    stages = [stage for stage in (stage_of(*job) for job in jobs) if isinstance(stage, TrainStage)]
    if len(stages) < len(jobs):
        raise TypeError("only trainings can be carried out together")
    found = []
    for stage, outcome in zip(stages, run_together(stages), strict=True):
        if not isinstance(outcome, AdaptxferError):
            found.append(Outcome("finished", outcome.folder.name))
        elif is_held(stage.ask.runs / stage.folder):
            found.append(Outcome("busy"))
        else:
            found.append(Outcome("failed", error=str(outcome), code=outcome.code))
    return found
