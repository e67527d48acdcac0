from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.engines.drive import drive
from adaptxfer.runs.engines.job import Outcome
from adaptxfer.runs.engines.schedule import Schedule
from adaptxfer.runs.engines.slurm import Queue
from tests.runs.engines.grids import OWN, Shell, grid_of, results


def baseline(shell: Shell, folder: Path) -> Path:
    """The plan without its module: a process for each stage is slow."""
    plan = folder / "plan.toml"
    plan.write_text(shell.plan.read_text().replace('["none", "weather"]', '["none"]'))
    return plan


def test_submitit_gives_the_same_also_when_killed(shell, whole, ask, tmp_path) -> None:
    """Its executor on this machine: the one for Slurm differs in how a job is queued."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from adaptxfer.runs.engines.slurm import SlurmEngine

    class Struck(SlurmEngine):
        """Kills the first job that is under way."""

        def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
            ended = super().wait(seconds)
            for process in psutil.process_iter(["cmdline"]) if not ended and not struck else ():
                if (
                    str(tmp_path / "jobs") in " ".join(process.info["cmdline"] or ())
                    and "_submit" in process.cmdline()[-2]
                ):
                    struck.append(process.pid)
                    process.kill()
                    break
            return ended

    struck: list[int] = []
    runs = tmp_path / "runs"
    grid = grid_of(baseline(shell, tmp_path), replace(ask, runs=runs, **dict.fromkeys(OWN)))
    schedule = Schedule(grid, {})
    drive(schedule, Struck(2, tmp_path / "jobs", {"timeout_min": 10}, cluster="local"))
    assert len(struck) == 1 and max(entry.attempts for entry in schedule.entries.values()) == 2
    found = results(runs)
    assert schedule.count("finished") == len(found) == 3 and found.items() <= results(whole).items()


def has_slurm() -> bool:
    """Whether a Slurm answers here (on Debian: slurm-wlm and munge, a slurm.conf of one node)."""
    if shutil.which("sinfo") is None:
        return False
    told = subprocess.run(["sinfo", "--noheader", "--format=%a"], capture_output=True, text=True, timeout=20)
    return "up" in told.stdout


@pytest.mark.skipif(not has_slurm(), reason="no Slurm answers here")
def test_slurm_itself_gives_the_same_also_when_a_job_is_killed(shell, whole, tmp_path) -> None:
    runs = tmp_path / "runs"
    words = ("--engine", "slurm", "--slurm", "timeout_min=10", "--slurm", "cpus_per_task=1")
    process = Shell(shell.world, baseline(shell, tmp_path)).start(runs, *words)
    while process.poll() is None and not (jobs := own_jobs(runs)):
        time.sleep(0.2)
    subprocess.run(["scancel", "--signal=KILL", jobs[0]], check=False)  # as when a node dies
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0 and "Traceback" not in err, err
    told = [json.loads(line) for line in out.splitlines()]
    assert told[-1]["counts"]["finished"] == 3
    assert [item["event"] for item in told].count("retried") >= 1, "the killed job was tried again"
    found = results(runs)
    assert found.items() <= results(whole).items()
    assert any("--array=0-1" in path.read_text() for path in (runs / ".slurm").glob("*.sh")), "two came as an array"


def own_jobs(runs: Path) -> list[str]:
    """Jobs in the queue whose files lie below ``runs``."""
    known = {path.name.removesuffix("_submitted.pkl") for path in (runs / ".slurm").glob("*_submitted.pkl")}
    told = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i"], capture_output=True, text=True, timeout=20
    )
    return [job for job in told.stdout.split() if job in known]


class Answers(Queue):
    """A queue whose answers are written down beforehand."""

    def __init__(self, *answers: set[str] | None) -> None:
        super().__init__()
        self.answers = list(answers)

    def _ask(self) -> set[str] | None:
        return self.answers.pop(0)


def test_a_job_is_lost_when_it_is_missing_twice_in_a_row(monkeypatch) -> None:
    monkeypatch.setattr("adaptxfer.runs.engines.slurm.LOOK", -1.0)
    queue = Answers({"1_0"}, {"1_0"}, None, {"1_0"}, {"1_0", "1_1"}, set(), set())
    looks = [queue.gone(["1_0", "1_1"]) for _ in range(7)]
    assert looks == [set(), {"1_1"}, set(), set(), set(), set(), {"1_0", "1_1"}]
    assert Answers(set()).gone(["1_0"], at_once=True) == {"1_0"}
    assert Answers().gone([]) == set(), "nobody is asked for nothing"


def test_slurm_options(tmp_path) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from adaptxfer.runs.engines.slurm import SlurmEngine, parse_options

    assert parse_options(["timeout_min=60", "slurm_partition=gpu"]) == {"timeout_min": 60, "slurm_partition": "gpu"}
    for wrong in ("gpu", "=gpu", "a b=1", "x="):
        with pytest.raises(AdaptxferError, match="KEY=VALUE"):
            parse_options([wrong])
    with pytest.raises(AdaptxferError, match="Slurm cannot be used"):
        SlurmEngine(1, tmp_path, {"no_such_thing": 1}, cluster="local")
