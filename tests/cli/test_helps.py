from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from adaptxfer.cli import main

COMMANDS = [
    *([], ["tasks"], ["runs"], ["runs", "compare"], ["tasks", "check"], ["train-intermediate"], ["transfer"], ["grid"]),
    *(["gain"], ["report"], ["select"], ["merge"], ["push"], ["doctor"], ["export", "xtreme"], ["study", "metric"]),
]


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_and_cuts_no_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = helped(capsys, *words)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert text.isascii() and "\x1b" not in text and "--help" in text
    assert all(line == line.rstrip() for line in lines)


def test_help_names_options_values_groups_and_defaults(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = helped(capsys, "transfer").splitlines()
    assert lines[0] == "Usage: adaptxfer transfer [OPTIONS]"
    assert [line for line in lines if line.endswith(":") and not line.startswith(" ")] == [
        *("Options:", "Model and data:", "Module:", "Training:"),
    ]
    for told in (
        "  --to TEXT               Target task. [required]",
        "  --runs PATH             Folder of the runs. [variable ADAPTXFER_RUNS; default: runs]",
        "  --eval-limit N          Score only the first examples. [at least 1]",
        "  -h, --help              Show this message and exit.",
    ):
        assert told in lines


def test_usage_of_arguments_is_as_people_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    usages = {name: helped(capsys, name).splitlines()[0] for name in ("train-intermediate", "gain", "grid")}
    assert usages["train-intermediate"].endswith("[OPTIONS] TASK...")
    assert usages["gain"].endswith("[OPTIONS] [RECORDS...]")
    assert usages["grid"].endswith("[OPTIONS] PLAN.toml")


@pytest.mark.parametrize(("flag", "code", "told"), [("-O", 0, "Usage: "), ("-OO", 1, "takes away docstrings")])
def test_python_without_asserts_works_and_without_docstrings_is_refused(flag: str, code: int, told: str) -> None:
    words = [sys.executable, flag, "-W", "error", "-m", "adaptxfer", "gain", "--help"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True)
    assert done.returncode == code and told in done.stdout + done.stderr
