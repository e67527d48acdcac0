"""An exclusive lock on a run folder that dies with its process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adaptxfer.errors import data_error
from adaptxfer.files import write_error

NAME = "lock"
PATIENCE = 0.5
"""Seconds to wait for somebody who only looks whether the lock is held."""

_held: set[int] = set()


def _forget_in_child() -> None:
    """A forked worker must not keep the lock alive when its parent dies."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


class Lock:
    """The lock of one folder.

    It is an advisory ``flock`` on the file ``lock``, so the system releases it when the holder ends, however it ends.
    The file's content (process, host, start) is only there to tell others who holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._descriptor = -1

    def take(self) -> None:
        """Take the lock.

        Raises:
            AdaptxferError: if another process holds it, or the file system has no locks.
        """
        give_up = time.monotonic() + PATIENCE
        while not self._try():
            if time.monotonic() > give_up:
                raise self._held_error()
            time.sleep(0.02)
        owner = {"process": os.getpid(), "host": socket.gethostname(), "start": now()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(owner).encode(), 0)

    def release(self) -> None:
        """Let others have it; does nothing if it is not held."""
        if self._descriptor in _held:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = -1

    def _try(self) -> bool:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except (FileNotFoundError, FileExistsError):  # the folder is being removed
            return False
        except OSError as error:
            raise write_error(self._path, error) from error
        if _flock(descriptor, fcntl.LOCK_EX, self._path) and self._is_current(descriptor):
            self._descriptor = descriptor
            _held.add(descriptor)
            return True
        os.close(descriptor)
        return False

    def _is_current(self, descriptor: int) -> bool:
        """False if the file was removed and made again between opening and locking it."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _held_error(self) -> Exception:
        owner = read_owner(self._path.parent)
        who = f"process {owner.get('process', '?')} on {owner.get('host', 'an unknown host')}"
        since = f" since {owner['start']}" if "start" in owner else ""
        return data_error(
            f"Run {self._path.parent.name} is being written by {who}{since}.",
            "Wait for it or stop that process; the same command then continues from its last checkpoint.",
        )


def is_held(folder: Path) -> bool:
    """Whether a living process writes in ``folder``."""
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _flock(descriptor, fcntl.LOCK_SH, folder / NAME)
    finally:
        os.close(descriptor)


def read_owner(folder: Path) -> dict[str, Any]:
    """Process, host and start as the last holder wrote them; empty if unknown."""
    try:
        owner = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _flock(descriptor: int, how: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            hint = "Choose a folder on a file system with locks, with --runs DIR."
            raise data_error(f"{path} cannot be locked: {error.strerror}.", hint) from error
        raise
    return True
