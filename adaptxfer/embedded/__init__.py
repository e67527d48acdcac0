"""What the package carries with it: a small encoder and sample tasks, enough to try everything offline."""

from __future__ import annotations

from pathlib import Path

ENCODERS = ("mini",)
"""Names of the embedded encoders."""


def embedded_dir() -> Path:
    """The folder with the embedded encoder (``mini/``) and the sample tasks (``samples/``)."""
    return Path(__file__).resolve().parent


def encoder_dir(name: str) -> Path | None:
    """The folder of the embedded encoder called ``name``, or None when no embedded encoder has that name."""
    return embedded_dir() / name if name in ENCODERS else None
