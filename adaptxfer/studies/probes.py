"""How well each intermediate module suits a target task before any training: forward passes, then estimators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch

from adaptxfer.data.features import Features
from adaptxfer.encoder.load import load_encoder
from adaptxfer.errors import AdaptxferError, data_error, nearest, use_error
from adaptxfer.evaluation.evaluate import Setting, features_of, read_split
from adaptxfer.modules.bundle import Bundle, load_bundle
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.runs.plan import model_hints
from adaptxfer.runs.quiet import quiet_libraries
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import Ask, resolve
from adaptxfer.studies.codes import match
from adaptxfer.studies.estimators import h_score, logme
from adaptxfer.studies.pairs import SELECTOR
from adaptxfer.studies.select import texts
from adaptxfer.studies.select.alignment import find_parallel
from adaptxfer.studies.select.embeddings import Embedding, cosine, task_embedding, task_similarity, text_embedding
from adaptxfer.studies.select.vectors import BATCH_TOKENS, depths, labelled_vectors
from adaptxfer.studies.table import NONE, Row
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import read_examples, with_labels
from adaptxfer.tasks.spec import TaskSpec

LAST = "last"
READINGS: Mapping[str, Callable[[Sequence[float]], float]] = {LAST: max, "best": max, "mean": fmean}
"""How LogME and H-score over layers become one number."""

LEAST = 20
"""Fewest labelled vectors for an estimate."""


@dataclass(frozen=True)
class Fit:
    """What is known about one module for one target task before training on it.

    Attributes:
        intermediate: its task, or none for the bare encoder.
        seed: of its training; 0 for the bare encoder.
        vectors: labelled vectors behind ``logme`` and ``h_score``.
        values: by selector; higher is better. ``logme`` and ``h_score``: how well frozen features fit the target's
            labels. ``tokens``: trained on, repetitions counted. ``text`` and ``task``: similarity of the two tasks'
            embeddings. ``alignment``: points of translation retrieval that the module adds. ``overlap``: share of the
            target language's sub-words that the intermediate's text knows. ``variety``, ``lengths`` and ``labels``:
            diversity of the intermediate's English data. What cannot be had is left out.
    """

    intermediate: str
    seed: int
    vectors: int
    values: Mapping[str, float]

    def rows(self, target: str, backbone: str, method: str) -> list[Row]:
        """The values as rows of a record table, from which selectors are evaluated."""
        shared = {"study": SELECTOR, "status": "measured", "backbone": backbone, "method": method}
        return [
            Row(target, "en", name, value, self.seed, self.intermediate, **shared)  # type: ignore[arg-type]
            for name, value in self.values.items()
        ]


@dataclass(frozen=True)
class Sample:
    """English training data of a task on the bare encoder, and what it says about the task alone.

    Attributes:
        source: task whose files were read.
        examples: the first ones.
        features: of them.
        text: embedding by text.
        task: embedding by gradients.
        words: sub-words.
    """

    source: TaskSpec
    examples: Sequence[Any]
    features: Features
    text: np.ndarray
    task: Embedding
    words: np.ndarray

    def diversity(self) -> dict[str, float]:
        """Numbers about the English data itself."""
        found = {"variety": texts.variety(self.words), "lengths": texts.length_entropy(self.features),
                 "labels": texts.label_entropy(self.features)}  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}


def fit_modules(
    task: TaskSpec,
    bundles: Sequence[Bundle],
    ask: Ask,
    limit: int = 500,
    languages: Sequence[str] | None = None,
    parallel: str | None = None,
    layers: str = LAST,
) -> list[Fit]:
    """Look at the bare encoder and each module on English training examples of a target task, best LogME first.

    Args:
        task: target task; classify, choose, tag or span.
        bundles: single modules trained on this base model.
        ask: base model and data folder.
        limit: first examples, and sentences of other languages, to use.
        languages: whose text counts; None for all of the target task that have data here.
        parallel: retrieval task with translations; None for those that lie in the data folder.
        layers: one of ``READINGS``: LogME and H-score of the last layer, or the best or mean over four depths.

    Raises:
        AdaptxferError: for retrieval, which has no labels, a language that the task has not, too few examples, or
            bundles of another base model.
    """
    if task.kind == "retrieve":
        raise use_error(
            f"{task.name} is retrieval: it has no labels to fit.", "Score the modules: adaptxfer transfer --to."
        )
    for code in languages or ():
        if not match(code, task.languages)[0]:
            raise use_error(f"The task {task.name} has no language {code!r}.", nearest(code, task.languages))
    if layers not in READINGS:
        raise use_error(f"--layers {layers} does not exist.", nearest(layers, READINGS))
    probe = Probe(task, ask, limit, languages, parallel, layers)
    fits = [probe.fit(bundle) for bundle in (None, *bundles)]
    return sorted(fits, key=lambda fit: (-fit.values["logme"], fit.intermediate, fit.seed))


class Probe:
    """A target task as every module is held against it."""

    def __init__(
        self, task: TaskSpec, ask: Ask, limit: int, languages: Sequence[str] | None, parallel: str | None,
        layers: str = LAST,
    ) -> None:  # fmt: skip
        self.ask, self.limit = ask, limit
        encoder = load_encoder(ask.model, ask.revision)
        self.base = encoder.base
        self.over = READINGS[layers]
        self.layers = [self.base.layers] if layers == LAST else depths(self.base.layers)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.bare = AdaptedModel(make_method("full", encoder.network), {}).eval().to(self.device)
        self.tokenizer, self.samples = encoder.tokenizer, dict[str, Sample | None]()
        name = task.name if task.train.task in (None, task.name) else str(task.train.task)
        self.target = self._sample(with_labels(load_task(name, ask.tasks), ask.data_dir))
        codes = list(languages or (code for code in task.languages if code != "en"))
        self.foreign = self._foreign(task, codes)
        setting = Setting(self.tokenizer, ask.data_dir, BATCH_TOKENS, limit=limit)
        self.parallel = find_parallel(
            codes, setting, encoder.hints.retrieval_layer, self.base.layers, parallel, ask.tasks
        )
        self.aligned = self.parallel.accuracy(self.bare) if self.parallel else None

    def fit(self, bundle: Bundle | None) -> Fit:
        """What is known about a module, or about the bare encoder."""
        target = self.target
        with quiet_libraries():
            # afresh: modules of the last one are attached to its network
            model = (
                self.bare if bundle is None else load_bundle(bundle, load_encoder(self.ask.model, self.ask.revision))
            )
        model = model.to(self.device)
        vectors, labels, _ = labelled_vectors(model, target.features, self.layers)
        values = {
            name: float(self.over([of(by, labels) for by in vectors.values()]))
            for name, of in (("logme", logme), ("h_score", h_score))
        }
        if self.parallel and self.aligned is not None:
            values["alignment"] = 0.0 if bundle is None else self.parallel.accuracy(model) - self.aligned
        if bundle is None:
            return Fit(NONE, 0, len(labels), values)
        manifest = Run(bundle.folder).manifest
        if (tokens := manifest.get("training", {}).get("tokens")) is not None:
            values["tokens"] = float(tokens)
        return Fit(bundle.called(), manifest.get("seed", 0), len(labels), values | self._pair(bundle.task))

    def _pair(self, name: str) -> dict[str, float]:
        """What the intermediate task's data says, if it is here."""
        if name not in self.samples:
            try:
                self.samples[name] = self._sample(with_labels(load_task(name, self.ask.tasks), self.ask.data_dir))
            except AdaptxferError:  # of a joint or merged module, or of somebody else
                self.samples[name] = None
        found = self.samples[name]
        if found is None:
            return {}
        values = {"text": cosine(found.text, self.target.text), "task": task_similarity(found.task, self.target.task)}
        if len(self.foreign):
            values["overlap"] = texts.overlap(found.words, self.foreign)
        return values | found.diversity()

    def _sample(self, source: TaskSpec) -> Sample:
        examples = read_examples(source, "train", "en", self.ask.data_dir, self.limit).items
        length = resolve(self.ask, source, model_hints(self.ask)[0])["max_length"]
        features = features_of(source, examples, Setting(self.tokenizer, self.ask.data_dir, BATCH_TOKENS, length), True)
        by_layer, labels, places = labelled_vectors(self.bare, features, [self.base.layers])
        vectors = by_layer[self.base.layers]
        if len(labels) < LEAST:
            told = f"{source.name} gives {len(labels)} labelled vectors, {LEAST} are needed."
            raise data_error(told, "Raise --limit.")
        return Sample(
            source, examples, features, text_embedding(self.bare, features, self.base.layers, BATCH_TOKENS),
            task_embedding(self.bare.network, features, places, vectors, labels), texts.sample(features),
        )  # fmt: skip

    def _foreign(self, task: TaskSpec, codes: Sequence[str]) -> np.ndarray:
        """Sub-words of the target task's text in other languages, equally many of each; labels are not looked at."""
        setting = Setting(self.tokenizer, self.ask.data_dir, BATCH_TOKENS, limit=self.limit)
        parts = []
        for code in codes:
            try:
                found = read_split(task, code, setting)
            except AdaptxferError:
                continue
            if found is not None:
                parts.append(texts.sample(features_of(task, found[1].items, setting)))
        shortest = min(map(len, parts), default=0)
        return np.concatenate([part[:shortest] for part in parts]) if shortest else np.zeros(0, np.int32)
