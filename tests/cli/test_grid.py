from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adaptxfer.cli import grid, main
from adaptxfer.cli.app import app
from adaptxfer.console import console, set_console
from tests.world import World, open_world

ROOT = Path(__file__).resolve().parents[2]
PLAN = """
name = "tiny"
models = ["mini"]
intermediates = ["none", "weather"]
targets = ["seasons"]
[train]
max_steps = 2
evaluations = 1
[joint.lonely]
tasks = ["weather"]
"""
GOOD = PLAN.replace('"none", "weather"', '"none", "weather", "lonely"').replace(
    'tasks = ["weather"]', 'tasks = ["weather", "endings"]'
)

if "grid" not in [command.name for command in app.registered_commands]:
    grid.register(app)


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    with open_world(tmp_path_factory.mktemp("grid"), mini_dir) as made:
        yield made


@pytest.fixture
def say(world: World, capsys, tmp_path, monkeypatch):
    """Runs ``grid`` on a plan's text."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*words: str, text: str = GOOD):
        plan = tmp_path / "plan.toml"
        plan.write_text(text)
        capsys.readouterr()
        code = main(["grid", str(plan), *world.words(training=False), *words])
        return code, *capsys.readouterr()

    return run


def counts(**given: int) -> dict[str, int]:
    return dict.fromkeys(("finished", "failed", "skipped", "unaffordable", "reused"), 0) | given


def test_a_grid_from_plan_to_scores(say, world) -> None:
    code, out, _ = say("--dry-run")
    assert code == 0 and "Stages in order" in out and "waits for its parents" in out
    assert not (world.root / "runs").exists(), "a dry run leaves nothing"
    code, out, err = say("--workers", "2")
    assert code == 0 and "8 stages are finished, 0 of them were before." in out and "[8/8]" in err
    code, out, err = say("--json")
    events = [json.loads(line) for line in out.splitlines()]
    document = events[-1]
    assert [item["event"] for item in events] == ["planned", *["reused"] * 8, "end"]
    assert code == 0 and document["counts"] == counts(finished=8, reused=8)
    assert {stage["scores"]["metric"] for stage in document["stages"] if stage["kind"] == "evaluate"} == {"accuracy"}
    code, out, _ = say("--dry-run", "--seeds", "1,2", "--json")
    assert json.loads(out)["counts"]["evaluate"] == {"stages": 6, "finished": 3}


def test_watching_a_plan_that_something_else_carries_out(say, world, monkeypatch) -> None:
    text = PLAN.split("[joint")[0].replace('"none", "weather", "lonely"', '"none", "weather"')
    said = []

    def meanwhile(_seconds: float) -> None:
        assert not said, "it goes on after the last stage"
        said.append("")
        mine = console()
        code, _, _ = say("--seeds", "5", text=text)
        set_console(mine)
        assert code == 0

    monkeypatch.setattr("adaptxfer.cli.watch.time.sleep", meanwhile)
    code, out, _ = say("--watch", "--json", "--seeds", "5", text=text)
    document = json.loads(out.splitlines()[-1])
    assert code == 0 and said and document["finished"] == document["stages"] and document["running"] == []
    code, out, err = say("--watch", "--seeds", "5", text=text)
    assert code == 0 and f"{document['stages']} of {document['stages']} stages finished" in out + err


def test_watching_ends_where_nothing_can_start(say, world) -> None:
    text = PLAN.split("[joint")[0].replace('"none", "weather", "lonely"', '"none", "weather"')
    code, out, _ = say("--watch", "--json", "--model", "./nowhere", text=text)
    assert code == 0 and json.loads(out.splitlines()[-1])["finished"] == 0


def test_a_failure_is_named_and_decides_the_exit_code(say, world) -> None:
    world.file("endings", "train", "en").unlink()
    text = PLAN.split("[joint")[0].replace('"none", "weather"', '"endings"')
    code, out, err = say(text=text)
    assert code == 2 and "Not finished" in out and "Traceback" not in err
    assert "warning: intermediate endings, seed 1 failed: endings: no train data" in err
    assert out.count("skipped") == 2
    code, out, _ = say("--json", text=text)
    assert code == 2 and json.loads(out.splitlines()[-1])["counts"] == counts(failed=1, skipped=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engine", "locla"], ["--engine 'locla' is unknown", "Did you mean 'local'?"]),
        (["--slurm", "a=1"], ["--slurm belongs to --engine slurm"]),
        (["--workers", "0"], ["--workers"]),
        (["--shard", "two"], ["--shard 'two' is not of the form K/N"]),
        (["--shard", "1/9"], ["independent parts, not 9"]),
        (["--seeds", "1,1"], ["different whole numbers"]),
        (["--max-steps", "-1"], ["--max-steps"]),
        (["--data-dir", "nowhere"], ["--data-dir nowhere is not a folder"]),
        (["--model", "./nowhere", "--dry-run"], []),
    ],
)
def test_wrong_use(say, words: list[str], said: list[str]) -> None:
    code, out, err = say(*words, text=PLAN.split("[joint")[0])
    assert "Traceback" not in err and "Unexpected" not in err
    if not said:  # a dry run says so in its table
        assert code == 0 and "Cannot start: There is no model folder" in out
        return
    assert code == 1 and all(text in err for text in said) and out == ""


def test_a_plan_with_faults_names_all(say) -> None:
    code, _, err = say(text=PLAN.replace("targets", "tragets"))
    assert (
        code == 1 and "tragets: unknown key" in err and "targets: missing" in err and "joint.lonely: is not used" in err
    )
    code, _, err = say("nowhere.toml")
    assert code == 1 and "Traceback" not in err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from adaptxfer.cli import grid, main; from adaptxfer.cli.app import app;"
        "names = [command.name for command in app.registered_commands];"
        "None if 'grid' in names else grid.register(app); main(['grid', '--help']);"
        "print(*{'torch', 'transformers', 'ray', 'submitit', 'numpy'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "--engine" in done.stdout and done.stdout.splitlines()[-1] == ""
