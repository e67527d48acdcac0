"""Giving memory back to the system during long runs on a CPU."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

EVERY = 10
"""Optimiser steps between two calls."""


@cache
def _trim() -> Any:
    """The ``malloc_trim`` of glibc, or None where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def release_memory(step: int) -> None:
    """Every ``EVERY`` steps return freed pages to the system.

    Batches without padding have a different size at every step, and glibc keeps the holes they leave: without this a
    run with 0.5 GB of live tensors grew past 3 GB within 100 steps.
    """
    if step % EVERY == 0 and (trim := _trim()) is not None:
        trim(0)
