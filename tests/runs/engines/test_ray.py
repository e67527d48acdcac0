from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.runs.engines.grids import STAGES, ends, results, wait_for


def ray_workers() -> list[psutil.Process]:
    """The processes of Ray that carry out a task right now."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if (process.info["cmdline"] or [""])[0].startswith("ray::attempt")]


def test_ray_gives_the_same_also_when_killed(shell, whole, tmp_path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    words = ("--engine", "ray")
    process = shell.start(tmp_path, *words)
    wait_for(tmp_path, process, 2)
    for worker in ray_workers()[:1]:
        worker.kill()
    wait_for(tmp_path, process, 1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in err, err
    before = ends(tmp_path)
    assert shell.run(tmp_path, *words)["counts"]["finished"] == STAGES
    assert before.items() <= ends(tmp_path).items()
    assert results(tmp_path) == results(whole)
