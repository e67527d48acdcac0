"""A small world of our own for tests that train: task files, data and a tiny random encoder in one folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adaptxfer.files import file_hash
from tests.tiny import save_tiny

TASKS = {
    "weather": ("classify", ["intermediate", "target"], 'labels = ["dry", "wet"]', "", "accuracy"),
    "climate": ("classify", ["target"], 'labels = ["wet", "dry"]', 'task = "weather"', "accuracy"),
    "seasons": ("classify", ["target"], 'labels = ["dry", "wet"]', 'task = "weather"', "accuracy"),
    "endings": ("choose", ["intermediate"], "", "", "accuracy"),
    "names": ("tag", ["target"], 'labels = ["O", "B-PER"]', "", "entity_f1"),
    "facts": ("span", ["target"], "", "", "squad"),
    "twins": ("retrieve", ["target"], "", "", "retrieval_accuracy"),
}
LANGUAGES = ("en", "de", "sw")
RUN = {"max_steps": 6, "evaluations": 3, "batch_size": 4, "learning_rate": 1e-3}
"""Options that make every training short."""


@dataclass(frozen=True)
class World:
    """Where everything lies."""

    root: Path

    @property
    def options(self) -> dict[str, Any]:
        """Options that every function of the Python interface takes."""
        return {
            "model": str(self.root / "tiny"),
            "data_dir": self.root / "data",
            "tasks": [self.root / "tasks"],
            "runs": self.root / "runs",
        }

    @property
    def training(self) -> dict[str, Any]:
        """The same with a short training."""
        return {**self.options, **RUN}

    def words(self, training: bool = True) -> list[str]:
        """The same on the command line."""
        given = {"model": self.root / "tiny", "data-dir": self.root / "data", "tasks": self.root / "tasks"}
        given |= {"runs": self.root / "runs", **({k.replace("_", "-"): v for k, v in RUN.items()} if training else {})}
        return [word for name, value in given.items() for word in (f"--{name}", str(value))]

    def file(self, task: str, split: str, language: str) -> Path:
        """The data file of one split and language."""
        return self.root / "data" / task / f"{split}.{language}.jsonl"

    def write(self, task: str, split: str, language: str, rows: Sequence[Any]) -> Path:
        """Replace a data file; a row that is text goes in as it is."""
        path = self.file(task, split, language)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path


def make_world(root: Path, tokenizer_dir: Path) -> World:
    """Write the world below ``root``."""
    world = World(root)
    save_tiny(root / "tiny", tokenizer_dir, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    (root / "tasks").mkdir()
    for name, (kind, role, labels, train, metric) in TASKS.items():
        (root / "tasks" / f"{name}.toml").write_text(task_file(name, kind, role, labels, train, metric))
    for name in TASKS:
        splits = {"train": ("en",), "dev": ("en",), "test": LANGUAGES} if name not in ("climate", "seasons") else {}
        for split, languages in (splits or {"test": LANGUAGES}).items():
            for language in languages:
                count = {"train": 24, "dev": 8, "test": 6}[split]
                world.write(name, split, language, rows(name, count, split))
    return world


def task_file(name: str, kind: str, role: list[str], labels: str, train: str, metric: str) -> str:
    """A task file in our own layout."""
    codes = json.dumps([code for code in LANGUAGES if not (kind == "retrieve" and code == "en")])
    return f"""
name = "{name}"
version = 1
kind = "{kind}"
role = {json.dumps(role)}
about = "A test."
licence = "CC0 1.0"
{labels}
languages = {codes}

[[files]]
reader = "jsonl"
paths = ["{name}/{{split}}.{{lang}}.jsonl"]

[text]
max_length = 48
stride = 16
max_question = 12
max_answer = 5
n_best = 5

[train]
{train}
epochs = 1
batch_size = 4
learning_rate = {{ bottleneck = 1e-3, lora = 1e-3, full = 1e-4, fuse = 1e-3 }}

[metric]
main = "{metric}"
"""


def rows(task: str, count: int, split: str) -> list[dict[str, Any]]:
    """Rows that a head can learn from, all different."""
    made = {"endings": _ending, "names": _names, "facts": _fact, "twins": _twin}.get(task, _weather)
    return [row for number in range(count) for row in made(f"{split}{number}", number)]


def _weather(key: str, number: int) -> list[dict[str, Any]]:
    word, label = (("rain", "wet"), ("sun", "dry"))[number % 2]
    return [{"id": key, "first": f"Much {word} on day {number}.", "second": "It is wet.", "label": label}]


def _ending(key: str, number: int) -> list[dict[str, Any]]:
    choices = [f"She eats {number} stones.", f"She eats {number} apples."]
    return [
        {"id": key, "context": "Ann is hungry.", "choices": choices[:: 1 if number % 2 else -1], "label": number % 2}
    ]


def _names(key: str, number: int) -> list[dict[str, Any]]:
    return [{"id": key, "words": ["Ann", "has", str(number)], "tags": ["B-PER", "O", "O"]}]


def _fact(key: str, number: int) -> list[dict[str, Any]]:
    context, answer = f"Ann has {number} cats at home.", str(number)
    answers = [{"text": answer, "answer_start": context.index(answer)}]
    return [{"id": key, "question": "How many cats?", "context": context, "answers": answers}]


def _twin(key: str, number: int) -> list[dict[str, Any]]:
    query = {"id": f"q{key}", "side": "query", "text": f"Number {number} is here.", "gold": [f"c{key}"]}
    return [query, {"id": f"c{key}", "side": "candidate", "text": f"Here is number {number}.", "gold": []}]


@contextmanager
def open_world(root: Path, tokenizer_dir: Path) -> Iterator[World]:
    """A world with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTXFER_CACHE", str(root / "cache"))
        for name in ("ADAPTXFER_RUNS", "ADAPTXFER_TASKS", "ADAPTXFER_TRACEBACK"):
            patch.delenv(name, raising=False)
        yield make_world(root, tokenizer_dir)


def no_training(*given: Any, **named: Any) -> Any:
    """Stands for the training loop where nothing may be trained."""
    raise AssertionError("this must not train")


def weights(folder: Path) -> dict[str, str]:
    """The hash of every weight file in a run folder, checkpoints included."""
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in folder.rglob("*.safetensors")}
