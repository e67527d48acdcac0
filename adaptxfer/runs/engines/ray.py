"""Stages as Ray tasks: a local cluster, or the one that ``RAY_ADDRESS`` names (extra ``ray``).

Every machine must see the same ``--runs`` and data folders. Ray queues by CPU and GPU; which stage is next, retries and
what to skip stay with `Schedule`, as on every engine.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from adaptxfer.errors import use_error

if TYPE_CHECKING:
    from adaptxfer.runs.engines.job import Outcome
    from adaptxfer.runs.grid import Node


class RayEngine:
    """At most ``workers`` tasks at a time; each gets a CPU and its share of the GPUs there are.

    Args:
        workers: how many stages run at a time.

    Raises:
        AdaptxferError: if Ray is not installed.
    """

    def __init__(self, workers: int) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # must be set before the import
        try:
            import ray
        except ImportError as error:
            raise use_error("--engine ray needs Ray.", 'Install it: pip install "adaptxfer[ray]".') from error
        self._ray: Any = ray
        self._workers = workers
        self._running: dict[Any, str] = {}
        self._attempt: Any = None

    def __enter__(self) -> Self:
        from adaptxfer.runs.engines.job import attempt

        with _kept_handlers():
            if "RAY_ADDRESS" in os.environ:
                self._ray.init(log_to_driver=False, logging_level=logging.ERROR)
            else:
                self._ray.init(
                    num_cpus=self._workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
                )
        share = min(1.0, self._ray.cluster_resources().get("GPU", 0) / self._workers)
        self._attempt = self._ray.remote(max_retries=0, num_cpus=1, num_gpus=share)(attempt)
        return self

    def __exit__(self, *error: object) -> None:
        self.interrupt()
        with _kept_handlers():
            self._ray.shutdown()

    def has_room(self) -> bool:
        """Whether another task may be queued."""
        return len(self._running) < self._workers

    def working(self) -> int:
        """How many tasks are queued or run."""
        return len(self._running)

    def submit(self, node: Node, places: Mapping[str, str]) -> None:
        """Queue the stage."""
        self._running[self._attempt.remote(node, dict(places))] = node.key

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """Outcomes of the tasks that ended within ``seconds``."""
        if not self._running:
            time.sleep(seconds)
            return []
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return [(self._running.pop(task), self._outcome(task)) for task in done]

    def _outcome(self, task: Any) -> Outcome:
        from adaptxfer.runs.engines.job import INTERRUPTION, lost

        try:
            return self._ray.get(task)
        except self._ray.exceptions.TaskCancelledError:
            return INTERRUPTION
        except self._ray.exceptions.RayError as error:  # the process or its machine died
            return lost(type(error).__name__)

    def live(self) -> dict[str, dict[str, float]]:
        """Tasks tell nothing before they end."""
        return {}

    def interrupt(self) -> None:
        """Ray turns this into Ctrl-C inside the tasks: training saves a checkpoint."""
        for task in self._running:
            self._ray.cancel(task, force=False)


@contextmanager
def _kept_handlers() -> Iterator[None]:
    """Ray takes over the termination signal; here it means what it means on every engine."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
