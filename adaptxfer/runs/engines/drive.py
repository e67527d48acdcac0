"""Carrying out a grid on an engine: stages go out, outcomes come in, and the user sees where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self

from adaptxfer.console import console
from adaptxfer.errors import INTERRUPTED, AdaptxferError
from adaptxfer.runs.engines.events import Reporter
from adaptxfer.runs.engines.schedule import Schedule

if TYPE_CHECKING:
    from adaptxfer.runs.engines.job import Outcome
    from adaptxfer.runs.grid import Node

TICK = 0.5
"""Seconds between two looks at engines that only answer when asked."""


class Engine(Protocol):
    """Where stages are carried out; a context manager that leaves nothing behind."""

    def __enter__(self) -> Self:
        """Get ready."""
        ...

    def __exit__(self, *error: object) -> None:
        """End whatever still runs."""
        ...

    def has_room(self) -> bool:
        """Whether another stage may be handed over."""
        ...

    def working(self) -> int:
        """How many stages are under way."""
        ...

    def submit(self, node: Node, places: Mapping[str, str]) -> None:
        """Start a stage; its outcome comes through ``wait``."""
        ...

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """Keys and outcomes of the stages that ended, at the latest after ``seconds``."""
        ...

    def live(self) -> Mapping[str, Mapping[str, float]]:
        """By key, what the running stages say of themselves: step, steps, loss, tokens_per_s; empty if they cannot."""
        ...

    def interrupt(self) -> None:
        """Ask all running stages to save a checkpoint and end; their outcomes still come."""
        ...


def drive(schedule: Schedule, engine: Engine) -> None:
    """Carry out all that can be; a failed stage stops only what builds on it.

    Raises:
        AdaptxferError: on Ctrl-C, after the running stages have saved their checkpoints.
    """
    finished = schedule.count("finished")
    with console().progress(len(schedule.entries), f"grid {schedule.grid.name}", finished) as bar:
        reporter = Reporter(schedule, bar)
        reporter.planned()
        try:
            with engine:
                _loop(schedule, engine, reporter)
        except KeyboardInterrupt:
            raise _stopped(schedule) from None


def _loop(schedule: Schedule, engine: Engine, reporter: Reporter) -> None:
    try:
        while schedule.open():
            while engine.has_room() and (node := schedule.next()):
                reporter.started(node)
                engine.submit(node, schedule.places(node))
            _collect(schedule, engine, reporter)
    except KeyboardInterrupt:  # a second one goes through
        console().note("Stopping: running stages save their checkpoints.")
        engine.interrupt()
        while engine.working():
            _collect(schedule, engine, reporter)
        raise


def _collect(schedule: Schedule, engine: Engine, reporter: Reporter) -> None:
    for key, outcome in engine.wait(TICK):
        reporter.ended(*schedule.take(key, outcome))
    reporter.tick(engine.live())


def _stopped(schedule: Schedule) -> AdaptxferError:
    done, total = schedule.count("finished"), len(schedule.entries)
    told = f"Interrupted: {done:,} of {total:,} stages are finished, checkpoints of the others are saved."
    return AdaptxferError(told, "The same command again continues.", INTERRUPTED)
