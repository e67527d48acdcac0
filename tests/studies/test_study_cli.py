"""``adaptxfer study`` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptxfer.errors import AdaptxferError


@pytest.fixture
def simulated(call, tmp_path: Path):
    def make(world: str, *options: object) -> Path:
        call("simulate", world, "--out", tmp_path / world, *options)
        return tmp_path / world / "table.csv"

    return make


def test_generalise_writes_a_report_with_plots(call, simulated, tmp_path: Path) -> None:
    table = simulated("transfer", "--intermediates", 5, "--targets", 3)
    words = ["--from", "t01,t02,t03", "--to", "h01,h02", "--permutations", 100, "--resamples", 100]
    document = json.loads(call("study", "generalise", table, *words, "--report", tmp_path / "r", "--json"))
    assert document["origin"] == ["simulated"] and len(document["claims"]) == 4
    assert {claim["verdict"] for claim in document["claims"]} == {"descriptive"}
    assert (tmp_path / "r" / "ranks.png").exists() and "![ranks.png]" in (tmp_path / "r" / "report.md").read_text()


def test_diversity_needs_features(call, simulated, tmp_path: Path) -> None:
    table = simulated("interaction", "--intermediates", 4, "--targets", 2)
    with pytest.raises(AdaptxferError, match="none come with the package"):
        call("study", "diversity", table)
    features = tmp_path / "interaction" / "features.tsv"
    shown = call("study", "diversity", table, "--features", features, "--placebo", 5, "--cv", "lolo")
    assert "SIMULATED" in shown and "languages left out" in shown and "target tasks left out" not in shown
    with pytest.raises(AdaptxferError, match="'loto'"):
        call("study", "diversity", table, "--features", features, "--cv", "lot")


def test_a_dry_run_says_what_is_missing(call, records, tmp_path: Path) -> None:
    records.cell("claims", "nli", 1)
    records.cell("claims", None, 1)
    records.cell("claims", None, 2)
    plan = tmp_path / "plan.toml"
    words = ["study", "metric", records.root, "--dry-run", "--save-plan", plan, "--repetitions", 0]
    assert f"1 run of the design missing: adaptxfer grid {plan}" in call(*words)
    document = json.loads(call(*words, "--json"))
    assert document["missing"] == [["mini", "bottleneck", "nli", "claims", 2]]
    assert document["units"]["rows"][0]["enough"] == "no" and 'intermediates = ["none", "nli"]' in plan.read_text()


def test_a_dry_run_before_there_is_any_record(call, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('models = ["mini"]\nintermediates = ["none", "mnli"]\ntargets = ["xnli"]\nseeds = [1, 2]\n')
    words = ["--runs", tmp_path / "runs", "--dry-run", "--design", plan, "--repetitions", 20]
    shown = call("study", "metric", *words)
    assert "4 runs of the design missing" in shown and "Expected power" in shown
    with pytest.raises(AdaptxferError, match="does not exist"):
        call("study", "metric", "--runs", tmp_path / "runs", "--dry-run")


def test_gain_draws(call, simulated, tmp_path: Path) -> None:
    table = simulated("null", "--intermediates", 2, "--targets", 2)
    call("gain", table, "--resamples", 100, "--plots", tmp_path / "p")
    assert {path.name for path in (tmp_path / "p").iterdir()} == {
        "gains.png", "overall.png", "gains-t01.png", "gains-t02.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["metric", "TABLE", "--metrics", "f2"], "no 'f2'"),
        (["metric", "TABLE", "--outcomes", "profit"], "no 'profit'"),
        (["metric", "TABLE", "--model", "other"], "Check --model"),
        (["domain", "TABLE", "--to", "t09"], "no run on t09"),
        (["domain", "TABLE", "--to", "t01"], "nothing to compare"),
        (["domain", "TABLE", "--to", "t01", "--shifted", "a"], "needs a reference"),
        (["domain", "TABLE", "--to", "t01", "--shifted", "a", "--reference", "b"], "no rows of slice 'a'"),
        (["domain", "TABLE", "--to", "t01", "--axes", "genre"], "no axis 'genre'"),
        (["generalise", "TABLE"], "hold no task of xtreme"),
        (["generalise", "TABLE", "--from", "t01", "--to", "t09"], "neither a suite nor a task"),
        (["diversity", "TABLE", "--features", "nowhere.tsv"], "nowhere.tsv"),
        (["diversity", "TABLE", "--measure", "overlop"], "'overlap'"),
        (["scale", "TABLE", "--hard", "i01", "--easy", "i02"], "size of simulated is unknown"),
        (["scale", "TABLE", "--hard", "i01", "--easy", "x"], "No base model"),
    ],
)
def test_wrong_use(call, simulated, words: list[str], told: str) -> None:
    table = simulated("positive", "--intermediates", 3, "--targets", 2)
    with pytest.raises(AdaptxferError) as caught:
        call("study", *(table if word == "TABLE" else word for word in words))
    assert told in str(caught.value)
