"""The commands: what they print, what they cost, and errors in two lines."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

from adaptxfer.cli import hub as commands
from adaptxfer.cli import main
from tests.hub.server import TOKEN

REPO = "ann/weather"


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """An app that has the commands, whoever registers them."""
    from adaptxfer.cli import app as place

    app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]}, pretty_exceptions_enable=False)
    commands.register(app)
    monkeypatch.setattr(place, "app", app)


def run(capsys, *words: str, code: int = 0) -> str:
    assert main(list(words)) == code
    said = capsys.readouterr()
    assert TOKEN not in said.out + said.err and "Traceback" not in said.err
    return said.out if code == 0 else said.err


def test_push_pull_and_list(hub, bundle, tmp_path, capsys):
    runs = str(tmp_path / "runs")
    dry = json.loads(run(capsys, "push", str(bundle), REPO, "--dry-run", "--json"))
    assert not dry["sent"] and dry["commit"] is None and hub.repos == {}
    sent = json.loads(run(capsys, "push", str(bundle), REPO, "--json"))
    assert sent["sent"] and sent["files"] == dry["files"] and sent["commit"] == hub.repos[REPO].branches["main"]
    pulled = json.loads(run(capsys, "pull", REPO, "--runs", runs, "--json"))
    assert pulled["verified"] and pulled["new"] and pulled["missing"] == ["the record of its training"]
    (listed,) = json.loads(run(capsys, "adapters", "list", "--runs", runs, "--json"))["bundles"]
    assert listed["origin"] == f"{REPO}@{sent['commit'][:8]}" and listed["method"] == "bottleneck"


def test_what_people_see(hub, bundle, tmp_path, capsys):
    runs = str(tmp_path / "runs")
    assert "No bundles in" in run(capsys, "adapters", "list", "--runs", runs)
    text = run(capsys, "push", str(bundle), REPO, "--dry-run")
    assert "adapter.safetensors" in text and "bytes in all" in text and "Nothing was sent" in text
    assert f"Next: adaptxfer pull {REPO}" in run(capsys, "push", str(bundle), REPO)
    assert f"Pulled {REPO} at" in run(capsys, "pull", REPO, "--runs", runs)
    assert f"Already here: {REPO}" in run(capsys, "pull", REPO, "--runs", runs)
    assert "verified" in run(capsys, "adapters", "list", "--runs", runs)


def test_a_list_with_a_damaged_bundle(tmp_path, capsys):
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "bundle.json").write_text("{")
    assert "is not valid JSON" in run(capsys, "adapters", "list", "--runs", str(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["push", "nothing", REPO], 1, "There is no run 'nothing'"),
        (["push", "BUNDLE", "x"], 1, "is no repository of the Hub"),
        (["pull", "ann/nobody"], 2, "it does not exist, or it is private"),
        (["pull", REPO, "--revision", "../x"], 1, "is no revision"),
    ],
)
def test_errors(hub, bundle, tmp_path, capsys, words, code, expected):
    words = [str(bundle) if word == "BUNDLE" else word for word in words]
    assert expected in run(capsys, *words, "--runs", str(tmp_path / "runs"), code=code)


def test_help_loads_nothing_heavy():
    code = (
        "import sys, typer; from adaptxfer.cli.hub import register; app = typer.Typer(); register(app)\n"
        "for words in (['--help'], ['push', '--help'], ['pull', '--help'], ['adapters', 'list']):\n"
        "    app(args=words, standalone_mode=False)\n"
        "print(*{'torch', 'transformers', 'huggingface_hub', 'adapters', 'peft', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
