"""``adaptxfer select`` as a user meets it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adaptxfer.cli import main
from adaptxfer.runs.store import RunStore
from adaptxfer.studies.table import RecordTable, read_csv, write_csv
from adaptxfer.studies.worlds import changed, simulate
from tests.world import open_world


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    """A world with two intermediate modules, a shorter training of one of them, and a sham."""
    with open_world(tmp_path_factory.mktemp("select"), mini_dir) as made:
        for words in (["weather"], ["endings"], ["weather", "--max-steps", "3"], ["weather", "--sham"]):
            assert main(["train-intermediate", *made.words(), *words, "--no-progress"]) == 0
        yield made


@pytest.fixture
def call(world, capsys):
    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["select", *map(str, words), *world.words(training=False)])
        return code, *capsys.readouterr()

    return run


def test_modules_are_ranked_and_saved(call, tmp_path) -> None:
    code, out, _ = call("--to", "names", "--limit", 24, "--save", tmp_path / "s.csv")
    assert code == 0 and "Modules for names, best LogME first" in out and "No gains are predicted" in out
    table = read_csv(tmp_path / "s.csv")
    assert set(table.values("intermediate")) == {"none", "weather", "endings"} and "task" in table.values("metric")
    assert sum(row.metric == "logme" for row in table.rows) == 3  # no sham, and of two lengths the longer one


def test_a_sham_is_called_one(call, world) -> None:
    (sham,) = [run.name for run in RunStore(world.root / "runs").find_finished("intermediate") if run.asked("sham")]
    _, out, _ = call("--to", "names", "--limit", 24, "--from", sham, "--json")
    assert {module["intermediate"] for module in json.loads(out)["modules"]} == {"none", "weather_sham"}


def test_gains_are_predicted_from_records(call, world, tmp_path) -> None:
    made = simulate("positive", 1, changed("positive", intermediates=2, targets=6)).table
    names = {"i01": "weather", "i02": "endings"}
    text = "\n".join(
        ",".join([row.target_task, row.language, row.metric, str(row.value), str(row.target_seed),
                  names.get(row.intermediate, row.intermediate), "imported"])
        for row in made.rows if not row.study
    )  # fmt: skip
    head = "target_task,language,metric,value,target_seed,intermediate,status"
    (tmp_path / "r.csv").write_text(f"{head}\n{text}\n")
    code, out, _ = call("--to", "names", "--limit", 24, "--records", tmp_path / "r.csv", "--json")
    found = json.loads(out)
    assert code == 0 and {item["intermediate"] for item in found["predictions"]} == {"weather", "endings"}
    assert all(item["n_units"] == 6 and item["low"] < item["gain"] < item["high"] for item in found["predictions"])
    assert found["advice"].startswith(("Take ", "No candidate stands out"))
    best = found["predictions"][0]
    assert ("It may do harm" in found["advice"]) == (best["gain"] > 0 and best["p_harm"] > 0.1)
    few = read_csv(tmp_path / "r.csv").where(lambda row: row.target_task in ("t01", "t02", "t03"))
    write_csv(tmp_path / "few.csv", RecordTable(few.rows))
    _, out, _ = call("--to", "names", "--limit", 24, "--records", tmp_path / "few.csv")
    assert "Predicted gains on names" in out and "Only 3 targets, 5 are needed" in out


def test_a_search_on_a_budget(call) -> None:
    words = ["--to", "names", "--budget", 4000, "--batch-size", 4]
    code, out, _ = call(*words, "--dry-run", "--json")
    assert code == 0 and [item["candidates"] for item in json.loads(out)["rounds"]] == [3, 2]
    code, out, _ = call(*words, "--no-progress")
    assert code == 0 and "Search for names" in out and "Take " in out and "English dev" in out


def test_selectors_are_evaluated(capsys, tmp_path) -> None:
    made = simulate("positive", 1, changed("positive", intermediates=4, targets=3)).table
    rows = [replace(row, method=method, backbone="enc") for row in made.rows for method in ("bottleneck", "full")]
    write_csv(tmp_path / "table.csv", RecordTable(tuple(rows)))

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["select", "--evaluate", str(tmp_path / "table.csv"), *words])
        return code, *capsys.readouterr()

    code, out, _ = call("--always", "i01", "--method", "full", "--json")
    found = {entry["name"]: entry for entry in json.loads(out)["selectors"]}
    assert code == 0 and found["oracle"]["regret"] == 0
    assert {"random", "none", "always i01", "mean elsewhere", "predicted"} <= found.keys()
    assert all(entry["n_units"] == 3 for entry in found.values())
    _, out, _ = call("--method", "full", "--model", "enc")
    assert "SIMULATED" in out and "Fewer than 7 targets" in out
    code, out, err = call()
    assert code == 1 and out == "" and "several values of method" in err and "--method" in err
    code, _, err = call("--method", "full", "--model", "other")
    assert code == 1 and "Check --model" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no target task"),
        (["--to", "names", "--dry-run"], "--dry-run belongs to --budget"),
        (["--to", "names", "--budget", "10"], "10 steps are the least"),
        (["--to", "twins"], "it has no labels to fit"),
        (["--to", "twins", "--budget", "1e6"], "is not trained"),
        (["--to", "names", "--from", "nowhere"], "There is no run 'nowhere'"),
        (["--to", "names", "--method", "lora"], "no intermediate bundle"),
        (["--to", "names", "--parallel", "weather", "--limit", "24"], "is of kind classify"),
    ],
)
def test_wrong_use(call, words, told) -> None:
    code, out, err = call(*words)
    assert code == 1 and told in err and out == "" and "Traceback" not in err
