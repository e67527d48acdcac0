"""A limit on what a grid's trainings may cost, counted from what the finished runs say they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adaptxfer.runs.run import Run

UNITS = ("steps", "tokens", "hours")


@dataclass
class Budget:
    """Limits and what is spent of them.

    Attributes:
        limits: the most optimiser steps, training tokens and stage hours (a worker's time, so GPU hours where each has
            a GPU); what is not named has no limit.
        spent: the same of all finished runs, those of earlier commands included.
    """

    limits: Mapping[str, float] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(UNITS, 0.0))

    def add(self, run: Path) -> None:
        """Count a finished run; an evaluation costs hours alone."""
        if not self.limits:
            return
        manifest = Run(run).manifest
        training = manifest.get("training") or {}
        self.spent["steps"] += training.get("steps", 0)
        self.spent["tokens"] += training.get("tokens", 0)
        self.spent["hours"] += manifest.get("duration_s", 0.0) / 3600

    def used_up(self) -> str:
        """The limit that is reached, in words; empty while there is none."""
        for name, limit in self.limits.items():
            if self.spent[name] >= limit:
                return f"the budget of {limit:,g} {name} is used up"
        return ""
