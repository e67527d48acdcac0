"""What is known about a bundle beyond its own file: its run, its tasks, its scores, and how to make it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adaptxfer.errors import AdaptxferError
from adaptxfer.hub.results import Scored, scores_of
from adaptxfer.hub.text import command
from adaptxfer.modules.bundle import Bundle
from adaptxfer.modules.recipe import WAYS
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import middle_of
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.spec import TaskSpec

LIBRARIES = {"bottleneck": "adapters", "lora": "peft", "full": "transformers"}
"""Which library reads the module as it lies in the repository."""
_OWN_WORDS = ("model", "method", "tasks", "how", "intermediates", "own_module", "sampler", "languages", "mlm", "weight")


@dataclass(frozen=True)
class Facts:
    """All that a card is made of; ``tasks`` are the training tasks whose files are here."""

    bundle: Bundle
    repo: str
    run: Run
    tasks: tuple[TaskSpec, ...]
    targets: tuple[TaskSpec, ...]
    scores: tuple[Scored, ...]

    @property
    def library(self) -> str:
        """The library that reads the module."""
        return LIBRARIES[self.bundle.method]

    @property
    def how(self) -> str:
        """How intermediate modules are used; none for an intermediate module itself."""
        return str(self.run.asked("how") or "none")

    @property
    def trained_on(self) -> list[str]:
        """Names of the tasks whose data trained the module."""
        asked = self.run.asked("tasks")
        return [str(name) for name in asked] if isinstance(asked, list) and asked else [self.bundle.task]

    @property
    def intermediates(self) -> list[str]:
        """Intermediate tasks of the modules below, by the names of their folders."""
        asked = self.run.asked("intermediates")
        return [middle_of(str(name)) for name in asked] if isinstance(asked, list) else []

    @property
    def recipe(self) -> str | None:
        """By what way it was merged; None for what was trained."""
        by = self.run.asked("by")
        return by if by in WAYS else None

    @property
    def base_is_on_hub(self) -> bool:
        """Whether the base model's id is one of the Hub."""
        return self.bundle.base.revision is not None


def gather(bundle: Bundle, repo: str, folders: Sequence[Path] = ()) -> Facts:
    """Collect what the run, the task files and the evaluations say; what is not here is left out."""
    run = Run(bundle.folder)
    scores = tuple(scores_of(run))
    facts = Facts(bundle, repo, run, (), _found([item.record.task for item in scores], folders), scores)
    return replace(facts, tasks=_found(facts.trained_on, folders))


def _found(names: Sequence[object], folders: Sequence[Path]) -> tuple[TaskSpec, ...]:
    found = []
    for name in names:
        try:
            found.append(load_task(str(name), folders))
        except AdaptxferError:  # a task file of somebody else
            continue
    return tuple(found)


def reproduce(facts: Facts) -> str | None:
    """The command that trained the module, or None if its request is not known."""
    run = facts.run
    names = facts.trained_on
    parents = run.asked("intermediates")
    if not run.manifest or run.asked("tasks") is None:
        return None
    if facts.recipe:
        return command(["adaptxfer", "merge", *(parents or ()), *_recipe(run)])
    if parents or facts.how != "none" or run.manifest["kind"] == "target":
        words = ["transfer", "--to", names[0], "--how", facts.how]
        words += [word for name in parents or () for word in ("--from", name)]
        words += ["--own-module"] if run.asked("own_module") else []
    else:
        words = ["train-intermediate", *names, *_mixture(run)]
    words += ["--model", facts.bundle.base.id, "--method", facts.bundle.method, "--seeds", run.manifest["seed"]]
    for key, entry in run.manifest["request"].items():
        value = entry.get("value") if isinstance(entry, dict) else None
        if key not in _OWN_WORDS and value is not None and entry.get("from") == "you":
            words += [f"--{key.replace('_', '-')}", ",".join(map(str, value)) if isinstance(value, list) else value]
    return command(["adaptxfer", *words])


def _recipe(run: Run) -> list[object]:
    """What `merge` was asked for; a soup has no weights."""
    words: list[object] = []
    for key in ("by", "weights", "density", "drop", "seed", "rank"):
        if (value := run.asked(key)) is not None:
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            words.append(f"--{key}={text}")  # a list may begin with a minus
    return words


def _mixture(run: Run) -> list[object]:
    languages, sampler = run.asked("languages"), run.asked("sampler")
    words: list[object] = ["--sham"] if run.asked("sham") else []
    words += ["--sampler", sampler] if sampler else []
    words += ["--translated", ",".join(map(str, languages))] if isinstance(languages, list) else []
    for code in run.asked("mlm") or ():
        words += ["--mlm", f"{code}.txt"]
    return words + (["--mlm-weight", run.asked("weight")] if run.asked("mlm") else [])
