"""The only place that prints.

Results (tables, trees, documents) go to standard output, everything said on the way (notes, warnings, progress) to
standard error. Three modes: ``rich`` on a terminal, ``plain`` elsewhere, and ``json``, where standard output carries
exactly one JSON document; a command that tells of events (`Console.event`) makes it lines of JSON, the document last.
Importing this module is cheap: ``rich`` is imported when something is drawn with it.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any, TextIO

from adaptxfer._progress import Bar, PlainBars, RichBars
from adaptxfer._tables import Cell, Table, clean, draw, wrapped
from adaptxfer.errors import INTERRUPTED, AdaptxferError

__all__ = ["Bar", "Cell", "Console", "Table", "console", "jsonable", "set_console"]

MODES = ("rich", "plain", "json")
ASCII = str.maketrans({"–": "-", "—": "-", "±": "+-", "…": "...", "−": "-", "→": "->", "×": "x", "·": ".", "─": "-"})
"""Stand-ins for our own symbols where the terminal's encoding has none; "·" and "-" mark different verdicts."""


class Console:
    """Prints for one process.

    Args:
        mode: ``rich``, ``plain`` or ``json``; ``None`` chooses by the streams and the environment.
        stdout: where results go; ``None`` means ``sys.stdout`` at the time of printing.
        stderr: where everything else goes; ``None`` means ``sys.stderr`` at the time of printing.
        width: columns of the terminal; ``None`` asks it.
    """

    def __init__(
        self,
        mode: str | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        width: int | None = None,
    ) -> None:
        if mode not in (None, *MODES):
            raise ValueError(f"mode is one of {MODES}, not {mode!r}")
        self._stdout, self._stderr, self._width = stdout, stderr, width
        self.mode = mode or ("rich" if self._can_draw() else "plain")
        self._answered = self._lines = False
        self._bars: RichBars | PlainBars | None = None
        self._waiting: Any = None  # the screen on which something is waited for

    def _can_draw(self) -> bool:
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        return all(stream is not None and stream.isatty() for stream in (self.out, self.err))

    @property
    def out(self) -> TextIO | None:
        """The stream of results."""
        return self._stdout or sys.stdout

    @property
    def err(self) -> TextIO | None:
        """The stream of everything else."""
        return self._stderr or sys.stderr

    def note(self, text: str) -> None:
        """Say something on the way."""
        self._say(text, "")

    def warn(self, text: str) -> None:
        """Say something the user should not overlook."""
        self._say(f"warning: {text}", "yellow")

    def error(self, error: AdaptxferError) -> None:
        """Print what went wrong and what to do; in json mode also as the document, unless one was printed."""
        word, style = ("stopped", "yellow") if error.code == INTERRUPTED else ("error", "bold red")
        if error.code == INTERRUPTED and self.err is not None and self.err.isatty():
            write(self.err, "\n")  # the terminal shows ^C where the cursor is
        self._say(f"{word}: {error.message}", style)
        if error.hint:
            self._say(f"  {error.hint}", "")
        if self.mode == "json" and not self._answered:
            self._document({"error": {"message": error.message, "hint": error.hint, "code": error.code}}, "error")

    def table(self, table: Table) -> None:
        """Show a table (on standard error in json mode: it is not the document)."""
        stream = self._shown()
        text = draw(table, self.width(stream), colour=self.mode == "rich", ascii_only=not _is_utf8(stream))
        write(stream, text + "\n")

    def tree(self, text: str) -> None:
        """Show text whose lines and spaces matter; a terminal too narrow for a sentence breaks it between words."""
        stream = self._shown()
        write(stream, self._fitted(clean(text).rstrip("\n"), stream) + "\n")

    def result(self, document: Any, *views: Table | str) -> None:
        """Print the outcome of a command: ``document`` in json mode, else ``views`` (or the document's own table).

        Args:
            document: a JSON value, a dataclass, or anything with ``to_json``.
            views: tables and texts for people; may be left out if ``document`` is a table.
        """
        if self.mode == "json":
            self._document(document)
            return
        for index, view in enumerate(views or (document,)):
            if index:
                write(self.out, "\n")
            if isinstance(view, Table):
                self.table(view)
            else:
                self.tree(view if isinstance(view, str) else json.dumps(jsonable(view), indent=1, ensure_ascii=False))

    def event(self, name: str, **fields: Any) -> None:
        """Something that happened, for programs that watch: in json mode a line of its own, else nothing.

        The document that ends the command is then one line as well, with the event ``end`` (or ``error``).
        """
        if self.mode == "json":
            self._lines = True
            self._write({"event": name, **fields})

    @contextmanager
    def progress(self, total: int, description: str, completed: int = 0) -> Iterator[Bar]:
        """A bar of ``total`` steps on a terminal, about twenty lines elsewhere.

        ``completed`` steps were done before (resumed). A bar inside a bar shows on terminals only.
        """
        if self._bars is None:
            self._bars = RichBars(self._rich(self.err)) if self.mode == "rich" else PlainBars(self.note)
        bars = self._bars
        bar = bars.add(total, description, completed)
        try:
            yield bar
        finally:
            if bars.close():
                self._bars = None

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """On a terminal: what keeps it quiet, until that is over. Nothing elsewhere, nor while there is a bar."""
        if self.mode != "rich" or self._bars is not None or self._waiting is not None:
            yield
            return
        from rich.text import Text

        self._waiting = self._rich(self.err)
        try:
            with self._waiting.status(Text(clean(text))):
                yield
        finally:
            self._waiting = None

    def width(self, stream: TextIO | None) -> int:
        """Columns to draw in: the terminal's, or plenty if nobody looks at it."""
        if self._width:
            return self._width
        if columns := os.environ.get("COLUMNS", ""):
            return int(columns) if columns.isdigit() and int(columns) > 0 else 80
        try:
            return os.get_terminal_size(stream.fileno()).columns or 80  # type: ignore[union-attr]
        except (OSError, ValueError, AttributeError):
            return 200

    def _shown(self) -> TextIO | None:
        return self.err if self.mode == "json" else self.out

    def _fitted(self, text: str, stream: TextIO | None, indented: bool = False) -> str:
        if stream is None or not stream.isatty():
            return text
        return "\n".join(wrapped(line, self.width(stream), indented) for line in text.split("\n"))

    def _say(self, text: str, style: str) -> None:
        text = self._fitted(clean(text), self.err, indented=True)
        if self.mode != "rich":
            write(self.err, text + "\n")
            return
        from rich.text import Text

        bars = self._bars
        screen = bars.screen if isinstance(bars, RichBars) else self._waiting or self._rich(self.err)
        screen.print(Text(text, style=style), soft_wrap=True)

    def _rich(self, stream: TextIO | None) -> Any:
        from rich.console import Console as Screen

        return Screen(file=SafeStream(stream), highlight=False, markup=False, emoji=False)  # type: ignore[arg-type]

    def _document(self, document: Any, event: str = "end") -> None:
        if self._answered:
            raise RuntimeError("a command prints one JSON document")
        self._answered = True
        self._write({"event": event, **document} if self._lines else document)

    def _write(self, document: Any) -> None:
        indent = None if self._lines else 1
        text = json.dumps(jsonable(document), indent=indent, ensure_ascii=not _is_utf8(self.out), allow_nan=False)
        write(self.out, text + "\n")


class SafeStream:
    """A text stream that never fails on a character its encoding lacks."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text`` with stand-ins for what the encoding lacks."""
        write(self._stream, text, flush=False)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def write(stream: TextIO | None, text: str, flush: bool = True) -> None:
    """Write to a stream of any encoding; symbols it lacks become ASCII, the rest question marks."""
    if stream is None:  # the process was started with this stream closed
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(ASCII).encode(encoding, errors="replace").decode(encoding)
    try:
        stream.write(text)
        if flush:
            stream.flush()
    except BrokenPipeError:  # whoever read is gone, as after `| head`: the work goes on, unheard
        _silence(stream)


def _silence(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def jsonable(value: Any) -> Any:
    """``value`` as plain JSON: numbers that are not finite become null, paths and unknown objects text."""
    if hasattr(value, "to_json"):
        return jsonable(value.to_json())
    if is_dataclass(value) and not isinstance(value, type):
        return jsonable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _is_utf8(stream: TextIO | None) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "").startswith("utf")


_current: Console | None = None


def console() -> Console:
    """The console of this process."""
    global _current
    if _current is None:
        _current = Console()
    return _current


def set_console(new: Console) -> Console:
    """Replace the console of this process and return the new one."""
    global _current
    _current = new
    return new
