"""What of a grid is finished, and how long the rest is, without training and without reading data again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from adaptxfer.encoder.load import ModelHints
from adaptxfer.errors import AdaptxferError
from adaptxfer.files import content_hash, read_json
from adaptxfer.modules.bundle import FILE, read_bundle
from adaptxfer.runs.engines.job import stage_of
from adaptxfer.runs.grid import Grid, Node
from adaptxfer.runs.plan import model_hints
from adaptxfer.runs.settings import Ask, Settings, resolve
from adaptxfer.runs.stage import SCHEMA, EvaluateStage, TrainStage
from adaptxfer.runs.store import RunStore
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import available, read_examples
from adaptxfer.tasks.places import nowhere
from adaptxfer.tasks.spec import TaskSpec

FINISHED, RUNNING, STUCK = "finished", "running elsewhere", "cannot start"


@dataclass(frozen=True)
class State:
    """Where a node stands: the status in words, its run folder if there is one, why it cannot start if it cannot."""

    status: str
    run: str = ""
    problem: str = ""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.status == FINISHED


class Survey:
    """Looks a grid's stages up in the folder of runs.

    A stage's identity is worked out once per recipe (this reads the data's bytes); seeds and parents are put into it.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._identities: dict[str, tuple[str, str, dict[str, Any]] | AdaptxferError] = {}
        self._bundles: dict[str, str] = {}
        self._examples: dict[tuple[Any, ...], int | None] = {}
        self._steps: dict[str, int | None] = {}
        self._tasks: dict[str, TaskSpec] = {}
        self._hints: dict[tuple[str, str | None], ModelHints] = {}

    @cached_property
    def states(self) -> dict[str, State]:
        """The state of every node by key."""
        found: dict[str, State] = {}
        for node in self.grid.nodes:
            done = all(found[key].finished for key in node.parents)
            runs = {key: found[key].run for key in node.parents}
            found[node.key] = self._state(node, runs) if done else State("waits for its parents")
        return found

    def places(self) -> dict[str, str]:
        """Run folders of the finished nodes."""
        return {key: state.run for key, state in self.states.items() if state.finished}

    def _state(self, node: Node, places: Mapping[str, str]) -> State:
        try:
            kind, name, hash8 = self._hash(node, places)
            run = RunStore(node.ask.runs).look(kind, name, hash8)
        except AdaptxferError as error:
            return State(STUCK, problem=str(error))
        if run is None or run.status == "new":
            return State("to do")
        if run.status == "finished":
            return State(FINISHED, run.name)
        return State({"running": RUNNING}.get(run.status, f"{run.status}, will continue"), run.name)

    def _hash(self, node: Node, places: Mapping[str, str]) -> tuple[str, str, str]:
        """Kind, name and hash of the stage that ``node`` is, given its finished parents."""
        if node.recipe not in self._identities:
            try:
                stage = stage_of(node, places)
                _check_data(stage)
                self._identities[node.recipe] = (stage.kind, stage.name, stage.identity())
            except AdaptxferError as error:
                if node.parents:  # it may be the fault of this parent
                    raise
                self._identities[node.recipe] = error
        known = self._identities[node.recipe]
        if isinstance(known, AdaptxferError):
            raise known
        kind, name, identity = known
        if node.kind != "intermediate":
            used = (node.training,) if node.training else node.modules
            hashes = [self._bundle(node, places[key]) for key in used]
            identity = {**identity, "bundles" if node.kind == "evaluate" else "parents": hashes}
        return kind, name, content_hash({"schema": SCHEMA, "kind": kind, "seed": node.seed, **identity})

    def _bundle(self, node: Node, run: str) -> str:
        """As `bundle_identity`, but from the file alone: the weights are verified when they are used."""
        if run not in self._bundles:
            found = read_json(node.ask.runs / run / FILE, "bundle")
            if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
                read_bundle(node.ask.runs / run)  # says what is wrong with it
            self._bundles[run] = content_hash(found["files"], 16)
        return self._bundles[run]

    def steps(self, node: Node) -> int | None:
        """Optimiser steps of a training, at least: long texts are cut into several; None where that is not known."""
        if node.kind == "evaluate":
            return None
        if node.recipe not in self._steps:
            self._steps[node.recipe] = self._planned_steps(node)
        return self._steps[node.recipe]

    def _planned_steps(self, node: Node) -> int | None:
        try:
            settings = self.settings(node)
            if settings["max_steps"]:
                return settings["max_steps"]
            counts = [self._count(self.source(node.ask, name), node, settings["limit"]) for name in node.names]
        except AdaptxferError:
            return None
        if None in counts:
            return None
        passes = sum(settings["epochs"] * -(-(count or 0) // settings["batch_size"]) for count in counts)
        return max(1, round(passes / (1 - node.mixture.mlm_weight) if node.mixture.mlm else passes))

    def settings(self, node: Node) -> Settings:
        """Every option of a node's training (of an evaluation: as if its task were trained)."""
        how = node.wish.how if node.wish else None
        return resolve(node.ask, self.task(node.ask, node.names[0]), self._hints_of(node.ask), how)

    def source(self, ask: Ask, name: str) -> TaskSpec:
        """The task whose data trains ``name``."""
        task = self.task(ask, name)
        return self.task(ask, task.train.task or name)

    def task(self, ask: Ask, name: str) -> TaskSpec:
        """A task by name, read once."""
        if name not in self._tasks:
            self._tasks[name] = load_task(name, ask.tasks)
        return self._tasks[name]

    def _hints_of(self, ask: Ask) -> ModelHints:
        key = (ask.model, ask.revision)
        if key not in self._hints:
            try:
                self._hints[key] = model_hints(ask)[0]
            except AdaptxferError:  # not here yet; few models recommend anything
                self._hints[key] = ModelHints()
        return self._hints[key]

    def _count(self, source: TaskSpec, node: Node, limit: int | None) -> int | None:
        """Training examples: counted in files once per task, else what the task file states."""
        key = (source.name, node.mixture.languages, limit)
        if key not in self._examples:
            self._examples[key] = self._counted(source, node, limit)
        return self._examples[key]

    def _counted(self, source: TaskSpec, node: Node, limit: int | None) -> int | None:
        languages, where = node.mixture.languages, node.ask.data_dir
        if where is not None or any(place.embedded for place in source.files):
            return sum(len(read_examples(source, "train", code, where, limit).items) for code in languages)
        stated = [source.expected("train", code) for code in languages]
        return None if None in stated else sum(min(count or 0, limit or count or 0) for count in stated)


def _check_data(stage: TrainStage | EvaluateStage) -> None:
    """Find out now whether there is anything to train on."""
    if isinstance(stage, EvaluateStage):
        return
    wanted = [*(("train", code) for code in stage.mixture.languages), ("dev", "en")]
    for source in stage.sources:
        found = available(source, stage.ask.data_dir)
        for split, code in wanted:
            if code not in found.get(split, ()):
                raise nowhere(source, split, code, stage.ask.data_dir)
