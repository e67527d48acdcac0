"""Several processes that carry out one script or command together, as torchrun would start them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def start(words: Sequence[object], count: int = 2) -> list[subprocess.Popen[str]]:
    """``python`` with these words in ``count`` processes that find each other over a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    shared |= {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def finish(processes: Sequence[subprocess.Popen[str]], timeout: float = 300) -> list[tuple[int, str, str]]:
    """Exit code, standard output and standard error of each."""
    try:
        return [(process.returncode, *said) for process in processes for said in [process.communicate(timeout=timeout)]]
    finally:
        for process in processes:
            process.kill()


def together(words: Sequence[object], count: int = 2) -> list[tuple[int, str, str]]:
    """`start` and `finish`."""
    return finish(start(words, count))
