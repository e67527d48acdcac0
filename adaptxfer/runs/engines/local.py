"""Worker processes on this machine, each carrying out one stage at a time.

A worker that dies, however it dies, costs only what it did since its stage's last checkpoint: another one is started
and the stage tried again. If the driver dies, its workers save a checkpoint and end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Any, Self

from adaptxfer.console import Bar, Console, console, set_console

if TYPE_CHECKING:
    from adaptxfer.runs.engines.job import Outcome
    from adaptxfer.runs.grid import Node

LIVE = 0.5
"""Seconds between two signs of life of a worker."""

SIGNALS = {signal.SIGINT, signal.SIGTERM}


@dataclass
class Worker:
    """A process, the pipe to it, and the key of the stage it works on."""

    process: Any
    pipe: Any
    key: str = ""
    live: dict[str, float] = field(default_factory=dict)


class LocalEngine:
    """``workers`` processes; with several GPUs they share them in turn.

    Args:
        workers: how many stages run at a time.
        gpus: what `CUDA_VISIBLE_DEVICES` may name; empty without GPUs.
    """

    def __init__(self, workers: int, gpus: Sequence[str] = ()) -> None:
        self._gpus = list(gpus)
        self._workers: list[Worker | None] = [None] * workers

    def __enter__(self) -> Self:
        resource_tracker.ensure_running()  # before signals are blocked: starting it unblocks them
        return self

    def __exit__(self, *error: object) -> None:
        self.interrupt()
        for worker in filter(None, self._workers):
            worker.pipe.close()
        for worker in filter(None, self._workers):
            worker.process.join(10)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def has_room(self) -> bool:
        """Whether a worker is idle."""
        return self.idle() > 0

    def idle(self) -> int:
        """How many workers have nothing to do."""
        return sum(worker is None or not worker.key for worker in self._workers)

    def working(self) -> int:
        """How many workers have a stage."""
        return sum(bool(worker and worker.key) for worker in self._workers)

    def submit(self, node: Node, places: Mapping[str, str]) -> None:
        """Give the stage to an idle worker."""
        from adaptxfer.runs.engines.job import attempt

        self.give(node.key, partial(attempt, node, dict(places)))

    def give(self, key: str, job: Callable[[], Any]) -> None:
        """Give a job to an idle worker, started if need be; what it returns comes through ``wait`` under ``key``."""
        place = next(i for i, worker in enumerate(self._workers) if worker is None or not worker.key)
        worker = self._workers[place]
        if worker is None or not worker.process.is_alive():
            worker = self._workers[place] = self._start(place)
        worker.key, worker.live = key, {}
        try:
            worker.pipe.send(job)
        except OSError:  # it died this very moment; ``wait`` finds out
            pass

    def _start(self, place: int) -> Worker:
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        environment = {"CUDA_VISIBLE_DEVICES": self._gpus[place % len(self._gpus)]} if self._gpus else {}
        if "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // len(self._workers)))
        process = multiprocessing.get_context("spawn").Process(target=work, args=(theirs, environment), daemon=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the child is born with them blocked
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        theirs.close()
        return Worker(process, ours)

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """Outcomes of the stages that ended within ``seconds``."""
        busy = {worker.pipe: worker for worker in self._workers if worker and worker.key}
        if not busy:
            time.sleep(seconds)
            return []
        ready = connection.wait(list(busy), seconds)
        return [(key, outcome) for pipe in ready for key, outcome in self._read(busy[pipe])]

    def _read(self, worker: Worker) -> Iterator[tuple[str, Outcome]]:
        key = worker.key
        try:
            kind, what = worker.pipe.recv()
        except (EOFError, OSError):
            yield key, self._lost(worker)
            return
        if kind == "live":
            worker.live = what
        elif kind == "warning":
            console().warn(what)
        else:
            worker.key, worker.live = "", {}
            yield key, what

    def _lost(self, worker: Worker) -> Outcome:
        from adaptxfer.runs.engines.job import lost

        worker.process.join()
        worker.key, worker.live = "", {}
        return lost(signal_name(worker.process.exitcode))

    def live(self) -> dict[str, dict[str, float]]:
        """The last sign of life of every stage under way."""
        return {worker.key: worker.live for worker in self._workers if worker and worker.key}

    def interrupt(self) -> None:
        """One termination signal to every worker at work: training saves a checkpoint, the rest stops."""
        for worker in self._workers:
            if worker and worker.key and worker.process.is_alive():
                worker.process.terminate()


def visible_gpus() -> list[str]:
    """The GPUs this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        return []
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def signal_name(code: int | None) -> str:
    """An exit code of `multiprocessing` in words."""
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def work(pipe: Any, environment: Mapping[str, str]) -> None:
    """The life of a worker: take a stage, carry it out, say how it ended, until the pipe closes.

    Args:
        pipe: to the driver.
        environment: variables that must be set before torch is imported.
    """
    os.environ.update(environment)
    os.setsid()  # Ctrl-C is for the driver, which tells its workers once
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a signal may have waited for this
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # standard output is the driver's document
        threading.Thread(target=_outlive_nobody, daemon=True).start()
        set_console(Relay(pipe))
        while True:
            job = pipe.recv()
            pipe.send(("end", job()))
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _outlive_nobody() -> None:
    """When the driver dies, stop like on a termination signal: with a checkpoint."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


class Relay(Console):
    """The console of a worker: warnings and speed go to the driver, everything else is in the run folder."""

    def __init__(self, pipe: Any) -> None:
        super().__init__("plain")
        self._pipe, self._last = pipe, 0.0

    def note(self, text: str) -> None:
        """Leave it out: it would mix with those of other stages."""

    def warn(self, text: str) -> None:
        """Pass it on."""
        self.send("warning", text)

    @contextmanager
    def progress(self, total: int, description: str, completed: int = 0) -> Iterator[Bar]:
        """A bar that tells the driver how fast it goes."""
        yield RelayBar(self, total, completed)

    def send(self, kind: str, what: Any) -> None:
        """Tell the driver, if it is still there."""
        try:
            self._pipe.send((kind, what))
        except OSError:
            pass

    def live(self, fields: Mapping[str, float]) -> None:
        """A sign of life, now and then."""
        if time.monotonic() - self._last > LIVE:
            self._last = time.monotonic()
            self.send("live", dict(fields))


class RelayBar:
    """The bar of a worker."""

    def __init__(self, relay: Relay, total: int, completed: int) -> None:
        self._relay, self._total, self._done = relay, total, completed

    def update(self, advance: int = 1, **fields: float) -> None:
        """Pass the fields on, with how far the stage is."""
        self._done += advance
        self._relay.live({"step": self._done, "steps": self._total, **fields})

    def resume(self, completed: int) -> None:
        """Start counting at ``completed``."""
        self._done = completed

    def show_parts(self, parts: Mapping[str, tuple[int, int]]) -> None:
        """A stage has no parts."""
