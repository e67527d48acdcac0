"""Progress bars of the console: drawn on a terminal, a line every five percent elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

LINES = 20
"""A plain bar says something at most this often."""


class Bar(Protocol):
    """What the body of ``with console().progress(...) as bar`` talks to."""

    def update(self, advance: int = 1, **fields: float) -> None:
        """Move on by ``advance`` steps and show ``fields``, such as ``loss=`` and ``tokens_per_s=``."""

    def resume(self, completed: int) -> None:
        """Start counting at ``completed``: those steps were done earlier and tell nothing about the speed."""

    def show_parts(self, parts: Mapping[str, tuple[int, int]]) -> None:
        """What is under way at the same time, each with steps done and in all (0: not known), on lines of their own."""


def fields_text(fields: dict[str, float]) -> str:
    """``fields`` in words: loss with four digits, speeds as whole numbers per second."""
    return "  ".join(_field_text(name, value) for name, value in fields.items())


def _field_text(name: str, value: float) -> str:
    if name.endswith("_per_s"):
        return f"{value:,.0f} {name.removesuffix('_per_s')}/s"
    return f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.4g}"


def duration_text(seconds: float) -> str:
    """A duration for people: ``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class SilentBar:
    """A bar nobody sees."""

    def update(self, advance: int = 1, **fields: float) -> None:
        """Do nothing."""

    def resume(self, completed: int) -> None:
        """Do nothing."""

    def show_parts(self, parts: Mapping[str, tuple[int, int]]) -> None:
        """Do nothing."""


class PlainBars:
    """One bar as lines of text; bars inside it are silent.

    Args:
        say: prints one line.
        clock: seconds, for the time left.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock, self._open = say, clock, 0

    def add(self, total: int, description: str, completed: int = 0) -> Bar:
        """Open a bar of ``total`` steps of which ``completed`` were done before."""
        self._open += 1
        return PlainBar(self._say, self._clock, total, description, completed) if self._open == 1 else SilentBar()

    def close(self) -> bool:
        """Close the innermost bar; true if it was the last."""
        self._open -= 1
        return self._open == 0


class PlainBar:
    """Lines such as ``train xnli   35%  350/1,000  loss 0.512  9,120 tokens/s  2 min left``."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float], total: int, description: str, completed: int
    ) -> None:
        self._say, self._clock, self._total, self._description = say, clock, total, description
        self.resume(completed)

    def resume(self, completed: int) -> None:
        """Start counting at ``completed``."""
        self._done = self._first = completed
        self._start = self._clock()

    def update(self, advance: int = 1, **fields: float) -> None:
        """Move on, and say so when the next twentieth of the way is reached."""
        before, self._done = self._done, self._done + advance
        if self._part(self._done) > self._part(before):
            self._say("  ".join(filter(None, (self._place(), fields_text(fields), self._left()))))

    def show_parts(self, parts: Mapping[str, tuple[int, int]]) -> None:
        """Nothing: lines of text do not move."""

    def _part(self, done: int) -> int:
        return LINES * done // max(1, self._total)

    def _place(self) -> str:
        share = 100 * self._done // max(1, self._total)
        return f"{self._description}  {share:3d}%  {self._done:,}/{self._total:,}"

    def _left(self) -> str:
        steps, rest = self._done - self._first, self._total - self._done
        if steps <= 0 or rest <= 0:
            return ""
        return f"{duration_text((self._clock() - self._start) / steps * rest)} left"


class RichBars:
    """Bars drawn together at the foot of a terminal.

    Args:
        screen: the ``rich`` console they are drawn on; text printed there in the meantime lands above them.
    """

    def __init__(self, screen: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.screen = screen
        narrow = screen.width < 70
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=10 if narrow else 24),
            *([] if narrow else [MofNCompleteColumn()]),
            TextColumn("{task.fields[said]}", markup=False, style="dim"),
            TimeRemainingColumn(compact=True),
        ]
        self._progress = Progress(*columns, console=screen, expand=False)
        self._tasks: list[Any] = []

    def add(self, total: int, description: str, completed: int = 0) -> Bar:
        """Open a bar of ``total`` steps of which ``completed`` were done before."""
        self._progress.start()
        task = self._progress.add_task(description, total=total, completed=completed, said="")
        self._tasks.append(task)
        return RichBar(self._progress, task)

    def close(self) -> bool:
        """Close the innermost bar; true if it was the last."""
        task = self._tasks.pop()
        if self._tasks:
            self._progress.remove_task(task)
        else:
            self._progress.stop()
        return not self._tasks


class RichBar:
    """One bar among ``RichBars``."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task
        self._parts: dict[str, Any] = {}

    def update(self, advance: int = 1, **fields: float) -> None:
        """Move on and show ``fields``."""
        said = {"said": fields_text(fields)} if fields else {}
        self._progress.update(self._task, advance=advance, **said)

    def resume(self, completed: int) -> None:
        """Start counting at ``completed``."""
        self._progress.reset(self._task, completed=completed)

    def show_parts(self, parts: Mapping[str, tuple[int, int]]) -> None:
        """Draw a line for each part below the bar; lines of parts that are gone disappear."""
        for name in [name for name in self._parts if name not in parts]:
            self._progress.remove_task(self._parts.pop(name))
        for name, (done, total) in parts.items():
            if name not in self._parts:
                self._parts[name] = self._progress.add_task(f"  {name}", total=None, said="")
            self._progress.update(self._parts[name], completed=done, total=total or None)
