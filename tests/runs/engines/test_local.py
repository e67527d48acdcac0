from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import psutil

from adaptxfer.runs.engines.drive import drive
from adaptxfer.runs.engines.local import LocalEngine, signal_name
from adaptxfer.runs.engines.schedule import Schedule
from adaptxfer.runs.grid import Grid, expand
from adaptxfer.runs.gridfile import read_grid
from adaptxfer.runs.shard import shard
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.survey import Survey
from tests.runs.engines.grids import OWN, STAGES, ends, grid_of, results, wait_for, write_plan

MODULE_BYTES = 4_000
"""Enough for a manifest, too little for the weights of a module."""


def test_exit_codes_in_words() -> None:
    assert signal_name(-9) == "killed by SIGKILL" and signal_name(1) == "exit code 1"


def test_failures_are_named_and_the_rest_is_done(shared_world, tmp_path, ask) -> None:
    path = write_plan(tmp_path, shared_world)
    grid = grid_of(path, ask)
    broken = tuple(
        replace(n, ask=replace(n.ask, data_dir=tmp_path)) if n.kind == "intermediate" else n for n in grid.nodes
    )
    schedule = Schedule(Grid(grid.name, broken), {})
    drive(schedule, LocalEngine(1))
    assert [schedule.count(state) for state in ("finished", "failed", "skipped")] == [3, 1, 3]
    assert schedule.exit_code() == 2
    assert {entry.node.label for entry in schedule.failures() if entry.state == "skipped"} == {
        "target weather (for seasons), stack on weather, seed 1",
        "evaluate seasons, stack on weather, seed 1",
        "evaluate twins, stack on weather, seed 1",
    }


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def kill_at_work(runs: Path, process: subprocess.Popen[str]) -> None:
    """Kill every worker while one has a stage: held still first, or the stage could end before the signal comes."""
    while process.poll() is None:
        workers = workers_of(process)
        for worker in workers:
            worker.suspend()
        if any(run.status == "running" for run in RunStore(runs).list()):
            for worker in workers:
                worker.kill()
            return
        for worker in workers:
            worker.resume()
        time.sleep(0.01)


def test_stopped_in_any_way_nothing_finished_is_lost_or_repeated(shell, whole, tmp_path) -> None:
    """The workers are killed, then Ctrl-C; the driver is killed; at last nobody is."""
    chance = random.Random(5)
    process = shell.start(tmp_path)
    wait_for(tmp_path, process, chance.randrange(1, 3))
    time.sleep(chance.random() * 0.3)
    kill_at_work(tmp_path, process)  # the driver starts others
    wait_for(tmp_path, process, 1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=60)
    events = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 130 and events[-1]["error"]["code"] == 130 and "Traceback" not in err, err
    assert "retried" in [item["event"] for item in events]
    stopped = [run for run in RunStore(tmp_path).list() if run.status != "finished"]
    assert all(run.status in ("interrupted", "new") for run in stopped), [run.status for run in stopped]
    before = ends(tmp_path)
    process = shell.start(tmp_path)
    wait_for(tmp_path, process, 1)
    time.sleep(chance.random() * 0.3)
    process.kill()
    process.communicate(timeout=60)
    assert before.items() <= ends(tmp_path).items()
    before = ends(tmp_path)
    assert shell.run(tmp_path)["counts"]["finished"] == STAGES  # at once: the orphans are still saving checkpoints
    assert before.items() <= ends(tmp_path).items(), "no finished stage was done again"
    assert results(tmp_path) == results(whole)


def test_two_grids_on_one_folder_share_the_work(shell, whole, tmp_path) -> None:
    one, two = (shell.start(tmp_path, "--workers", "1") for _ in range(2))
    answers = [process.communicate(timeout=240) for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], answers
    for out, _ in answers:
        document = json.loads(out.splitlines()[-1])
        assert document["counts"]["finished"] == STAGES
        assert all("mean" in stage["scores"] for stage in document["stages"] if stage["kind"] == "evaluate")
    assert results(tmp_path) == results(whole)


def test_a_full_disk_fails_a_stage_and_the_next_try_goes_on(shell, whole, ask, tmp_path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(shell.plan.read_text().replace('["none", "weather"]', '["none"]').replace(', "twins"', ""))
    grid = grid_of(plan, replace(ask, runs=tmp_path / "runs", **dict.fromkeys(OWN)))
    first, second = Schedule(grid, {}), Schedule(grid, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MODULE_BYTES, hard))  # its workers inherit it: no file may be larger
    try:
        drive(first, LocalEngine(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [first.count("failed", "skipped"), first.exit_code()] == [2, 2]
    assert "Writing" in next(first.failures()).error and "File too large" in next(first.failures()).error
    drive(second, LocalEngine(1))
    assert second.count("finished") == 2
    found = results(tmp_path / "runs")
    assert found.items() <= results(whole).items()


def test_shards_know_nothing_of_each_other_and_are_merged_by_copying(whole, ask, shell, tmp_path) -> None:
    plan = read_grid(shell.plan)

    def places(runs: Path, number: int = 0) -> dict[str, str]:
        grid = expand(plan, replace(ask, runs=runs, **dict.fromkeys(OWN)))
        return Survey(shard(grid, number, 2) if number else grid).places()

    parts = [places(whole, number) for number in (1, 2)]
    assert not parts[0].keys() & parts[1].keys() and len(parts[0] | parts[1]) == STAGES
    for number, part in enumerate(parts, 1):
        for run in part.values():
            shutil.copytree(whole / run, tmp_path / str(number) / run)
        assert len(places(tmp_path / str(number))) == len(part), "each part stands alone"
        shutil.copytree(tmp_path / str(number), tmp_path / "both", dirs_exist_ok=True)
    assert len(places(tmp_path / "both")) == STAGES


def test_finished_grids_start_no_worker(whole, ask, shell) -> None:
    grid = expand(read_grid(shell.plan), replace(ask, runs=whole, **dict.fromkeys(OWN)))
    engine = LocalEngine(1)
    schedule = Schedule(grid, Survey(grid).places())
    drive(schedule, engine)
    assert schedule.count("finished") == STAGES and engine._workers == [None]
