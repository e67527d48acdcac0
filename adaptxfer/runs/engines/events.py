"""What a grid says while it runs: lines and bars for people, one JSON object per event for programs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from adaptxfer.console import Bar, console
from adaptxfer.errors import INTERRUPTED
from adaptxfer.runs.engines.schedule import Entry, Schedule
from adaptxfer.runs.grid import Node

PULSE = 10.0
"""Seconds between two ``progress`` events."""

Live = Mapping[str, Mapping[str, float]]


class Reporter:
    """Tells of one grid.

    The events, in json mode: ``planned`` and ``reused`` at the start; ``started``, ``finished``, ``retried``,
    ``failed``, ``skipped``, ``interrupted``, ``busy`` (another process has it) and ``unaffordable`` of a stage;
    ``progress`` every ten seconds. The document of the whole grid ends them as ``end``, or an error as ``error``.
    Each stage is named by its label, and ``at`` counts seconds since the start.

    Args:
        schedule: whose stages these are.
        bar: that of the grid.
    """

    def __init__(self, schedule: Schedule, bar: Bar) -> None:
        self._schedule, self._bar = schedule, bar
        self._begun = self._pulse = time.monotonic()
        self._told: set[str] = set()

    def planned(self) -> None:
        """The grid is about to start."""
        grid = self._schedule.grid
        self._event("planned", grid=grid.name, stages=len(grid.nodes), counts=grid.counts(), left_out=grid.left_out)
        for entry in self._schedule.entries.values():
            if entry.reused:
                self._event("reused", entry.node, run=entry.run)

    def started(self, node: Node) -> None:
        """A stage was handed to the engine."""
        self._event("started", node, attempt=self._schedule.entries[node.key].attempts)

    def ended(self, entry: Entry, skipped: list[Entry]) -> None:
        """An attempt at a stage ended, and ``skipped`` can no longer be done."""
        node, (done, total) = entry.node, self._place()
        self._bar.update(int(entry.state == "finished") + int(entry.state == "failed") + len(skipped))
        if entry.state == "finished":
            console().note(f"[{done:,}/{total:,}] {node.label}: {entry.run}")
            self._event("finished", node, run=entry.run, seconds=entry.seconds, done=done, of=total)
        elif entry.state == "failed":
            console().warn(f"{node.label} failed: {entry.error}")
            self._event("failed", node, error=entry.error, code=entry.code)
        elif entry.code == INTERRUPTED:
            self._event("interrupted", node)
        elif entry.error:
            console().warn(f"{node.label} will be tried again: {entry.error}")
            self._event("retried", node, error=entry.error)
        else:
            self._event("busy", node)
        for item in skipped:
            self._event("skipped", item.node, error=item.error)

    def tick(self, live: Live) -> None:
        """Nothing happened, or something did: show where the running stages are."""
        self._tell_unaffordable()
        entries = self._schedule.entries
        speeds = [fields["tokens_per_s"] for fields in live.values() if "tokens_per_s" in fields]
        speed = {"tokens_per_s": sum(speeds)} if speeds else {}
        count = self._schedule.count
        self._bar.update(0, running=count("running"), failed=count("failed"), **speed)
        self._bar.show_parts({
            entries[key].node.label: (int(fields.get("step", 0)), int(fields.get("steps", 0)))
            for key, fields in live.items()
        })  # fmt: skip
        if time.monotonic() - self._pulse >= PULSE:
            self._pulse = time.monotonic()
            running = [{"stage": entries[key].node.label, **fields} for key, fields in live.items()]
            done, total = self._place()
            self._event("progress", done=done, of=total, failed=count("failed"), **speed, running=running)

    def _tell_unaffordable(self) -> None:
        entries = self._schedule.entries
        left = [entries[key] for key in entries.keys() - self._told if entries[key].state == "unaffordable"]
        if left:
            console().note(f"{len(left):,} stages are left undone: {left[0].error}.")
        for entry in left:
            self._told.add(entry.node.key)
            self._bar.update(1)
            self._event("unaffordable", entry.node, error=entry.error)

    def _place(self) -> tuple[int, int]:
        return self._schedule.count("finished"), len(self._schedule.entries)

    def _event(self, name: str, node: Node | None = None, /, **fields: Any) -> None:
        stage = {"stage": node.label, "kind": node.kind, "seed": node.seed} if node else {}
        console().event(name, at=round(time.monotonic() - self._begun, 3), **stage, **fields)
