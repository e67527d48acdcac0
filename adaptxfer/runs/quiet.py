"""What libraries say on the way and nobody can act on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("adapters.model_mixin", "adapters.loading", "adapters.configuration.model_adapters_config")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Mute `adapters` while modules are attached: it warns that none is active before one could be."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
