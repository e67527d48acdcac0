"""Carrying out a grid on an engine: stages go out, outcomes come in, and the user sees where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self

from adaptxfer.console import Bar, console
from adaptxfer.errors import INTERRUPTED, AdaptxferError
from adaptxfer.runs.engines.schedule import Entry, Schedule

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

    def speed(self) -> dict[str, float]:
        """What the running stages say of themselves, added up."""
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
        try:
            with engine:
                _loop(schedule, engine, bar)
        except KeyboardInterrupt:
            raise _stopped(schedule) from None


def _loop(schedule: Schedule, engine: Engine, bar: Bar) -> None:
    try:
        while schedule.open():
            while engine.has_room() and (node := schedule.next()):
                engine.submit(node, schedule.places(node))
            _collect(schedule, engine, bar)
    except KeyboardInterrupt:  # a second one goes through
        console().note("Stopping: running stages save their checkpoints.")
        engine.interrupt()
        while engine.working():
            _collect(schedule, engine, bar)
        raise


def _collect(schedule: Schedule, engine: Engine, bar: Bar) -> None:
    for key, outcome in engine.wait(TICK):
        before = schedule.count("failed", "skipped")
        entry = schedule.take(key, outcome)
        bar.update(int(entry.state == "finished") + schedule.count("failed", "skipped") - before)
        _tell(schedule, entry)
    bar.update(0, running=schedule.count("running"), failed=schedule.count("failed"), **engine.speed())


def _tell(schedule: Schedule, entry: Entry) -> None:
    if entry.state == "finished":
        total = len(schedule.entries)
        console().note(f"[{schedule.count('finished'):,}/{total:,}] {entry.node.label}: {entry.run}")
    elif entry.state == "failed":
        console().warn(f"{entry.node.label} failed: {entry.error}")
    elif entry.state == "waiting" and entry.error:
        console().warn(f"{entry.node.label} will be tried again: {entry.error}")


def _stopped(schedule: Schedule) -> AdaptxferError:
    done, total = schedule.count("finished"), len(schedule.entries)
    told = f"Interrupted: {done:,} of {total:,} stages are finished, checkpoints of the others are saved."
    return AdaptxferError(told, "The same command again continues.", INTERRUPTED)
