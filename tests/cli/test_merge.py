"""``adaptxfer merge`` as a user meets it."""

from __future__ import annotations

import json

import pytest

from adaptxfer.cli import main
from adaptxfer.runs.store import RunStore
from tests.world import open_world


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    """A world with one task trained with two seeds; nothing is merged in its folder of runs."""
    with open_world(tmp_path_factory.mktemp("merges"), mini_dir) as made:
        assert main(["train-intermediate", "weather", "--seeds", "1,2", *made.words(), "--no-progress"]) == 0
        assert main(["train-intermediate", "weather", "--method", "lora", *made.words(), "--no-progress"]) == 0
        yield made


@pytest.fixture
def call(world, tmp_path, capsys):
    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        given = ["--data-dir", world.root / "data", "--tasks", world.root / "tasks", "--model", world.root / "tiny"]
        code = main([str(word) for word in ["merge", *words, *given, "--runs", tmp_path / "runs"]])
        return code, *capsys.readouterr()

    return run


def parts(world, method="bottleneck"):
    return sorted(str(run.path) for run in RunStore(world.root / "runs").find_finished("intermediate", method=method))


def test_merged_then_listed(call, world, tmp_path, capsys) -> None:
    code, out, _ = call(*parts(world), "--by", "ties", "--density", 0.5)
    assert code == 0 and "ties-weather" in out and "Next: adaptxfer transfer --to TASK --from" in out
    assert main(["runs", "list", "--runs", str(tmp_path / "runs"), "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["kind"], run["status"], run["how"]) == ("merged", "finished", "merge")
    assert main(["runs", "show", run["run"], "--runs", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert "density" in shown and "0.5" in shown


def test_a_dry_run_merges_nothing(call, world, tmp_path) -> None:
    code, out, _ = call(*parts(world), "--weights", "1,3", "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0 and [part["weight"] for part in plan["parts"]] == [0.25, 0.75]
    assert plan["state"] == "to do" and plan["head"] and not (tmp_path / "runs").exists()


def test_a_soup_shows_its_tasting(call, world) -> None:
    code, out, _ = call(*parts(world), "--by", "soup", "--dev-limit", 4)
    assert code == 0 and "Greedy soup on English dev data" in out and "yes" in out


def test_a_lora_tells_what_its_rank_keeps(call, world) -> None:
    code, out, _ = call(*parts(world, "lora"), "--by", "arithmetic", "--weights", "-1", "--rank", 2)
    assert code == 0 and "Rank 2 keeps" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--by", "tise"], "Did you mean 'ties'?"),
        (["--by", "soup", "--weights", "1,1"], "chooses the weights itself"),
        (["--weights", "1,b"], "not a list of numbers"),
        (["--weights", "1,-1"], "Use --by arithmetic"),
        (["--rank", 4], "--rank belongs to LoRA"),
        (["nowhere"], "There is no run 'nowhere'"),
    ],
)
def test_wrong_use(call, world, words, told) -> None:
    code, out, err = call(*parts(world), *words)
    assert code == 1 and told in err and out == "" and "Traceback" not in err
