"""Stages: what is to be done, with an identity that depends on everything that decides the result.

A training stage (kind ``intermediate`` or ``target``) leaves a bundle; an evaluating stage leaves scores and records.
Training for XQuAD and for MLQA is the same stage, since both train on SQuAD; their evaluations are two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptxfer.embedded import encoder_dir
from adaptxfer.files import check_name, content_hash, file_hash
from adaptxfer.modules.bundle import Bundle
from adaptxfer.modules.composition import Tree
from adaptxfer.runs.settings import Ask, Settings
from adaptxfer.tasks.load import available, read_examples
from adaptxfer.tasks.places import find_files, hub_for
from adaptxfer.tasks.spec import TaskSpec

SCHEMA = 3
"""Part of every identity: raise it when the same request gives another result."""


@dataclass(frozen=True)
class Stage:
    """One idempotent piece of work; subclasses say what it consists of."""

    kind: str
    name: str
    seed: int

    def identity(self) -> dict[str, Any]:
        """Everything that decides the result."""
        raise NotImplementedError

    @property
    def hash(self) -> str:
        """Eight hex digits of the identity."""
        return content_hash({"schema": SCHEMA, "kind": self.kind, "seed": self.seed, **self.identity()})

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return f"{self.kind}-{self.name}-{self.hash}"


@dataclass(frozen=True)
class Mixture:
    """What an intermediate training draws its batches from besides English task data.

    Attributes:
        sampler: rule by which several tasks are mixed (see `adaptxfer.data.samplers`).
        languages: languages of the training data; others than English are machine translations.
        mlm: text files for continued masked-language modelling, one language each, named by their stem's last part.
        mlm_weight: share of the steps that go to it.
        sham: train on shuffled labels (`adaptxfer.tasks.sham`).
    """

    sampler: str = "capped"
    languages: tuple[str, ...] = ("en",)
    mlm: tuple[Path, ...] = ()
    mlm_weight: float = 0.5
    sham: bool = False

    def identity(self, tasks: int) -> dict[str, Any]:
        """What decides the result; nothing for one task in English alone."""
        found: dict[str, Any] = {"sampler": self.sampler} if tasks > 1 else {}
        if self.languages != ("en",):
            found["languages"] = list(self.languages)
        if self.mlm:
            found |= {"mlm": {text_language(path): file_hash(path) for path in self.mlm}, "weight": self.mlm_weight}
        if self.sham:
            found["sham"] = True
        return found

    def to_request(self, tasks: int) -> dict[str, Any]:
        """As stored in a manifest; text files are known by their language."""
        found = self.identity(tasks)
        return found | ({"mlm": sorted(found["mlm"])} if "mlm" in found else {})


def text_language(path: Path) -> str:
    """The language of a text file by its name: ``sw`` for ``sw.txt``, ``wiki.sw.txt`` and ``wiki.sw.txt.gz``."""
    parts = [part for part in path.name.split(".") if part not in ("txt", "gz", "")]
    return check_name(parts[-1] if parts else path.name, "language")


@dataclass(frozen=True)
class TrainStage(Stage):
    """Train a module (or an arrangement over intermediate ones) with fresh heads.

    Attributes:
        tasks: what is trained for; one, or several for a multi-task module.
        sources: where the English training and dev data of each task come from.
        module: name of the trained module.
        how: how intermediate bundles are used; "none" for an intermediate stage.
        mixture: languages, sampler and text of an intermediate training.
    """

    ask: Ask
    settings: Settings
    tasks: tuple[TaskSpec, ...]
    sources: tuple[TaskSpec, ...]
    module: str
    how: str
    tree: Tree
    parents: tuple[Bundle, ...] = ()
    own_module: bool = False
    mixture: Mixture = Mixture()

    def identity(self) -> dict[str, Any]:
        """Model, method, data, options, parents."""
        pairs = zip(self.tasks, self.sources, strict=True)
        data = [_train_identity(task, source, self.ask, self.mixture.languages) for task, source in pairs]
        return {
            "model": model_identity(self.ask),
            **held_identity(self.ask),
            "method": self.ask.method,
            "how": self.how,
            "own_module": self.own_module,
            "mixture": self.mixture.identity(len(self.tasks)),
            "settings": self.settings.identity(),
            "data": data,
            "parents": [bundle_identity(parent) for parent in self.parents],
        }


@dataclass(frozen=True)
class EvaluateStage(Stage):
    """Score a bundle, or for retrieval an arrangement of bundles or the bare encoder, on a task."""

    ask: Ask
    task: TaskSpec
    head: str | None
    how: str
    bundles: tuple[Bundle, ...]
    languages: tuple[str, ...]
    split: str | None
    layers: tuple[int, ...]
    limit: int | None
    max_length: int | None
    intermediates: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        """Bundles, task file, evaluation data, layers."""
        here = self.ask.data_dir
        data = {code: _evaluation_files(self.task, code, self.split, here) for code in self._languages_read()}
        return {
            "model": model_identity(self.ask),
            **held_identity(self.ask),
            "task": self.task.digest,
            "how": self.how,
            "bundles": [bundle_identity(bundle) for bundle in self.bundles],
            "data": data,
            "layers": list(self.layers),
            "limit": self.limit,
            "max_length": self.max_length,
        }

    def _languages_read(self) -> list[str]:
        """Those that are scored; where candidates of all languages make one pool, the others too."""
        if self.task.metric.main != "map20":
            return list(self.languages)
        found = available(self.task, self.ask.data_dir)
        splits = (self.split,) if self.split else ("test", "dev")
        return list(dict.fromkeys([*self.languages, *(code for name in splits for code in found.get(name, ()))]))


def model_identity(ask: Ask) -> dict[str, Any]:
    """Which base model is meant, without loading it: Hub id and revision, or the sizes and heads of its files."""
    folder = encoder_dir(ask.model) or Path(ask.model).expanduser()
    if not folder.is_dir():
        return {"id": ask.model, "revision": ask.revision}
    parts = {path.name: [path.stat().st_size, _head_hash(path)] for path in sorted(folder.glob("*.safetensors"))}
    config = folder / "config.json"
    return {"files": parts, "config": file_hash(config) if config.is_file() else None}


def held_identity(ask: Ask) -> dict[str, Any]:
    """How the base model is held, unless exactly."""
    return {} if ask.base_precision == "fp32" else {"base_precision": ask.base_precision}


def _head_hash(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.sha256(handle.read(1 << 20)).hexdigest()[:16]


def bundle_identity(bundle: Bundle) -> str:
    """A hash over the files of a bundle."""
    return content_hash(dict(bundle.files), 16)


def data_identity(task: TaskSpec, split: str, language: str, data_dir: Path | None) -> Any:
    """Which data is meant, without parsing it: hashes of files, or Hub id, configuration and revision."""
    if task.pool:
        return read_examples(task, split, language, data_dir).fingerprint
    if found := find_files(task, split, language, data_dir):
        return [file_hash(path) for path in found.paths()]
    hub = hub_for(task, split, language)
    return [hub.id, hub.config, hub.revision] if hub else None


def _train_identity(task: TaskSpec, source: TaskSpec, ask: Ask, languages: Sequence[str]) -> dict[str, Any]:
    return {
        "kind": task.kind,
        "labels": list(task.labels),
        "text": vars_of(task.text),
        "source": source.digest,
        "metric": source.metric.main,
        "train": [data_identity(source, "train", code, ask.data_dir) for code in languages],
        "dev": data_identity(source, "dev", "en", ask.data_dir),
    }


def _evaluation_files(task: TaskSpec, language: str, split: str | None, data_dir: Path | None) -> Any:
    splits = (split,) if split else ("test", "dev")
    if split and task.metric.main == "bucc":  # its threshold is from dev
        return [split, *(data_identity(task, name, language, data_dir) for name in (split, "dev"))]
    return [data_identity(task, name, language, data_dir) for name in splits]


def vars_of(options: Any) -> Mapping[str, Any]:
    """The fields of a flat dataclass."""
    return {name: getattr(options, name) for name in options.__dataclass_fields__}
