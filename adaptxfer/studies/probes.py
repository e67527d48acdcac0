"""How well each intermediate module suits a target task before any training: one forward pass, then an estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from adaptxfer.data.batches import evaluation_batches, pack
from adaptxfer.data.features import IGNORED, Features
from adaptxfer.encoder.load import load_encoder
from adaptxfer.encoder.packed import encode_auto
from adaptxfer.errors import data_error, use_error
from adaptxfer.evaluation.evaluate import Setting, features_of
from adaptxfer.evaluation.retrieve import embed
from adaptxfer.modules.bundle import Bundle, load_bundle
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.runs.plan import model_hints
from adaptxfer.runs.quiet import quiet_libraries
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import Ask, resolve
from adaptxfer.studies.estimators import h_score, logme
from adaptxfer.studies.pairs import SELECTOR
from adaptxfer.studies.table import NONE, Row
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import read_examples, with_labels
from adaptxfer.tasks.spec import TaskSpec

BATCH_TOKENS = 16384
LEAST = 20
"""Fewest labelled vectors for an estimate."""


@dataclass(frozen=True)
class Fit:
    """What the estimators say about one module.

    Args:
        intermediate: its task, or none for the bare encoder.
        seed: of its training; 0 for the bare encoder.
        logme: log evidence per vector, higher is better.
        h_score: between-class variance, higher is better.
        tokens: tokens it was trained on, repetitions counted; None if unknown.
        vectors: labelled vectors behind the estimates.
    """

    intermediate: str
    seed: int
    logme: float
    h_score: float
    tokens: int | None
    vectors: int

    def rows(self, target: str, backbone: str, method: str) -> list[Row]:
        """The estimates as rows of a record table, from which selectors are evaluated."""
        shared = {"study": SELECTOR, "status": "measured", "backbone": backbone, "method": method}
        values = {"logme": self.logme, "h_score": self.h_score}
        values |= {"tokens": float(self.tokens)} if self.tokens is not None else {}
        return [
            Row(target, "en", name, value, self.seed, self.intermediate, **shared)  # type: ignore[arg-type]
            for name, value in values.items()
        ]


def fit_modules(task: TaskSpec, bundles: Sequence[Bundle], ask: Ask, limit: int = 500) -> list[Fit]:
    """Estimate the bare encoder and each module on English training examples of a target task, best LogME first.

    Args:
        task: target task; classify, choose, tag or span.
        bundles: single modules trained on this base model.
        ask: base model and data folder.
        limit: first examples to use.

    Raises:
        AdaptxferError: for retrieval, which has no labels, too few examples, or bundles of another base model.
    """
    if task.kind == "retrieve":
        raise use_error(
            f"{task.name} is retrieval: it has no labels to fit.", "Score the modules: adaptxfer transfer --to."
        )
    source = task if task.train.task in (None, task.name) else load_task(task.train.task, ask.tasks)
    source = with_labels(source, ask.data_dir)
    examples = read_examples(source, "train", "en", ask.data_dir, limit).items
    return sorted(
        (_fit(source, examples, bundle, ask) for bundle in (None, *bundles)),
        key=lambda fit: (-fit.logme, fit.intermediate, fit.seed),
    )


def _fit(source: TaskSpec, examples: Sequence, bundle: Bundle | None, ask: Ask) -> Fit:
    encoder = load_encoder(ask.model, ask.revision)  # afresh: modules of the last one are attached to its network
    length = resolve(ask, source, model_hints(ask)[0])["max_length"]
    setting = Setting(encoder.tokenizer, ask.data_dir, BATCH_TOKENS, length)
    features = features_of(source, examples, setting, training=True)
    with quiet_libraries():
        bare = AdaptedModel(make_method("full", encoder.network), {}).eval() if bundle is None else None
        model = bare or load_bundle(bundle, encoder)  # type: ignore[arg-type]
    vectors, labels = labelled_vectors(model, features, encoder.base.layers)
    if len(labels) < LEAST:
        raise data_error(f"{source.name} gives {len(labels)} labelled vectors, {LEAST} are needed.", "Raise --limit.")
    name, seed, tokens = NONE, 0, None
    if bundle is not None:
        manifest = Run(bundle.folder).manifest
        name, seed = bundle.task, manifest.get("seed", 0)
        tokens = manifest.get("training", {}).get("tokens")
    return Fit(name, seed, logme(vectors, labels), h_score(vectors, labels), tokens, len(labels))


def labelled_vectors(model: AdaptedModel, features: Features, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and their classes at one layer.

    classify: mean of each sequence and its label. choose: mean of each choice, right or not. tag: first piece of each
    word and its tag. span: first and last piece of each answer, and a piece from the middle of the context.

    Args:
        model: encoder with or without a module.
        features: of training examples.
        layer: hidden state, 0 being the embeddings.

    Returns:
        vectors (N, width) and labels (N,).
    """
    if features.kind in ("classify", "choose"):
        labels = _sequence_labels(features)
        vectors = embed(model, features, [layer], BATCH_TOKENS)[layer].numpy()
        return vectors[labels != IGNORED], labels[labels != IGNORED]
    places, labels = _token_labels(features)
    return _token_vectors(model, features, places, layer), labels


def _sequence_labels(features: Features) -> np.ndarray:
    if features.kind == "classify":
        return features.targets["label"]
    right = features.units[:-1] + features.targets["label"]
    labels = np.zeros(len(features.example), int)
    labels[right[features.targets["label"] != IGNORED]] = 1
    labels[np.repeat(features.targets["label"] == IGNORED, np.diff(features.units))] = IGNORED
    return labels


def _token_labels(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Positions in ``features.ids`` and their classes."""
    targets = features.targets
    if features.kind == "tag":
        places = np.flatnonzero((targets["word"] >= 0) & (targets["label"] != IGNORED))
        return places, targets["label"][places]
    answered = np.flatnonzero(targets["start"] > 0)
    begin = features.bounds[:-1][answered]
    middle = (targets["context_start"] + targets["context_end"])[answered] // 2
    parts = [targets["start"][answered], targets["end"][answered], middle]
    return np.concatenate([begin + part for part in parts]), np.repeat(np.arange(3), len(answered))


@torch.inference_mode()
def _token_vectors(model: AdaptedModel, features: Features, places: np.ndarray, layer: int) -> np.ndarray:
    """Hidden states (N, width) at positions (N,) of the features, which may repeat."""
    model.eval()
    device = next(model.parameters()).device
    wanted, inverse = np.unique(places, return_inverse=True)
    row = np.full(len(features.ids), -1)
    row[wanted] = np.arange(len(wanted))
    found = np.zeros((len(wanted), model.network.config.hidden_size), np.float32)  # type: ignore[union-attr]
    for units in evaluation_batches(features, BATCH_TOKENS):
        batch = pack(features, units).to(device)
        hidden = encode_auto(model.network, batch.ids, batch.bounds, [layer])[0].float().cpu().numpy()
        rows = row[batch.positions]
        found[rows[rows >= 0]] = hidden[rows >= 0]
    return found[inverse]
