"""One error class for everything a user can mend, with the exit code it costs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

USE, DATA, TRAINING, INTERRUPTED = 1, 2, 3, 130
"""Exit codes: wrong use, data or model not usable, training failed, Ctrl-C after a saved checkpoint."""

MANY = 40
"""More names than these are not listed in a sentence."""


class AdaptxferError(Exception):
    """A problem the user can act on; the command line prints it as two lines and no traceback.

    Args:
        message: what was expected and what was found, one or two sentences.
        hint: what to do about it.
        code: exit code of the process, one of ``USE``, ``DATA``, ``TRAINING``, ``INTERRUPTED``.
    """

    def __init__(self, message: str, hint: str = "", code: int = USE) -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self):  # crosses process borders whole
        return type(self), (self.message, self.hint, self.code)


def use_error(message: str, hint: str = "") -> AdaptxferError:
    """An error in what the user asked for (exit code 1)."""
    return AdaptxferError(message, hint, USE)


def data_error(message: str, hint: str = "") -> AdaptxferError:
    """Data, a model or a run folder that cannot be used (exit code 2)."""
    return AdaptxferError(message, hint, DATA)


def training_error(message: str, hint: str = "") -> AdaptxferError:
    """Training that went wrong (exit code 3)."""
    return AdaptxferError(message, hint, TRAINING)


def nearest(word: str, choices: Iterable[str]) -> str:
    """A sentence that offers the closest of ``choices``, or lists them when none is close; of very many the first."""
    names = sorted(choices)
    alike = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    first = word.lstrip("-")[:1]
    close = difflib.get_close_matches(word, names, n=1) or [n for n in alike if n.lstrip("-")[:1] == first]
    if close:
        return f"Did you mean {close[0]!r}?"
    more = f" and {len(names) - MANY:,} more" if len(names) > MANY else ""
    return f"Known: {', '.join(names[:MANY])}{more}." if names else "None is known."
