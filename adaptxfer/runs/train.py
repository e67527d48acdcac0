"""Carrying out a training stage: encoder, modules, data, loop, bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adaptxfer.console import console
from adaptxfer.data.samplers import schedule
from adaptxfer.encoder.load import Encoder, load_encoder
from adaptxfer.evaluation.evaluate import DevSet, Setting, features_of
from adaptxfer.evaluation.score import main_metric
from adaptxfer.files import derived_seed
from adaptxfer.modules.bundle import Bundle, check_base, read_bundle, save_bundle
from adaptxfer.modules.composition import fusions, leaves, trained_parts
from adaptxfer.modules.heads import Head, HeadSpec, build_head
from adaptxfer.modules.merge import average
from adaptxfer.modules.method import Method
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.modules.weights import copy_into
from adaptxfer.runs.memory import peak_memory
from adaptxfer.runs.plan import module_names
from adaptxfer.runs.quiet import quiet_libraries
from adaptxfer.runs.run import OpenRun
from adaptxfer.runs.stage import TrainStage
from adaptxfer.runs.store import RunStore
from adaptxfer.tasks.load import read_examples
from adaptxfer.training import Steps, TaskData, TrainingOptions, TrainingResult, train
from adaptxfer.training.steps import single_task


def run_training(stage: TrainStage) -> Bundle:
    """Train a stage, continue it, or return its bundle if it is finished.

    Raises:
        AdaptxferError: for data, model or composition that cannot be used, diverged or interrupted training.
    """
    store = RunStore(stage.ask.runs)
    found = store.look(stage.kind, stage.name, stage.hash)
    if found is not None and found.status == "finished" and not stage.ask.fresh:
        console().note(f"{found.name} is finished already.")
        return read_bundle(found.path)
    with store.open(stage.kind, stage.name, stage.hash, fresh=stage.ask.fresh) as run:
        if run.status == "finished":  # another process was faster
            return read_bundle(run.path)
        return _train(stage, run)


def _train(stage: TrainStage, run: OpenRun) -> Bundle:
    options = stage.settings.training(stage.seed)
    encoder = load_encoder(stage.ask.model, stage.ask.revision)
    for parent in stage.parents:
        check_base(parent, encoder.base)
    steps, dev, data = prepare_data(stage, encoder, options)
    with quiet_libraries():
        model = build_model(stage, encoder)
    trained = model.set_trainable(*trained_parts(stage.how, stage.tree, stage.module))
    run.start(
        request_of(stage), seed=stage.seed, base_model=encoder.base.to_dict(), data=data,
        parents=[parent.folder.name for parent in stage.parents],
    )  # fmt: skip
    console().note(f"{run.name}: {count(trained.values()):,} weights train, {len(steps):,} steps.")
    with console().progress(len(steps), stage.name) as bar:
        result = train(
            model, trained, steps, options, run.path / "checkpoint", dev, _reporter(run, bar), dev.guessing()
        )
    return _finish(stage, run, encoder, model, dev, result)


def request_of(stage: TrainStage) -> dict[str, dict[str, Any]]:
    """Everything that was asked, for the manifest; tasks are those whose data trains, since targets may share it."""
    asked: dict[str, Any] = {
        "tasks": [source.name for source in stage.sources],
        "how": stage.how,
        "intermediates": [parent.folder.name for parent in stage.parents],
    }
    if stage.how == "fuse":
        asked["own_module"] = stage.own_module
    if len(stage.tasks) > 1:
        asked["sampler"] = stage.sampler
    request = {name: {"value": value, "from": "command"} for name, value in asked.items()}
    return stage.ask.to_request() | request | stage.settings.to_request()


def prepare_data(
    stage: TrainStage, encoder: Encoder, options: TrainingOptions
) -> tuple[Steps, DevScore, dict[str, str]]:
    """Features and schedule of the training data, the dev sets, and the fingerprints of both."""
    data, tasks, devs = {}, [], []
    for task, source in zip(stage.tasks, stage.sources, strict=True):
        setting = Setting(encoder.tokenizer, stage.ask.data_dir, 2 * options.batch_tokens, stage.settings["max_length"])
        examples = read_examples(source, "train", "en", stage.ask.data_dir, stage.settings["limit"])
        features = features_of(_texts(task, source), examples.items, setting, training=True)
        tasks.append(TaskData(source.name, features, options.batch_size, stage.seed))
        dev_setting = Setting(setting.tokenizer, setting.data_dir, setting.batch_tokens, setting.max_length,
                              stage.settings["dev_limit"])  # fmt: skip
        devs.append(DevSet(_texts(task, source), dev_setting))
        data |= {f"{source.name}/train": examples.fingerprint, f"{source.name}/dev": devs[-1].fingerprint}
        _tell(source.name, {**examples.notes, **features.notes})
    return _schedule(stage, tasks, options), DevScore(devs), data


def _texts(task: Any, source: Any) -> Any:
    """The source of the data, cut to length and labelled as the task wants it."""
    from dataclasses import replace

    return replace(source, text=task.text, labels=task.labels)


def _schedule(stage: TrainStage, tasks: list[TaskData], options: TrainingOptions) -> Steps:
    if len(tasks) == 1:
        return single_task(tasks[0], options)
    total = options.max_steps or max(1, round(sum(options.epochs * task.batches_per_epoch for task in tasks)))
    sizes = [len(task.features) for task in tasks]
    order = schedule(sizes, stage.sampler, total, derived_seed(stage.seed, "sampler"))
    return Steps(tasks, np.asarray(order))


class DevScore:
    """The mean of the main scores of all dev sets (one for a single task)."""

    def __init__(self, devs: list[DevSet]) -> None:
        self.devs = devs

    def __call__(self, model: AdaptedModel) -> float:
        """What selects the checkpoint."""
        return sum(dev(model) for dev in self.devs) / len(self.devs)

    def guessing(self) -> float | None:
        """The score of always giving the most frequent label; None for several tasks."""
        return self.devs[0].guessing() if len(self.devs) == 1 else None

    def scores(self, model: AdaptedModel) -> dict[str, Any]:
        """All scores by task."""
        return {dev.spec.name: {**dev.scores(model), "main": main_metric(dev.spec)} for dev in self.devs}


def build_model(stage: TrainStage, encoder: Encoder) -> AdaptedModel:
    """Encoder with the stage's composition and fresh heads."""
    method = make_method(stage.ask.method, encoder.network)
    attach_parents(stage, method)
    method.activate(stage.tree)
    heads = {source.name: _head(task, source.name, encoder, stage.seed)
             for task, source in zip(stage.tasks, stage.sources, strict=True)}  # fmt: skip
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
    if stage.how == "merge" and weights:
        merge_into(method, stage.module, folders)
    elif stage.how in ("continue", "merge"):
        place(stage.module, folders[0])
    elif stage.module in leaves(stage.tree):
        method.add(stage.module, stage.settings.module_options(stage.ask.method), stage.seed)
    for fused in fusions(stage.tree):
        method.add_fusion(fused, stage.seed)


def merge_into(method: Method, name: str, folders: list[Path]) -> None:
    """Attach the uniform average of saved modules under ``name``."""
    method.load(name, folders[0])
    weights = [method.read(name, folder) for folder in folders]
    merged = average(weights, method.name, [method.scale(folder) for folder in folders])
    copy_into(method.parameters(name), merged, "the merged module")


def _reporter(run: OpenRun, bar: Any) -> Callable[[Mapping[str, Any]], None]:
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


def _finish(
    stage: TrainStage, run: OpenRun, encoder: Encoder, model: AdaptedModel, dev: DevScore, result: TrainingResult
) -> Bundle:
    heads = {name: model.head(name).spec for name in model.heads}
    bundle = save_bundle(
        model,
        Bundle(run.path, encoder.base, stage.ask.method, stage.tree, next(iter(heads)), heads,
               stage.settings.module_options(stage.ask.method)),
    )  # fmt: skip
    run.finish({
        "dev": dev.scores(model),
        "training": {"steps": result.steps, "best_step": result.best_step, "best_score": result.best_score,
                     "seconds": round(result.seconds, 2), "tokens": result.tokens, "evaluations": result.evaluations,
                     **peak_memory()},
    })  # fmt: skip
    run.remove_checkpoint()
    return bundle


def count(parameters: Any) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in parameters)


def _tell(name: str, notes: Mapping[str, int]) -> None:
    if told := ", ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in notes.items() if number):
        console().note(f"{name}: {told}.")
