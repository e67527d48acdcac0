"""The data of a training stage: features and schedule of its tasks, text for masked words, the English dev sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from adaptxfer.console import console
from adaptxfer.data.features import Features
from adaptxfer.data.mlm import line_features
from adaptxfer.data.samplers import language_weights, probabilities, schedule
from adaptxfer.encoder.load import Encoder
from adaptxfer.errors import AdaptxferError, data_error
from adaptxfer.evaluation.evaluate import ENGLISH, DevSet, Setting, features_of
from adaptxfer.evaluation.retrieve import choose_layer
from adaptxfer.evaluation.score import main_metric
from adaptxfer.files import content_hash, derived_seed, file_hash, read_text
from adaptxfer.modules.model import AdaptedModel
from adaptxfer.runs.stage import TrainStage, text_language
from adaptxfer.tasks.convert import paired, questions_to_pairs, unique_candidates
from adaptxfer.tasks.load import read_examples
from adaptxfer.tasks.sham import with_sham_labels
from adaptxfer.tasks.spec import TaskSpec
from adaptxfer.training import Steps, TaskData, TrainingOptions
from adaptxfer.training.steps import MaskedData, single_task

MLM = "mlm"
"""Name of the masked-word head."""


def prepare_data(
    stage: TrainStage, encoder: Encoder, options: TrainingOptions
) -> tuple[Steps, DevScore, dict[str, str]]:
    """Features and schedule of the training data, the dev sets, and the fingerprints of both."""
    prints: dict[str, str] = {}
    tasks: list[TaskData] = []
    devs: list[DevSet] = []
    length = stage.settings["max_length"]
    setting = Setting(encoder.tokenizer, stage.ask.data_dir, 2 * options.batch_tokens, length)
    for task, source in zip(stage.tasks, stage.sources, strict=True):
        spec = view(task, source)
        features, prints[f"{source.name}/train"] = _training(stage, spec, source, setting)
        tasks.append(TaskData(source.name, features, options.batch_size, stage.seed))
        layers = _sentence_layers(stage, spec, encoder, options)
        dev_setting = replace(setting, limit=stage.settings["dev_limit"], layers=layers)
        devs.append(DevSet(spec, dev_setting, source, _for_dev(spec, source)))
        prints[f"{source.name}/dev"] = devs[-1].fingerprint
    texts = _texts(stage, encoder, options, length)
    prints |= {f"{MLM}/{text_language(path)}": file_hash(path) for path in stage.mixture.mlm}
    return _schedule(stage, tasks, texts, options), DevScore(devs), prints


def _sentence_layers(stage: TrainStage, spec: TaskSpec, encoder: Encoder, options: TrainingOptions) -> tuple[int, ...]:
    """Where an intermediate's dev sentences are embedded; nowhere if the base model has no usual layer.

    Nor where weights are spread over processes, for then the encoder runs only below its head.
    """
    if stage.kind != "intermediate" or options.sharded:
        return ()
    try:
        return (choose_layer(spec, encoder.base.layers, None, encoder.hints.retrieval_layer),)
    except AdaptxferError:
        return ()


def view(task: TaskSpec, source: TaskSpec) -> TaskSpec:
    """The source of the data as the task wants it: its kind, labels and text options."""
    metric = source.metric if source.kind == task.kind else task.metric
    return replace(source, kind=task.kind, text=task.text, labels=task.labels, metric=metric)


def _training(stage: TrainStage, spec: TaskSpec, source: TaskSpec, setting: Setting) -> tuple[Features, str]:
    """Features of the training examples in all languages of the mixture, and one fingerprint for them."""
    languages, limit = stage.mixture.languages, stage.settings["limit"]
    parts = [read_examples(source, "train", code, setting.data_dir, limit) for code in languages]
    items = [item for part in parts for item in part.items]
    if stage.mixture.sham:
        items = with_sham_labels(source.kind, items, derived_seed(stage.seed, "sham", source.name))
    items = _for_training(spec, source)(items)
    features = features_of(spec, items, setting, training=True)
    if spec.kind == "retrieve":  # a unit is a query with its candidate
        features = replace(features, units=np.arange(0, len(features.example) + 1, 2, dtype=np.int64))
    for code, part in zip(languages, parts, strict=True):
        _tell(source.name if code == ENGLISH else f"{source.name} in {code}", part.notes)
    _tell(source.name, features.notes)
    prints = [part.fingerprint for part in parts]
    return features, prints[0] if len(prints) == 1 else content_hash(prints, 64)


def _for_training(spec: TaskSpec, source: TaskSpec) -> Callable[[list[Any]], list[Any]]:
    if spec.kind != "retrieve":
        return list
    return questions_to_pairs if source.kind == "span" else paired


def _for_dev(spec: TaskSpec, source: TaskSpec) -> Callable[[list[Any]], list[Any]]:
    pairs = _for_training(spec, source)
    return (lambda items: unique_candidates(pairs(items))) if spec.kind == "retrieve" else list


def _texts(stage: TrainStage, encoder: Encoder, options: TrainingOptions, length: int) -> list[MaskedData]:
    """Masked-language-modelling data, one language each."""
    found = []
    for path in stage.mixture.mlm:
        features = line_features(read_text(path, "text file").splitlines(), encoder.tokenizer, length)
        if not len(features):
            raise data_error(f"{path} has no text.", "Give one sentence or paragraph per line.")
        found.append(MaskedData(MLM, features, options.batch_size, stage.seed, language=text_language(path),
                                tokenizer=encoder.tokenizer))  # fmt: skip
    return found


def _schedule(
    stage: TrainStage, tasks: Sequence[TaskData], texts: Sequence[MaskedData], options: TrainingOptions
) -> Steps:
    """One task per step; with text, its share of the steps comes on top of the passes over the tasks."""
    if len(tasks) == 1 and not texts:
        return single_task(tasks[0], options)
    weight = stage.mixture.mlm_weight if texts else 0.0
    chances = (1 - weight) * probabilities([len(task.features) for task in tasks], stage.mixture.sampler)
    if texts:
        shares = language_weights({text.language: len(text.features) for text in texts})
        chances = np.concatenate([chances, weight * np.array([shares[text.language] for text in texts])])
    passes = sum(options.epochs * task.batches_per_epoch for task in tasks)
    total = options.max_steps or max(1, round(passes / (1 - weight)))
    return Steps([*tasks, *texts], schedule(chances / chances.sum(), total, derived_seed(stage.seed, "sampler")))


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
        return {
            dev.spec.name: {**dev.scores(model), **dev.contrast(model), "main": main_metric(dev.spec)}
            for dev in self.devs
        }


def _tell(name: str, notes: Mapping[str, int]) -> None:
    if told := ", ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in notes.items() if number):
        console().note(f"{name}: {told}.")
