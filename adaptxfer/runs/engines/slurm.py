"""Stages as Slurm jobs through submitit (extra ``slurm``); stages that are ready together become one job array.

Every machine must see the same ``--runs`` and data folders. The driver only queues and waits: it may run on a login
node, and when it is gone its jobs finish; the same command again then takes up their results.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from adaptxfer.errors import use_error

if TYPE_CHECKING:
    from adaptxfer.runs.engines.job import Outcome
    from adaptxfer.runs.grid import Node

POLL = 2.0
"""Seconds between two looks for results."""

LOOK = 15.0
"""Seconds between two looks at the queue; a job that twice was not there and left no result is lost."""


class Attempt:
    """`attempt` as a job: can be stopped by the termination signal, and is queued again when its time is up."""

    def __call__(self, node: Node, places: Mapping[str, str]) -> Outcome:
        """Carry out a stage."""
        from adaptxfer.runs.engines.job import attempt

        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return attempt(node, places)

    def checkpoint(self, node: Node, places: Mapping[str, str]) -> Any:
        """What submitit queues in place of a job that is preempted or at its time limit."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, node, places)


class SlurmEngine:
    """At most ``workers`` jobs in the queue.

    Args:
        workers: how many jobs are queued or run at a time.
        folder: where submitit keeps scripts and logs.
        options: parameters of `submitit.AutoExecutor`, such as ``timeout_min`` or ``slurm_partition``.
        cluster: "slurm", or "local" for processes here, one for each job.

    Raises:
        AdaptxferError: if submitit or Slurm is not there, or an option is unknown.
    """

    def __init__(
        self, workers: int, folder: Path, options: Mapping[str, Any] | None = None, cluster: str = "slurm"
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise use_error("--engine slurm needs submitit.", 'Install it: pip install "adaptxfer[slurm]".') from error
        try:
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self._executor.update_parameters(**{"timeout_min": 240, **(options or {})})
            logging.getLogger("submitit").handlers.clear()  # it writes to standard output
        except (RuntimeError, NameError, ValueError, TypeError) as error:
            raise use_error(f"Slurm cannot be used: {error}", "Check --slurm, or use --engine local.") from error
        self._workers = workers
        self._queued: list[tuple[Node, Mapping[str, str]]] = []
        self._jobs: dict[str, Any] = {}
        self._queue = Queue() if cluster == "slurm" else None
        self._cancelled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.interrupt()

    def has_room(self) -> bool:
        """Whether another job may be queued."""
        return len(self._jobs) + len(self._queued) < self._workers

    def working(self) -> int:
        """How many jobs are queued or run."""
        return len(self._jobs)

    def submit(self, node: Node, places: Mapping[str, str]) -> None:
        """Put the stage into the next array."""
        self._queued.append((node, dict(places)))

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """Queue what was submitted, then look for jobs that ended."""
        if self._queued:
            with self._executor.batch():
                jobs = [(node.key, self._executor.submit(Attempt(), node, places)) for node, places in self._queued]
            self._jobs |= dict(jobs)
            self._queued.clear()
        time.sleep(max(seconds, POLL))
        gone = self._queue.gone([job.job_id for job in self._jobs.values()], self._cancelled) if self._queue else ()
        found = {key: self._end(job, gone) for key, job in self._jobs.items()}
        self._jobs = {key: job for key, job in self._jobs.items() if found[key] is None}
        return [(key, outcome) for key, outcome in found.items() if outcome]

    def _end(self, job: Any, gone: Collection[str]) -> Outcome | None:
        """How a job ended; None while it has not. What submitit itself does for Slurm needs its accounting."""
        from adaptxfer.runs.engines.job import INTERRUPTION, lost

        if job.paths.result_pickle.exists() or (self._queue is None and job.done()):
            return _outcome(job)
        if job.job_id not in gone:
            return None
        return INTERRUPTION if self._cancelled else lost(f"job {job.job_id} left the queue without a result")

    def live(self) -> dict[str, dict[str, float]]:
        """Jobs tell nothing before they end."""
        return {}

    def interrupt(self) -> None:
        """Cancel all jobs: those in training save a checkpoint first."""
        self._queued.clear()
        self._cancelled = True
        for job in self._jobs.values():
            job.cancel(check=False)


class Queue:
    """What `squeue` says, asked now and then: it works with and without Slurm's accounting."""

    def __init__(self) -> None:
        self._last, self._missing, self._gone = 0.0, set[str](), set[str]()

    def gone(self, jobs: Sequence[str], at_once: bool = False) -> set[str]:
        """Those of ``jobs`` that were missing twice in a row, or with ``at_once`` once."""
        if jobs and time.monotonic() - self._last > LOOK:
            self._last = time.monotonic()
            queued = self._ask()
            missing = set() if queued is None else {job for job in jobs if job not in queued}
            self._gone = missing & self._missing
            self._missing = missing
        return self._missing if at_once else self._gone

    def _ask(self) -> set[str] | None:
        """Ids of all jobs in the queue, those of arrays as ``array_index``; None if Slurm does not answer."""
        try:
            command = ["squeue", "--noheader", "--array", "--format=%i"]
            told = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return set(told.stdout.split()) if told.returncode == 0 else None


def _outcome(job: Any) -> Outcome:
    """What a job left; submitit raises all kinds of errors for one that left nothing."""
    from adaptxfer.runs.engines.job import lost

    try:
        return job.result()
    except Exception as error:
        return lost(f"job {job.job_id}: {type(error).__name__}, see {job.paths.stderr.name} of the job's folder")


def parse_options(words: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words as parameters; whole numbers become numbers.

    Raises:
        AdaptxferError: for a word of another form.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (sign and name.isidentifier() and value):
            raise use_error(f"--slurm {word!r} is not of the form KEY=VALUE.", "Write --slurm slurm_partition=gpu.")
        found[name] = int(value) if value.isascii() and value.isdecimal() else value
    return found
