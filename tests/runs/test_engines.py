from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.engines.drive import drive
from adaptxfer.runs.engines.job import Outcome, attempt
from adaptxfer.runs.engines.local import LocalEngine, signal_name
from adaptxfer.runs.engines.schedule import Schedule
from adaptxfer.runs.grid import Grid, Node, expand
from adaptxfer.runs.gridfile import read_grid
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.survey import Survey
from tests.world import World, weights

ROOT = Path(__file__).resolve().parents[2]
PLAN = """
name = "tiny"
models = ["MODEL"]
intermediates = ["none", "weather"]
targets = ["seasons", "twins"]
seeds = [1]
[train]
max_steps = STEPS
evaluations = 4
batch_size = 4
on_chance = "warn"
[evaluate]
layer = 1
"""
STAGES = 7  # a module, two trainings, four evaluations


# --- the order of work, without processes


def node(key: str, *parents: str) -> Node:
    return Node(key, "target", f"stage {key}", key, 1, Ask(), (key,), parents)


def schedule_of(*nodes: Node, places: Mapping[str, str] | None = None, retries: int = 1) -> Schedule:
    return Schedule(Grid("drawn", nodes), places or {}, retries)


def counts(**given: int) -> dict[str, int]:
    return dict.fromkeys(("finished", "failed", "skipped", "unaffordable", "reused"), 0) | given


def test_a_stage_waits_for_its_parents() -> None:
    schedule = schedule_of(node("a"), node("b", "a"), node("c"))
    assert [schedule.next().key, schedule.next().key, schedule.next()] == ["a", "c", None]
    schedule.take("a", Outcome("finished", "target-a-00000000"))
    later = schedule.next()
    assert later.key == "b" and schedule.places(later) == {"a": "target-a-00000000"}


def test_a_failure_stops_only_what_builds_on_it() -> None:
    schedule = schedule_of(node("a"), node("b", "a"), node("c", "b"), node("d"))
    schedule.next()
    schedule.take("a", Outcome("failed", error="no data", code=2))
    assert [(entry.node.key, entry.state) for entry in schedule.failures()] == [
        ("a", "failed"), ("b", "skipped"), ("c", "skipped"),
    ]  # fmt: skip
    assert schedule.next().key == "d" and schedule.open()
    schedule.take("d", Outcome("finished", "target-d-00000000"))
    assert not schedule.open() and schedule.exit_code() == 2
    document = schedule.document()
    assert document["counts"] == counts(finished=1, failed=1, skipped=2)
    assert document["stages"][2]["error"] == "builds on stage a"


def test_a_lost_stage_is_tried_again_but_not_for_ever() -> None:
    schedule = schedule_of(node("a"), retries=2)
    for number in range(3):
        assert schedule.next().key == "a"
        entry, _ = schedule.take("a", Outcome("lost", error="killed", code=70, again=True, seconds=1.5))
        assert entry.state == ("waiting" if number < 2 else "failed")
    assert (entry.attempts, entry.seconds) == (3, 4.5)


def test_a_stage_that_another_process_has_is_asked_for_again_later(monkeypatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    schedule = schedule_of(node("a"), node("b"), retries=0)
    for pause in (1.0, 2.0, 4.0):
        assert schedule.next().key == "a"
        schedule.take("a", Outcome("busy"))
        assert schedule.entries["a"].attempts == 0
        if pause == 1.0:
            assert schedule.next().key == "b", "others come first"
        clock[0] += pause - 0.01
        assert schedule.next() is None
        clock[0] += 0.02
    assert schedule.next().key == "a"


def test_what_was_finished_before_is_not_done_again() -> None:
    schedule = schedule_of(node("a"), node("b", "a"), places={"a": "target-a-00000000"})
    assert schedule.next().key == "b" and schedule.document()["counts"]["reused"] == 1


class Interrupted(LocalEngine):
    """Ctrl-C comes just when a stage is handed over."""

    def submit(self, node: Node, places: Mapping[str, str]) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_while_a_stage_is_handed_over() -> None:
    with pytest.raises(AdaptxferError, match="0 of 1 stages are finished") as caught:
        drive(schedule_of(node("a")), Interrupted(1))
    assert caught.value.code == 130


# --- the same function on every engine


@pytest.fixture
def plan(tmp_path: Path, shared_world: World) -> Path:
    return write_plan(tmp_path, shared_world)


def write_plan(folder: Path, world: World, steps: int = 3) -> Path:
    path = folder / "plan.toml"
    path.write_text(PLAN.replace("MODEL", str(world.root / "tiny")).replace("STEPS", str(steps)))
    return path


def grid_of(plan: Path, ask: Ask) -> Grid:
    return expand(read_grid(plan), replace(ask, max_steps=None))


def test_a_stage_that_is_written_elsewhere_is_busy(plan, ask) -> None:
    first = grid_of(plan, ask).nodes[0]
    finished = attempt(first, {})
    store, folder = RunStore(ask.runs), Run(ask.runs / finished.run)
    manifest = folder.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"running"', 1))
    held = store.open(folder.manifest["kind"], folder.manifest["name"], folder.manifest["hash"])
    try:
        assert attempt(first, {}).state == "busy"
    finally:
        held.close()
    assert attempt(first, {}).state == "finished"


def test_errors_become_outcomes(plan, ask, monkeypatch) -> None:
    first = grid_of(plan, ask).nodes[0]
    told = attempt(replace(first, ask=replace(ask, model="./nowhere")), {})
    assert (told.state, told.code, told.again) == ("failed", 1, False) and "./nowhere" in told.error

    def fails(error: BaseException):
        def call(*given: Any) -> None:
            raise error

        return call

    for error, state, again in (
        (RuntimeError("out of memory"), "failed", True),
        (KeyboardInterrupt(), "interrupted", True),
        (AdaptxferError("Stopped.", code=130), "interrupted", True),
        (AdaptxferError("Diverged.", code=3), "failed", False),
    ):
        monkeypatch.setattr("adaptxfer.runs.engines.job.carry_out", fails(error))
        told = attempt(first, {})
        assert (told.state, told.again) == (state, again)


def test_exit_codes_in_words() -> None:
    assert signal_name(-9) == "killed by SIGKILL" and signal_name(1) == "exit code 1"


# --- worker processes


def test_failures_are_named_and_the_rest_is_done(shared_world, tmp_path, ask) -> None:
    path = write_plan(tmp_path, shared_world)
    grid = grid_of(path, ask)
    broken = tuple(
        replace(n, ask=replace(n.ask, data_dir=tmp_path)) if n.kind == "intermediate" else n for n in grid.nodes
    )
    schedule = Schedule(Grid(grid.name, broken), {})
    drive(schedule, LocalEngine(2))
    assert schedule.document()["counts"] == counts(finished=3, failed=1, skipped=3)
    assert schedule.exit_code() == 2
    assert {entry.node.label for entry in schedule.failures() if entry.state == "skipped"} == {
        "target weather (for seasons), stack on weather, seed 1",
        "evaluate seasons, stack on weather, seed 1",
        "evaluate twins, stack on weather, seed 1",
    }


def test_another_worker_takes_over_from_a_killed_one(shared_world, tmp_path, ask) -> None:
    class Struck(LocalEngine):
        """Kills every worker once, in the middle of its first stage."""

        def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
            for worker in filter(None, self._workers):
                if worker.key and len(struck) < 2 and worker.process.pid not in struck:
                    struck.append(worker.process.pid)
                    worker.process.kill()
            return super().wait(seconds)

    struck: list[int] = []
    schedule = Schedule(grid_of(write_plan(tmp_path, shared_world), ask), {})
    drive(schedule, Struck(2))
    assert len(struck) == 2 and schedule.count("finished") == STAGES
    assert sorted(entry.attempts for entry in schedule.entries.values())[-3:] == [1, 2, 2]


class Shell:
    """Starts the command line on a plan, in a session of its own as a terminal would."""

    def __init__(self, world: World, plan: Path) -> None:
        self.world, self.plan = world, plan
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}

    def start(self, runs: Path, *words: str) -> subprocess.Popen[str]:
        options = {"data-dir": self.world.root / "data", "tasks": self.world.root / "tasks", "runs": runs}
        given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-c", RUN, "grid", str(self.plan), "--workers", "2", "--json", *given, *words]
        return subprocess.Popen(
            command, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def run(self, runs: Path, *words: str, code: int = 0) -> dict[str, Any]:
        process = self.start(runs, *words)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, err
        assert "Traceback" not in err
        return json.loads(out.splitlines()[-1])


RUN = """
import sys
from adaptxfer.cli import grid, main
from adaptxfer.cli.app import app
if "grid" not in [command.name for command in app.registered_commands]:
    grid.register(app)
sys.exit(main())
"""


@pytest.fixture(scope="module")
def shell(shared_world: World, tmp_path_factory) -> Shell:
    return Shell(shared_world, write_plan(tmp_path_factory.mktemp("plans"), shared_world, steps=24))


@pytest.fixture(scope="module")
def whole(shell: Shell, tmp_path_factory) -> Path:
    """The runs of a grid that nobody disturbed."""
    runs = tmp_path_factory.mktemp("whole")
    document = shell.run(runs)
    assert document["counts"] == counts(finished=STAGES)
    assert all("mean" in stage["scores"] for stage in document["stages"] if stage["kind"] == "evaluate")
    return runs


def results(runs: Path) -> dict[str, Any]:
    """Everything that a grid is for, by run: weights, predictions and scores."""
    found = {}
    for run in RunStore(runs).list():
        assert run.status == "finished", run.name
        files = [*run.path.glob("predictions/[!.]*"), *run.path.glob("scores.json")]  # no torn temporary ones
        found[run.name] = weights(run.path) | {path.name: path.read_bytes() for path in files}
    return found


def ends(runs: Path) -> dict[str, str]:
    """When each finished run was finished."""
    return {run.name: run.manifest["finished"] for run in RunStore(runs).list() if run.status == "finished"}


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def changes(runs: Path, process: subprocess.Popen[str]) -> Iterator[int]:
    """Counts the stages that were begun, as they are; ends when the process does."""
    while process.poll() is None:
        yield sum(path.joinpath("manifest.json").exists() for path in runs.glob("*-*"))
        time.sleep(0.01)


def ray_workers() -> list[psutil.Process]:
    """The processes of Ray that carry out a task right now."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if (process.info["cmdline"] or [""])[0].startswith("ray::attempt")]


def wait_for(runs: Path, process: subprocess.Popen[str], more: int) -> None:
    """Until ``more`` further stages were begun, or the process ended."""
    first = None
    for count in changes(runs, process):
        first = count if first is None else first
        if count >= min(first + more, STAGES):
            return


def test_killed_at_any_instant_nothing_finished_is_lost_or_repeated(shell, whole, tmp_path) -> None:
    chance = random.Random(5)
    before: dict[str, str] = {}
    for victim in ("worker", "driver"):
        process = shell.start(tmp_path)
        wait_for(tmp_path, process, chance.randrange(1, 3))
        time.sleep(chance.random() * 0.3)
        if victim == "worker":  # the driver starts another one
            for worker in workers_of(process)[:1]:
                worker.kill()
            wait_for(tmp_path, process, 1)
        process.kill()
        process.communicate(timeout=60)
        assert before.items() <= ends(tmp_path).items()
        before = ends(tmp_path)
    document = shell.run(tmp_path)  # at once: the orphans are still saving their checkpoints
    assert document["counts"]["finished"] == STAGES
    assert before.items() <= ends(tmp_path).items(), "no finished stage was done again"
    assert results(tmp_path) == results(whole)


def test_ctrl_c_saves_checkpoints_and_the_same_command_continues(shell, whole, tmp_path) -> None:
    process = shell.start(tmp_path)
    wait_for(tmp_path, process, 3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out.splitlines()[-1])["error"]["code"] == 130 and "Traceback" not in err
    stopped = [run for run in RunStore(tmp_path).list() if run.status != "finished"]
    assert all(run.status in ("interrupted", "new") for run in stopped), [run.status for run in stopped]
    document = shell.run(tmp_path)
    assert document["counts"]["finished"] == STAGES
    assert results(tmp_path) == results(whole)


def test_two_grids_on_one_folder_share_the_work(shell, whole, tmp_path) -> None:
    one, two = shell.start(tmp_path), shell.start(tmp_path)
    answers = [process.communicate(timeout=240) for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], answers
    for out, _ in answers:
        assert json.loads(out.splitlines()[-1])["counts"]["finished"] == STAGES
    assert results(tmp_path) == results(whole)


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
    runs, plan = tmp_path / "runs", tmp_path / "plan.toml"
    plan.write_text(
        shell.plan.read_text().replace('["none", "weather"]', '["none"]')
    )  # a process for each stage is slow
    grid = grid_of(plan, replace(ask, runs=runs, **dict.fromkeys(OWN)))
    schedule = Schedule(grid, {})
    drive(schedule, Struck(2, tmp_path / "jobs", {"timeout_min": 10}, cluster="local"))
    assert len(struck) == 1 and max(entry.attempts for entry in schedule.entries.values()) == 2
    found = results(runs)
    assert schedule.count("finished") == len(found) == 3 and found.items() <= results(whole).items()


def test_slurm_options(tmp_path) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from adaptxfer.runs.engines.slurm import SlurmEngine, parse_options

    assert parse_options(["timeout_min=60", "slurm_partition=gpu"]) == {"timeout_min": 60, "slurm_partition": "gpu"}
    for wrong in ("gpu", "=gpu", "a b=1", "x="):
        with pytest.raises(AdaptxferError, match="KEY=VALUE"):
            parse_options([wrong])
    with pytest.raises(AdaptxferError, match="Slurm cannot be used"):
        SlurmEngine(1, tmp_path, {"no_such_thing": 1}, cluster="local")


def test_finished_grids_start_no_worker(whole, ask, shell) -> None:
    grid = expand(read_grid(shell.plan), replace(ask, runs=whole, **dict.fromkeys(OWN)))
    engine = LocalEngine(1)
    schedule = Schedule(grid, Survey(grid).places())
    drive(schedule, engine)
    assert schedule.count("finished") == STAGES and engine._workers == [None]


OWN = ("max_steps", "evaluations", "batch_size", "learning_rate")
