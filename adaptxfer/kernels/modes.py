"""The three ways to choose between Triton kernels and plain torch; needs neither of them."""

from __future__ import annotations

import os

from adaptxfer.errors import nearest, use_error

MODES = ("auto", "triton", "torch")
VARIABLE = "ADAPTXFER_KERNELS"


def known_mode(mode: str, name: str = VARIABLE) -> str:
    """The mode itself.

    Raises:
        AdaptxferError: for an unknown one; ``name`` says where it was set.
    """
    if mode not in MODES:
        raise use_error(f"Expected one of {', '.join(MODES)} for {name}, found {mode!r}.", nearest(mode, MODES))
    return mode


def effective_mode(asked: str | None = None) -> tuple[str, str]:
    """The mode that holds and where it comes from: what was asked, else the environment, else ``auto``."""
    if asked is not None:
        return known_mode(asked, "--kernels"), "you"
    if found := os.environ.get(VARIABLE):
        return known_mode(found), "environment"
    return MODES[0], "default"
