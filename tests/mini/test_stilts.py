"""The paper in miniature, cut down: plans that share their modules, resuming, and what the page says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean

import pytest

from adaptxfer.errors import INTERRUPTED, AdaptxferError
from adaptxfer.runs.gridfile import read_grid
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import RunStore
from benchmarks.mini import page, stilts
from benchmarks.mini.stilts import PLANS, Wanted
from tests.tiny import save_tiny
from tests.world import World, rows, task_file

PLAN = """
name = "small"
models = ["mini"]
methods = ["bottleneck"]
intermediates = ["none", "mnli", "mnli_sham"]
targets = ["tatoeba", "flores200"]
seeds = [1, 2]
joint.mnli_sham = { tasks = ["mnli"], sham = true }
train = { batch_size = 4, on_chance = "warn" }
evaluate = { layer = "all" }
"""
KINDS = {"mnli": "classify", "tatoeba": "retrieve", "flores200": "retrieve"}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory, mini_dir):
    """Own data under the names that the page knows."""
    world = World(tmp_path_factory.mktemp("world"))
    save_tiny(world.root / "tiny", mini_dir)
    (world.root / "tasks").mkdir()
    for name, kind in KINDS.items():
        trained = kind == "classify"
        labels, metric = ('labels = ["dry", "wet"]', "accuracy") if trained else ("", "retrieval_accuracy")
        text = task_file(name, kind, ["intermediate" if trained else "target"], labels, "", metric)
        (world.root / "tasks" / f"{name}.toml").write_text(text)
        for split, count in (("train", 24), ("dev", 8)) if trained else (("test", 6),):
            for language in ("en",) if trained else ("de", "sw"):
                world.write(name, split, language, rows("weather" if trained else "twins", count, split))
    (world.root / "small.toml").write_text(PLAN)
    return Wanted((str(world.root / "tiny"),), world.root / "data", world.root / "runs", (world.root / "small.toml",),
                  (world.root / "tasks",), quick=True, resamples=100)  # fmt: skip


@pytest.fixture(scope="module")
def finished(wanted, tmp_path_factory):
    """All runs, the headline and the folder with the page."""
    assert stilts.carry_out(wanted) == 0
    out = tmp_path_factory.mktemp("out")
    return stilts.analyse(wanted, out), out


def test_the_headline_is_gains_over_none(finished, wanted):
    table, _ = finished
    assert [(row[1], row[2]) for row in table.rows] == [
        (name, target) for target in ("tatoeba", "flores200") for name in ("mnli", "mnli_sham")
    ]
    mean: dict[tuple, list] = {}
    for run in RunStore(wanted.runs).find_finished("evaluate"):
        with_module = len(run.manifest["parents"]) > 0 and run.manifest["parents"][0].split("-")[1]
        scores = run.read_scores()
        mean.setdefault((with_module, scores["task"]), []).append(scores["mean"])
    for row in table.rows:
        gain = fmean(mean[row[1], row[2]]) - fmean(mean[False, row[2]])
        assert row[3] == round(fmean(mean[False, row[2]]), 1) and float(row[4]) == pytest.approx(gain, abs=0.051)


def test_the_page_tells_all(finished, wanted):
    text = (finished[1] / "stilts.md").read_text(encoding="utf-8")
    assert "Cut down to try it out" in text and "| small | 16 | 16 |" in text
    for title in (
        "by layer",
        "modules learnt",
        "Gains by target task",
        "metric, tiny",
        "generalise, tiny",
        "Cost",
        "No answer of domain",
    ):
        assert title in text
    assert "tiny · bottleneck" in text and (finished[1] / "report.html").exists()
    assert json.dumps(finished[0].to_json())


def test_layers_and_costs_are_those_of_the_runs(finished, wanted):
    runs = {run.name: run for kind in ("intermediate", "evaluate") for run in RunStore(wanted.runs).find_finished(kind)}
    layers = page.by_layer(runs)
    sweep = [run.read_scores()["languages"] for run in runs.values()
             if run.manifest["name"] == "tatoeba" and not run.manifest["parents"]]  # fmt: skip
    (row,) = [row for row in layers.rows if row[2:4] == ["none", "tatoeba"]]
    first = fmean(values["layers"]["0"] for values in sweep[0].values())
    assert row[4] == 2 and row[5] == f"{first:.1f} ± 0.0" and len(row) == len(layers.columns)
    cost = {row[1]: row for row in page.costs(runs).rows}
    assert cost["intermediate"][2] == 4 and cost["evaluate"][2] == 12
    trained = [run.manifest["training"]["tokens"] for run in runs.values() if run.manifest["kind"] == "intermediate"]
    assert cost["intermediate"][3] == sum(trained) and cost["evaluate"][3] is None
    assert {(row[2], row[5]) for row in page.learnt(runs).rows} == {("mnli", 2), ("mnli_sham", 2)}


def test_again_trains_nothing(finished, wanted, monkeypatch, capsys, tmp_path):
    def stand():
        return {run.name: Run(run.path).manifest["finished"] for run in RunStore(wanted.runs).list()}

    before = stand()
    assert stilts.carry_out(wanted) == 0 and stand() == before


def words(wanted, out, *more):
    return ["stilts", *wanted.models, "--data-dir", str(wanted.data_dir), "--runs", str(wanted.runs), "--out", str(out),
            "--plans", str(wanted.plans[0]), "--quick", *more]  # fmt: skip


def test_stopped_it_still_writes_what_there_is(finished, wanted, monkeypatch, capsys, tmp_path):
    def stopped(wanted):
        raise AdaptxferError("Interrupted.", "The same command again continues.", INTERRUPTED)

    monkeypatch.setattr(stilts, "carry_out", stopped)
    monkeypatch.setattr(stilts, "analyse", lambda wanted, out: finished[0])
    monkeypatch.setattr(sys, "argv", words(wanted, tmp_path))
    with pytest.raises(SystemExit) as ended:
        stilts.main()
    said = capsys.readouterr()
    assert ended.value.code == INTERRUPTED and "again continues" in said.err and "mnli_sham" in said.out


def test_faults_are_told(wanted, monkeypatch, capsys, tmp_path):
    for argv, said in ((words(wanted, tmp_path, "--runs", str(tmp_path / "none"), "--analyse"), "does not exist"),
                       ([*words(wanted, tmp_path), "--plans", "nowhere.toml"], "nowhere.toml"),
                       (words(wanted, tmp_path, "--seeds", "1,1"), "whole numbers"),
                       (["stilts", *wanted.models * 2, *words(wanted, tmp_path)[2:]], "one name")):  # fmt: skip
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as ended:
            stilts.main()
        assert ended.value.code and said in capsys.readouterr().err


def test_the_plans_share_their_modules():
    headline, kinds, retrieval, targets = (read_grid(path) for path in PLANS)
    for plan in (kinds, retrieval, targets):
        assert plan.options == headline.options and plan.seeds == headline.seeds
    assert set(kinds.intermediates) < set(headline.intermediates) < set(retrieval.intermediates)
    assert kinds.joint == headline.joint and retrieval.joint == targets.joint
    assert headline.joint.items() <= retrieval.joint.items() and retrieval.evaluate == headline.evaluate
    assert set(page.HEADLINE) < set(headline.intermediates) and set(page.RETRIEVAL) == set(headline.targets)
    wanted = Wanted(("mini",), None, Path("runs"))
    keys = [{node.key for node in wanted.grid(path).nodes} for path in PLANS]
    assert keys[0] < keys[2]
    modules = [{node.key for node in wanted.grid(path).nodes if node.kind == "intermediate"} for path in PLANS]
    assert modules[1] < modules[0] < modules[2] == modules[3]
