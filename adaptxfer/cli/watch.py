"""``adaptxfer grid PLAN --watch``: how far a plan is that something else carries out."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adaptxfer.console import Cell, Table, console
from adaptxfer.runs.run import Run
from adaptxfer.runs.survey import FINISHED, RUNNING, STUCK

if TYPE_CHECKING:
    from adaptxfer.runs.survey import Survey

PAUSE = 2.0
"""Seconds between two looks at the folder of runs."""


def watch(survey: Survey) -> dict[str, Any]:
    """Show the plan's stages until all are finished, or nothing is left that can start; the last look as a document.

    Drawn in place on a terminal; elsewhere one line whenever something changed, or one event with ``--json``.
    """
    last: dict[str, Any] = {}
    with _screen() as show:
        while True:
            survey.__dict__.pop("states", None)  # look again
            found = look(survey)
            if found != last:
                console().event("state", **found)
                show(found)
            last = found
            if found["finished"] + found["stuck"] >= found["stages"]:
                return found
            time.sleep(PAUSE)


def look(survey: Survey) -> dict[str, Any]:
    """Counts by kind and state, and what runs at this moment."""
    kinds: dict[str, Counter[str]] = {}
    running = []
    stuck: set[str] = set()
    for node in survey.grid.nodes:
        state = survey.states[node.key]
        if state.status == STUCK or stuck.intersection(node.parents):
            stuck.add(node.key)
        kinds.setdefault(node.kind, Counter())[state.status] += 1
        if state.status == RUNNING:
            running.append({"stage": node.label, "run": state.run, **_progress(Run(node.ask.runs / state.run))})
    totals = sum(kinds.values(), Counter())
    return {
        "stages": totals.total(),
        "finished": totals[FINISHED],
        "stuck": len(stuck),
        "kinds": {kind: dict(counts) for kind, counts in kinds.items()},
        "running": running,
    }


def views(found: dict[str, Any]) -> tuple[Table, ...]:
    """The tables of one look."""
    states = list(dict.fromkeys(state for counts in found["kinds"].values() for state in counts))
    rows: list[list[Cell]] = [[kind, *(counts.get(s, 0) for s in states)] for kind, counts in found["kinds"].items()]
    title = f"{found['finished']:,} of {found['stages']:,} stages finished"
    tables = [Table(title, ["stages", *((state, "right") for state in states)], rows)]
    if found["running"]:
        now: list[list[Cell]] = [[r["stage"], r["step"], r["total"], r["loss"]] for r in found["running"]]
        names = ["running", ("step", "right"), ("of", "right"), ("loss", "right")]
        tables.append(Table("", names, now))
    return tuple(tables)


def _progress(run: Run) -> dict[str, Any]:
    steps = [entry for entry in run.read_log() if entry.get("event") == "step"]
    last = steps[-1] if steps else {}
    loss = f"{last['loss']:.3f}" if isinstance(last.get("loss"), float) else None
    return {"step": last.get("step"), "total": last.get("total"), "loss": loss}


@contextmanager
def _screen() -> Iterator[Any]:
    if console().mode != "rich" or not sys.stdout.isatty():
        yield _line
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from adaptxfer._tables import draw

    screen = Console()
    with Live(console=screen, auto_refresh=False) as live:
        yield lambda found: live.update(
            Text("\n\n".join(draw(table, screen.width) for table in views(found))), refresh=True
        )


def _line(found: dict[str, Any]) -> None:
    now = ", ".join(f"{r['stage']} {r['step'] or 0:,}/{r['total'] or 0:,}" for r in found["running"])
    told = f"{found['finished']:,} of {found['stages']:,} stages finished"
    console().note(f"{told}; running: {now}" if now else told)
