"""Run folders with written scores, as an evaluation leaves them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import typer

from adaptxfer.cli import studies
from adaptxfer.console import Console, set_console
from adaptxfer.files import content_hash
from adaptxfer.runs.store import RunStore


class Records:
    """Writes finished runs; the scores follow from the predictions."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, RunStore(root)

    def write(self, kind: str, name: str, seed: int, parents: list[str], **asked) -> str:
        request = {key: {"value": value, "from": "you"} for key, value in asked.items()}
        mark = content_hash([kind, name, seed, parents, asked])
        if self.store.look(kind, name, mark):
            return f"{kind}-{name}-{mark}"
        with self.store.open(kind, name, mark) as run:
            run.start(request, seed=seed, base_model={"id": "mini"}, parents=parents)
            if kind == "evaluate":
                self._score(run, name, seed, asked)
            dev = {"dev": {name: {"accuracy": 82.5, "n": 120, "main": "accuracy"}}} if kind == "intermediate" else {}
            run.finish(dev | ({"training": {"steps": asked["max_steps"]}} if "max_steps" in asked else {}))
        return run.name

    def _score(self, run, task: str, seed: int, asked: dict) -> None:
        scores = {}
        better = 0.1 * bool(asked["intermediates"])
        for language in ("en", "sw"):
            drawn = random.Random(f"{task} {seed} {language} {asked['intermediates']}")
            right = [drawn.random() < 0.5 + better for _ in range(60)]
            rows = [{"id": str(j), "gold": "a", "predicted": "b", "correct": r} for j, r in enumerate(right)]
            run.write_predictions(language, rows)
            scores[language] = {"accuracy": 100 * sum(right) / 60, "n": 60}
        run.write_scores(
            {"schema": 1, "task": task, "metric": "accuracy", "split": "test", "languages": scores, "mean": 50.0,
             "mean_zero_shot": None}
        )  # fmt: skip

    def cell(self, task: str, intermediate: str | None, seed: int, **target) -> str:
        """A target run above an intermediate run of seed 7, and its evaluation."""
        below = [self.write("intermediate", intermediate, 7, [])] if intermediate else []
        names = [intermediate] if intermediate else []
        trained = self.write("target", task, seed, below, intermediates=below, epochs=3, **target)
        how = "stack" if names else "none"
        return self.write(
            "evaluate", task, seed, [trained], intermediates=names, how=how, method="bottleneck", limit=None
        )


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "runs")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]):
    """Runs a command of the studies and gives what it printed."""
    app = typer.Typer()
    studies.register(app)

    def run(*words: object) -> str:
        set_console(Console(width=200))
        app(args=[str(word) for word in words], prog_name="adaptxfer", standalone_mode=False)
        return capsys.readouterr().out

    yield run
    set_console(Console())
