"""Which stage of a grid is next, and what became of each: knows nothing of processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptxfer.runs.engines.budget import Budget

if TYPE_CHECKING:
    from adaptxfer.runs.engines.job import Outcome
    from adaptxfer.runs.grid import Grid, Node

BUSY_PAUSE = 1.0
"""Seconds before asking again for a stage that another process carries out; doubles up to a minute."""

DONE = ("finished", "failed", "skipped", "unaffordable")


@dataclass
class Entry:
    """A node and what became of it: waiting, running, or one of `DONE`."""

    node: Node
    state: str = "waiting"
    run: str = ""
    reused: bool = False
    attempts: int = 0
    seconds: float = 0.0
    error: str = ""
    code: int = 0
    pause: float = 0.0
    not_before: float = 0.0


class Schedule:
    """The order of work.

    Args:
        grid: its nodes, most urgent first.
        places: run folders of nodes that were finished before.
        retries: how often a stage is tried again whose process died or that failed in an unforeseen way.
        budget: no training is begun once it is used up; what is trained is still scored.
    """

    def __init__(self, grid: Grid, places: Mapping[str, str], retries: int = 2, budget: Budget | None = None) -> None:
        self.grid, self.retries, self.budget = grid, retries, budget or Budget()
        self.entries = {node.key: Entry(node) for node in grid.nodes}
        self._children: dict[str, list[str]] = {key: [] for key in self.entries}
        for node in grid.nodes:
            for parent in node.parents:
                self._children[parent].append(node.key)
        for key, run in places.items():
            entry = self.entries[key]
            entry.reused = True
            self._finish(entry, run)

    def _finish(self, entry: Entry, run: str) -> None:
        entry.state, entry.run = "finished", run
        self.budget.add(entry.node.ask.runs / run)

    def next(self) -> Node | None:
        """The most urgent node whose parents are finished, marked as running; None if there is none now."""
        self._stop_spending()
        now = time.monotonic()
        for entry in self.entries.values():
            if entry.state == "waiting" and entry.not_before <= now and self._parents_done(entry.node):
                entry.state = "running"
                entry.attempts += 1
                return entry.node
        return None

    def _stop_spending(self) -> None:
        if why := self.budget.used_up():
            for entry in self.entries.values():
                if entry.state == "waiting" and entry.node.kind != "evaluate" and not entry.attempts:
                    entry.state, entry.error = "unaffordable", why
                    self._skip(entry.node.key, why, "unaffordable")

    def _parents_done(self, node: Node) -> bool:
        return all(self.entries[key].state == "finished" for key in node.parents)

    def places(self, node: Node) -> dict[str, str]:
        """Run folders of the nodes that ``node`` builds on."""
        return {key: self.entries[key].run for key in (*node.parents, *node.modules)}

    def take(self, key: str, outcome: Outcome) -> tuple[Entry, list[Entry]]:
        """Note how an attempt ended; the entry, and those that build on it if it failed: they are skipped."""
        entry = self.entries[key]
        entry.seconds = round(entry.seconds + outcome.seconds, 3)
        entry.error, entry.code = outcome.error, outcome.code
        if outcome.state == "busy":
            entry.attempts -= 1
            entry.pause = min(60.0, max(BUSY_PAUSE, 2 * entry.pause))
            entry.state, entry.not_before = "waiting", time.monotonic() + entry.pause
        elif outcome.state == "finished":
            self._finish(entry, outcome.run)
        elif outcome.again and entry.attempts <= self.retries:
            entry.state = "waiting"
        else:
            entry.state = "failed"
            return entry, self._skip(key, f"builds on {entry.node.label}")
        return entry, []

    def _skip(self, key: str, why: str, state: str = "skipped") -> list[Entry]:
        """What waits for ``key`` will not be done."""
        found = []
        for entry in [self.entries[child] for child in self._children[key]]:
            if entry.state == "waiting":
                entry.state, entry.error = state, why
                found += [entry, *self._skip(entry.node.key, why, state)]
        return found

    def open(self) -> bool:
        """Whether something is left to do or under way."""
        return any(entry.state not in DONE for entry in self.entries.values())

    def count(self, *states: str) -> int:
        """How many nodes are in one of ``states``."""
        return sum(entry.state in states for entry in self.entries.values())

    def failures(self) -> Iterator[Entry]:
        """What failed, what was skipped for it, and what the budget did not allow."""
        return (entry for entry in self.entries.values() if entry.state in DONE[1:])

    def exit_code(self) -> int:
        """0 if nothing failed, else the code of the gravest failure."""
        return max((entry.code for entry in self.failures()), default=0)

    def document(self) -> dict[str, Any]:
        """What became of the grid, as JSON."""
        stages = [_stage(entry) for entry in self.entries.values()]
        reused = sum(entry.reused for entry in self.entries.values())
        counts = {state: self.count(state) for state in DONE} | {"reused": reused}
        found = {"schema": 1, "grid": self.grid.name, "counts": counts, "stages": stages}
        if self.budget.limits:
            found["budget"] = {"limits": dict(self.budget.limits), "spent": self.budget.spent}
        return found


def _stage(entry: Entry) -> dict[str, Any]:
    node = entry.node
    return {
        "stage": node.label, "kind": node.kind, "seed": node.seed, "state": entry.state, "run": entry.run or None,
        "reused": entry.reused, "attempts": entry.attempts, "seconds": entry.seconds, "error": entry.error or None,
    }  # fmt: skip
