"""The processes that carry out one command together, as ``torchrun`` and ``accelerate launch`` start them.

All of them read, compute and decide the same; the first one alone writes and prints. What they must know of each other
goes through the few functions here. With one process, the usual case, every function answers at once.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from adaptxfer.errors import INTERRUPTED, TRAINING, AdaptxferError, training_error, use_error

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
PATIENCE = timedelta(hours=12)
"""How long a process waits for the others, who may be scoring; one that died is noticed at once."""
LOST = ("gloo", "nccl", "connection", "socket", "broken pipe", "timed out")
"""What messages of a failed exchange have in common."""

_meeting = False
_shared: list[AdaptxferError] = []


def size() -> int:
    """Number of processes."""
    return _number("WORLD_SIZE", 1) if {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return _number("RANK", 0) if size() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return rank() == 0


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else default


@contextmanager
def together() -> Iterator[None]:
    """Inside the block all processes are connected, and one that ends before the others is told as an error.

    Raises:
        AdaptxferError: if the processes cannot find each other, or another one ended.
    """
    if size() == 1:
        yield
        return
    _connect()
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in LOST):
            raise
        raise training_error(
            f"Another of the {size()} processes ended, or the connection to it.",
            "What it said stands above; the same command continues from the last checkpoint.",
        ) from error


def is_alone_with(error: AdaptxferError) -> bool:
    """Whether this is a later process and the first one may not know of its error.

    Before the processes are connected all meet the same errors, and those of training arise in all of them.
    """
    shared = error.code in (TRAINING, INTERRUPTED) or error in _shared
    return not is_first() and _meeting and not shared


def _connect() -> None:
    global _meeting
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    _meeting = True
    gpus, local = torch.cuda.device_count(), _number("LOCAL_RANK", rank())
    if gpus and local >= gpus:
        raise use_error(f"Process {local} on this machine has no GPU of its own ({gpus} here).", "Start fewer.")
    if gpus:
        torch.cuda.set_device(local)
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise use_error(
            f"The {size()} processes cannot find each other: {error}", "Start them with torchrun."
        ) from error
    atexit.register(_disconnect)


def _disconnect() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def first(work: Callable[[], T]) -> T:
    """What ``work`` gives in the first process, to all; it is done there alone.

    Raises:
        AdaptxferError: in every process, if ``work`` raised it.
    """
    if size() == 1:
        return work()
    from torch import distributed

    answer: list[Any] = [None, None]
    if is_first():
        try:
            answer[0] = work()
        except AdaptxferError as error:
            answer[1] = error
    distributed.broadcast_object_list(answer)
    if answer[1] is not None:
        _shared.append(answer[1])
        raise answer[1]
    return answer[0]


@contextmanager
def first_goes_ahead() -> Iterator[None]:
    """The others enter the block when the first has left it, and find what it wrote."""
    if not is_first():
        wait()
    try:
        yield
    finally:
        if is_first():
            wait()


def wait() -> None:
    """Go on when all processes are here."""
    total_of(0.0)


def gathered(value: T) -> list[T]:
    """The value of every process, in their order."""
    if size() == 1:
        return [value]
    from torch import distributed

    found: list[Any] = [None] * size()
    distributed.all_gather_object(found, value)
    return found


def total(tensor: Tensor) -> Tensor:
    """The sum of the tensors of all processes; ``tensor`` becomes it."""
    if size() > 1:
        from torch import distributed

        distributed.all_reduce(tensor)
    return tensor


def total_of(value: float) -> float:
    """The sum of a number over all processes."""
    if size() == 1:
        return value
    import torch

    return float(total(torch.tensor(float(value), dtype=torch.float64)))


def most(number: int) -> int:
    """The largest of a number over all processes."""
    return max(gathered(number))


def anyone(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return total_of(flag) > 0


def own(items: Sequence[T]) -> Iterator[tuple[T, bool]]:
    """The items of this process, every ``size()``-th, and whether they count.

    All processes get equally many, as models that are spread over them need: where there are too few the last one comes
    once more and does not count.
    """
    for index in range(rank(), -(-len(items) // size()) * size(), size()):
        yield items[min(index, len(items) - 1)], index < len(items)
