"""Which stage of a grid is next, and what became of each: knows nothing of processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptxfer.runs.engines.job import Outcome
    from adaptxfer.runs.grid import Grid, Node

BUSY_PAUSE = 1.0
"""Seconds before asking again for a stage that another process carries out; doubles up to a minute."""

DONE = ("finished", "failed", "skipped")


@dataclass
class Entry:
    """A node and what became of it: waiting, running, finished, failed or skipped."""

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
    """

    def __init__(self, grid: Grid, places: Mapping[str, str], retries: int = 2) -> None:
        self.grid, self.retries = grid, retries
        self.entries = {node.key: Entry(node) for node in grid.nodes}
        self._children: dict[str, list[str]] = {key: [] for key in self.entries}
        for node in grid.nodes:
            for parent in node.parents:
                self._children[parent].append(node.key)
        for key, run in places.items():
            entry = self.entries[key]
            entry.state, entry.run, entry.reused = "finished", run, True

    def next(self) -> Node | None:
        """The most urgent node whose parents are finished, marked as running; None if there is none now."""
        now = time.monotonic()
        for entry in self.entries.values():
            if entry.state == "waiting" and entry.not_before <= now and self._parents_done(entry.node):
                entry.state = "running"
                entry.attempts += 1
                return entry.node
        return None

    def _parents_done(self, node: Node) -> bool:
        return all(self.entries[key].state == "finished" for key in node.parents)

    def places(self, node: Node) -> dict[str, str]:
        """Run folders of the nodes that ``node`` builds on."""
        return {key: self.entries[key].run for key in (*node.parents, *node.modules)}

    def take(self, key: str, outcome: Outcome) -> Entry:
        """Note how an attempt ended; what builds on a failed node is skipped."""
        entry = self.entries[key]
        entry.seconds = round(entry.seconds + outcome.seconds, 3)
        entry.error, entry.code = outcome.error, outcome.code
        if outcome.state == "busy":
            entry.attempts -= 1
            entry.pause = min(60.0, max(BUSY_PAUSE, 2 * entry.pause))
            entry.state, entry.not_before = "waiting", time.monotonic() + entry.pause
        elif outcome.state == "finished":
            entry.state, entry.run = outcome.state, outcome.run
        elif outcome.again and entry.attempts <= self.retries:
            entry.state = "waiting"
        else:
            entry.state = "failed"
            self._skip(key, entry.node.label)
        return entry

    def _skip(self, key: str, cause: str) -> None:
        for child in self._children[key]:
            entry = self.entries[child]
            if entry.state == "waiting":
                entry.state, entry.error = "skipped", f"builds on {cause}"
                self._skip(child, cause)

    def open(self) -> bool:
        """Whether something is left to do or under way."""
        return any(entry.state not in DONE for entry in self.entries.values())

    def count(self, *states: str) -> int:
        """How many nodes are in one of ``states``."""
        return sum(entry.state in states for entry in self.entries.values())

    def failures(self) -> Iterator[Entry]:
        """What failed and what was skipped for it."""
        return (entry for entry in self.entries.values() if entry.state in ("failed", "skipped"))

    def exit_code(self) -> int:
        """0 if everything is finished, else the code of the gravest failure."""
        return max((entry.code for entry in self.failures()), default=0)

    def document(self) -> dict[str, Any]:
        """What became of the grid, as JSON."""
        stages = [_stage(entry) for entry in self.entries.values()]
        reused = sum(entry.reused for entry in self.entries.values())
        counts = {state: self.count(state) for state in DONE} | {"reused": reused}
        return {"schema": 1, "grid": self.grid.name, "counts": counts, "stages": stages}


def _stage(entry: Entry) -> dict[str, Any]:
    node = entry.node
    return {
        "stage": node.label, "kind": node.kind, "seed": node.seed, "state": entry.state, "run": entry.run or None,
        "reused": entry.reused, "attempts": entry.attempts, "seconds": entry.seconds, "error": entry.error or None,
    }  # fmt: skip
