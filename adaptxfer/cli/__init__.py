"""The command line: thin commands that import heavy things only when they run."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from adaptxfer import ranks
from adaptxfer.console import Console, console, set_console
from adaptxfer.errors import DATA, INTERRUPTED, USE, AdaptxferError, nearest, use_error

BUG = 70
"""Exit code of an error nobody foresaw."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (0 done, 1 wrong use, 2 data, 3 training, 130 Ctrl-C)."""
    words = list(sys.argv[1:] if argv is None else argv)
    set_console(_console())
    try:
        with _terminate_as_interrupt():
            return _run(words)
    except KeyboardInterrupt:
        return _fail(AdaptxferError("Interrupted.", code=INTERRUPTED), words)
    except AdaptxferError as error:
        return _fail(error, words)
    except OSError as error:
        if error.errno == errno.ENOSPC or error.filename is not None:
            return _fail(AdaptxferError(f"{error.strerror}{_place(error)}.", code=DATA), words)
        return _bug(error, words)
    except Exception as error:
        return _bug(error, words)


CONTINUED = ("train-intermediate", "transfer", "evaluate", "grid", "quickstart", "select")
"""Commands that go on where they were stopped; the others start again."""
TOGETHER = ("train-intermediate", "transfer", "evaluate")
"""Commands that several processes carry out together."""


def _console() -> Console:
    """The console of this process; of several the first alone prints."""
    if ranks.is_first():
        return Console()
    quiet = Path(os.devnull).open("w")
    return Console("plain", quiet, quiet)


def _run(words: list[str]) -> int:
    if sys.flags.optimize > 1:
        raise use_error("python -OO takes away docstrings, which transformers needs.", "Use -O, or neither.")
    if ranks.size() > 1 and words[:1] and words[0] not in TOGETHER:
        raise use_error(
            f"{words[0]} runs in one process, but {ranks.size()} were started.",
            f"torchrun and accelerate launch go with {', '.join(TOGETHER)}.",
        )
    from adaptxfer.cli import helps
    from adaptxfer.cli.app import app

    try:
        code = helps.use(typer.main.get_command(app))(args=words, prog_name="adaptxfer", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.ctx.get_help())  # type: ignore[attr-defined]
            return USE
        raise _usage(error) from error
    if code == INTERRUPTED:  # the framework turns Ctrl-C into this code
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _usage(error: Any) -> AdaptxferError:
    """Wrong use in our words: what is wrong, then the nearest name or where the help is."""
    context = getattr(error, "ctx", None)
    message, _, guess = error.format_message().strip().partition(" Did you mean ")
    hint = f"Did you mean {guess}" if guess else ""
    if (option := getattr(error, "option_name", None)) and "No such option" in message:
        known = [name for param in context.command.params for name in param.opts] if context else []
        message, hint = f"There is no option {option!r}.", nearest(option, known)
    elif message.startswith("No such command") and not hint and context:
        hint = f"Commands: {', '.join(context.command.commands)}."
    path = context.command_path if context else "adaptxfer"
    return use_error(message if message.endswith(".") else f"{message}.", hint or f"See {path} --help.")


def _fail(error: AdaptxferError, words: Sequence[str]) -> int:
    if ranks.is_alone_with(error):
        set_console(Console("plain"))
        error.message = f"Process {ranks.rank()}: {error.message}"
    if "--json" in words:
        console().mode = "json"
    if error.code == INTERRUPTED and not error.hint and words and words[0] in CONTINUED:
        error.hint = "The same command again continues it."
    console().error(error)
    return error.code


def _bug(error: Exception, words: Sequence[str]) -> int:
    if os.environ.get("ADAPTXFER_TRACEBACK"):
        console().note("".join(traceback.format_exception(error)))
    hint = "This is a bug in adaptxfer; set ADAPTXFER_TRACEBACK=1 for the traceback and report it."
    return _fail(AdaptxferError(f"Unexpected {type(error).__name__}: {error}", hint, BUG), words)


def _place(error: OSError) -> str:
    return f": {error.filename}" if error.filename is not None else " while writing the output"


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """A scheduler's SIGTERM ends a command like Ctrl-C, so that it leaves a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
