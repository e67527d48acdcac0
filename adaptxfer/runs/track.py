"""Training logs for trackers: what `log.jsonl` holds, as TensorBoard events or offline wandb runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from adaptxfer.errors import nearest, use_error
from adaptxfer.runs.run import Run

SHOWN = {"step": ("loss", "learning_rate", "tokens_per_s"), "evaluation": ("score",)}
"""Numbers of each event that are tracked; those of steps carry their task's name."""

WAIT = 2.0
"""Seconds between two looks at a run that is still going on."""


class Tracker(Protocol):
    """Takes the numbers of one run."""

    def add(self, name: str, value: float, step: int) -> None:
        """One number of one step."""
        ...

    def close(self) -> None:
        """Write everything out."""
        ...


class TensorBoard:
    """Event files in ``out/<run>``."""

    def __init__(self, run: Run, out: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / run.name))

    def add(self, name: str, value: float, step: int) -> None:
        """One number of one step."""
        self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write everything out."""
        self._writer.close()


class Wandb:
    """An offline wandb run below ``out``, for ``wandb sync``; nothing is sent."""

    def __init__(self, run: Run, out: Path) -> None:
        import wandb

        out.mkdir(parents=True, exist_ok=True)
        config = {name: run.asked(name) for name in run.manifest.get("request", {})}
        settings = wandb.Settings(mode="offline", console="off", silent=True)
        self._run: Any = wandb.init(project="adaptxfer", name=run.name, dir=str(out), config=config, settings=settings)
        self._run.define_metric("*", step_metric="step")

    def add(self, name: str, value: float, step: int) -> None:
        """One number of one step."""
        self._run.log({name: value, "step": step})

    def close(self) -> None:
        """Write everything out."""
        self._run.finish()


TRACKERS: dict[str, tuple[Callable[[Run, Path], Tracker], str]] = {
    "tensorboard": (TensorBoard, "tensorboard"),
    "wandb": (Wandb, "wandb"),
}
"""Each tracker and the package (and extra) it needs."""


def numbers(entries: Sequence[dict[str, Any]]) -> Iterator[tuple[str, float, int]]:
    """Name, value and step of everything that is tracked; values that were not finite are left out."""
    for entry in entries:
        for name in SHOWN.get(entry.get("event", ""), ()):
            if isinstance(value := entry.get(name), int | float):
                own = "dev" if entry["event"] == "evaluation" else str(entry.get("task", "train"))
                yield f"{own}/{name}", float(value), int(entry["step"])


def track(run: Run, to: str, out: Path, follow: bool = False) -> int:
    """Hand the log of a training run to a tracker.

    Args:
        run: an intermediate or target run.
        to: one of ``TRACKERS``.
        out: folder of the tracker's files.
        follow: go on until the run ends.

    Returns:
        how many numbers were handed over.

    Raises:
        AdaptxferError: if the tracker is unknown or not installed, or the run has no log.
    """
    if to not in TRACKERS:
        raise use_error(f"There is no tracker {to!r}.", nearest(to, TRACKERS))
    make, package = TRACKERS[to]
    seen = run.read_log()
    if not seen and not follow:
        raise use_error(f"Run {run.name} has no training log.", "Only runs that trained have one.")
    try:
        tracker = make(run, out)
    except ImportError as error:
        told = f"The tracker {to} is not installed ({error})."
        raise use_error(told, f"pip install adaptxfer[{package}]") from error
    done = 0
    try:
        while True:
            running = Run(run.path).status in ("running", "new")
            entries = list(numbers(run.read_log()))
            for name, value, step in entries[done:]:
                tracker.add(name, value, step)
            done = max(done, len(entries))
            if not (follow and running):
                return done
            time.sleep(WAIT)
    finally:
        tracker.close()
