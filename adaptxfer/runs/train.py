"""Carrying out a training stage: encoder, modules, data, loop, bundle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from adaptxfer import ranks
from adaptxfer.console import console
from adaptxfer.encoder.load import Encoder, load_encoder, load_masked_head
from adaptxfer.kernels.dispatch import check_machine, using
from adaptxfer.modules.bundle import Bundle, check_base, read_bundle, save_bundle
from adaptxfer.modules.composition import fusions, leaves, trained_parts
from adaptxfer.modules.dual import masked_head
from adaptxfer.modules.heads import Head, HeadSpec, build_head
from adaptxfer.modules.merge import Merger
from adaptxfer.modules.method import Method
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.modules.recipe import Recipe
from adaptxfer.modules.weights import load_into
from adaptxfer.runs.data import MLM, DevScore, prepare_data
from adaptxfer.runs.memory import peak_memory
from adaptxfer.runs.plan import module_names
from adaptxfer.runs.quiet import quiet_libraries
from adaptxfer.runs.run import CHECKPOINT, OpenRun
from adaptxfer.runs.stage import TrainStage
from adaptxfer.runs.store import RunStore
from adaptxfer.training import Steps, TrainingOptions, TrainingResult, train
from adaptxfer.training.checkpoint import best_path
from adaptxfer.training.graphs import check_graphs


def run_training(stage: TrainStage) -> Bundle:
    """Train a stage, continue it, or return its bundle if it is finished.

    Of several processes (see `adaptxfer.ranks`) all must call this with the same stage.

    Raises:
        AdaptxferError: for data, model or composition that cannot be used, diverged or interrupted training.
    """
    store = RunStore(stage.ask.runs)
    with ranks.together():
        if not stage.ask.fresh and ranks.first(lambda: store.is_finished(stage.kind, stage.name, stage.hash)):
            console().note(f"{stage.folder} is finished already.")
            return read_bundle(store.root / stage.folder)
        check_machine(stage.ask.kernels)
        check_graphs(stage.settings.training(stage.seed))
        with store.open(stage.kind, stage.name, stage.hash, fresh=stage.ask.fresh) as run, using(stage.ask.kernels):
            # finished: another command was faster
            bundle = read_bundle(run.path) if run.status == "finished" else _train(stage, run)
        ranks.wait()  # until all is written
        return bundle


class Ready(NamedTuple):
    """A stage with all it takes to train it."""

    stage: TrainStage
    run: OpenRun
    encoder: Encoder
    model: AdaptedModel
    trained: dict[str, Any]
    steps: Steps
    options: TrainingOptions
    dev: DevScore
    chance: float | None  # dev score at which training counts as stuck, where known


def _train(stage: TrainStage, run: OpenRun) -> Bundle:
    encoder = load_encoder(stage.ask.model, stage.ask.revision, stage.ask.base_precision)
    ready = prepare(stage, run, encoder)
    with console().progress(len(ready.steps), stage.name) as bar:
        result = train(
            ready.model, ready.trained, ready.steps, ready.options, run.path / CHECKPOINT, ready.dev,
            reporter(run, bar), ready.chance,
        )  # fmt: skip
    return finish(ready, result)


def prepare(stage: TrainStage, run: OpenRun, encoder: Encoder) -> Ready:
    """Read the data, attach the modules to ``encoder``, and mark the run as started.

    Raises:
        AdaptxferError: for data, model or composition that cannot be used.
    """
    options, sham = stage.settings.training(stage.seed), stage.mixture.sham
    if sham:  # chance is where it belongs, and choosing among checkpoints would only shorten the training
        options = replace(options, keep="last")
    for parent in stage.parents:
        check_base(parent, encoder.base)
    with ranks.first_goes_ahead():  # and leaves the features to the others
        steps, dev, data = prepare_data(stage, encoder, options)
    with quiet_libraries():
        model = build_model(stage, encoder)
    trained = model.set_trainable(*trained_parts(stage.how, stage.tree, stage.module))
    run.start(
        request_of(stage), seed=stage.seed, base_model=encoder.base.to_dict(), data=data,
        parents=[parent.folder.name for parent in stage.parents],
    )  # fmt: skip
    if stage.ask.confounds:
        run.update(**stage.ask.confounds)
    console().note(f"{run.name}: {count(trained.values()):,} weights train, {len(steps):,} steps.")
    return Ready(stage, run, encoder, model, trained, steps, options, dev, -math.inf if sham else dev.guessing())


def request_of(stage: TrainStage) -> dict[str, dict[str, Any]]:
    """Everything that was asked, for the manifest; tasks are those whose data trains, since targets may share it."""
    asked: dict[str, Any] = {
        "tasks": [source.name for source in stage.sources],
        "how": stage.how,
        "intermediates": [parent.folder.name for parent in stage.parents],
    }
    if stage.how == "fuse":
        asked["own_module"] = stage.own_module
    asked |= stage.mixture.to_request(len(stage.tasks))
    request = {name: {"value": value, "from": "command"} for name, value in asked.items()}
    return stage.ask.to_request() | request | stage.settings.to_request()


def build_model(stage: TrainStage, encoder: Encoder) -> AdaptedModel:
    """Encoder with the stage's composition and fresh heads."""
    method = make_method(stage.ask.method, encoder.network)
    attach_parents(stage, method)
    method.activate(stage.tree)
    heads = {source.name: _head(task, source.name, encoder, stage.seed)
             for task, source in zip(stage.tasks, stage.sources, strict=True)}  # fmt: skip
    if stage.mixture.mlm:
        heads[MLM] = masked_head(method.network, load_masked_head(stage.ask.model, stage.ask.revision))
    return AdaptedModel(method, heads)


def _head(task: Any, name: str, encoder: Encoder, seed: int) -> Head:
    config: Any = encoder.network.config
    dropout = getattr(config, "classifier_dropout", None)
    dropout = config.hidden_dropout_prob if dropout is None else dropout
    spec = HeadSpec(task.kind, encoder.base.width, task.labels, float(dropout), float(config.initializer_range))
    return build_head(spec, seed, name)


def attach_parents(stage: TrainStage, method: Method, weights: bool = True) -> None:
    """Attach intermediate modules and the fresh one as ``how`` says; without ``weights`` only their shape."""
    place = method.load if weights else method.attach
    folders = [parent.module_folder(parent.single()) for parent in stage.parents]
    if stage.how in ("stack", "fuse"):
        for name, folder in zip(module_names(stage.parents), folders, strict=True):
            place(name, folder)
    if stage.how == "merge":
        merger = Merger(method, stage.module, folders)
        if weights:
            merger.fill(Recipe())
    elif stage.how == "continue":
        place(stage.module, folders[0])
    elif stage.module in leaves(stage.tree):
        method.add(stage.module, stage.settings.module_options(stage.ask.method), stage.seed)
    for fused in fusions(stage.tree):
        method.add_fusion(fused, stage.seed)


def reporter(run: OpenRun, bar: Any) -> Callable[[Mapping[str, Any]], None]:
    """Takes the events of training: shows them, and keeps up to about 1,000 steps in the log."""

    def report(event: Mapping[str, Any]) -> None:
        if event["event"] == "note":
            console().note(event["text"])
        elif event["event"] == "resume":
            run.cut_log(event["step"])
            bar.resume(event["step"])
            console().note(f"Continuing after step {event['step']} of {event['total']}.")
        elif event["event"] == "step":
            if event["step"] == 1:  # what a run without a checkpoint left
                run.cut_log(0)
            bar.update(1, loss=event["loss"], tokens_per_s=event["tokens_per_s"])
            if event["step"] % max(1, event["total"] // 1000) == 0:
                run.append_log(event)
        else:
            run.append_log(event)

    return report


def _in_one_piece(ready: Ready, result: TrainingResult) -> AdaptedModel:
    """The trained model as one process can save it: one whose weights are spread is built again from its best ones."""
    stage = ready.stage
    if not ready.options.sharded:
        return ready.model
    model = build_model(stage, load_encoder(stage.ask.model, stage.ask.revision))
    trained = model.set_trainable(*trained_parts(stage.how, stage.tree, stage.module))
    load_into(trained, best_path(ready.run.path / CHECKPOINT, result.best_step or 0))
    return model


def finish(ready: Ready, result: TrainingResult) -> Bundle:
    """Save the bundle of a trained stage and mark its run as finished."""
    stage, run, model = ready.stage, ready.run, ready.model
    if MLM in model.heads:  # it belongs to the base model
        del model.heads[MLM]
    heads = {name: model.head(name).spec for name in model.heads}
    described = Bundle(run.path, ready.encoder.base, stage.ask.method, stage.tree, next(iter(heads)), heads,
                       stage.settings.module_options(stage.ask.method))  # fmt: skip
    bundle = ranks.first(lambda: save_bundle(_in_one_piece(ready, result), described))
    run.finish({
        "dev": ready.dev.scores(model),
        "training": {"steps": result.steps, "best_step": result.best_step, "best_score": result.best_score,
                     "seconds": round(result.seconds, 2), "tokens": result.tokens, "evaluations": result.evaluations,
                     "processes": ranks.size(), **peak_memory()},
    })  # fmt: skip
    return bundle


def count(parameters: Any) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in parameters)
