"""The commands of studies, on an app of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adaptxfer.errors import AdaptxferError

ROOT = Path(__file__).resolve().parents[2]


def test_gain_on_runs(call, records, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        records.cell("claims", "nli", seed)
        records.cell("claims", None, seed)
    shown = call("gain", "--runs", records.root, "--resamples", 200, "--by-language")
    assert "nli" in shown and "descriptive" in shown and "SIMULATED" not in shown
    files = ["--csv", tmp_path / "g.csv", "--markdown", tmp_path / "g.md"]
    document = json.loads(call("gain", records.root, "--resamples", 200, "--json", *files))
    assert document["origin"] == ["measured"] and document["cells"][0]["n_units"] == 3
    assert (tmp_path / "g.csv").read_text().count("\n") == 5
    assert "| nli |" in (tmp_path / "g.md").read_text()


def test_simulated_tables_carry_the_banner(call, tmp_path: Path) -> None:
    told = call("simulate", "positive", "--out", tmp_path, "--targets", 2, "--intermediates", 3)
    assert told.startswith("SIMULATED")
    assert call("gain", tmp_path / "table.csv", "--resamples", 100, "--markdown", tmp_path / "g.md").startswith("SIM")
    assert (tmp_path / "g.md").read_text().startswith("**SIMULATED")


def test_simulated_and_measured_do_not_mix(call, records, tmp_path: Path) -> None:
    records.cell("claims", None, 1)
    call("simulate", "null", "--out", tmp_path / "s", "--targets", 1, "--intermediates", 2)
    with pytest.raises(AdaptxferError, match="Simulated"):
        call("gain", tmp_path / "s" / "table.csv", records.root)


def test_power(call) -> None:
    document = json.loads(call("power", "--study", "scale", "--repetitions", 20, "--planted", 3, "--json"))
    assert document["planted"] == 3 and document["n_units"] == 4 and document["found"] > 0.5
    assert "SIMULATED" in call("power", "--study", "within", "--repetitions", 20, "--targets", 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["power", "--study", "metrics"], "'metric'"),
        (["power", "--study", "scale", "--ladder", "mt6"], "'mt5'"),
        (["simulate", "simson", "--out", "x"], "'simpson'"),
        (["gain", "nowhere"], "does not exist"),
    ],
)
def test_wrong_use(call, words: list[str], told: str) -> None:
    with pytest.raises(AdaptxferError) as caught:
        call(*words)
    assert told in str(caught.value)


@pytest.mark.parametrize("command", ["gain", "simulate", "power"])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = (
        "import sys, typer; from adaptxfer.cli import studies; app = typer.Typer(); studies.register(app);"
        f"app(args=[{command!r}, '--help'], standalone_mode=False);"
        "assert not {'numpy', 'scipy', 'torch', 'transformers'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_studies(call, tmp_path: Path) -> None:
    call("simulate", "simpson", "--out", tmp_path / "a", "--targets", 2)
    document = json.loads(call("study", "metric", tmp_path / "a" / "table.csv", "--report", tmp_path / "r", "--json"))
    assert len(document["claims"]) == 4 and (tmp_path / "r" / "report.md").exists()
    call("simulate", "scaling", "--out", tmp_path / "b", "--targets", 2)
    assert "SIMULATED" in call("study", "scale", tmp_path / "b" / "table.csv", "--hard", "hard", "--easy", "easy")
    call("simulate", "cluster", "--out", tmp_path / "c", "--articles", 6, "--intermediates", 1, "--n-seeds", 2)
    words = ["--to", "t01", "--shifted", "shifted", "--reference", "reference", "--resamples", 100]
    assert "descriptive" in call("study", "domain", tmp_path / "c" / "table.csv", *words)
