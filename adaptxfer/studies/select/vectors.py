"""Vectors of labelled training examples at some layers: what frozen features know of a task before it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from adaptxfer.data.batches import evaluation_batches, pack
from adaptxfer.data.features import IGNORED, Features
from adaptxfer.encoder.packed import encode_auto
from adaptxfer.evaluation.retrieve import embed
from adaptxfer.modules.model import AdaptedModel

BATCH_TOKENS = 16384


def depths(layers: int) -> list[int]:
    """Four layers at even distances, the last among them; all of an encoder that has no more."""
    return sorted({-(-layers * quarter // 4) for quarter in (1, 2, 3, 4)})


def labelled_vectors(
    model: AdaptedModel, features: Features, layers: Sequence[int]
) -> tuple[dict[int, np.ndarray], np.ndarray, np.ndarray]:
    """Vectors, their classes, and where they are, at some layers.

    classify: mean of each sequence and its label. choose: mean of each choice, right or not. tag: first piece of each
    word and its tag. span: first and last piece of each answer, and a piece from the middle of the context.

    Args:
        model: encoder with or without a module.
        features: of training examples.
        layers: hidden states, 0 being the embeddings.

    Returns:
        by layer vectors (N, width), labels (N,), and their places (N,): numbers of sequences or, for tag and span,
        positions.
    """
    if features.kind in ("classify", "choose"):
        labels = _sequence_labels(features)
        vectors = embed(model, features, layers, BATCH_TOKENS)
        places = np.flatnonzero(labels != IGNORED)
        return {layer: found.numpy()[places] for layer, found in vectors.items()}, labels[places], places
    places, labels = _token_labels(features)
    return _token_vectors(model, features, places, layers), labels, places


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
def _token_vectors(
    model: AdaptedModel, features: Features, places: np.ndarray, layers: Sequence[int]
) -> dict[int, np.ndarray]:
    """Hidden states (N, width) by layer at positions (N,) of the features, which may repeat."""
    model.eval()
    device = next(model.parameters()).device
    wanted, inverse = np.unique(places, return_inverse=True)
    row = np.full(len(features.ids), -1)
    row[wanted] = np.arange(len(wanted))
    width: int = model.network.config.hidden_size  # type: ignore[union-attr, assignment]
    found = {layer: np.zeros((len(wanted), width), np.float32) for layer in layers}
    for units in evaluation_batches(features, BATCH_TOKENS):
        batch = pack(features, units).to(device)
        rows = row[batch.positions]
        for layer, hidden in zip(layers, encode_auto(model.network, batch.ids, batch.bounds, layers), strict=True):
            found[layer][rows[rows >= 0]] = hidden.float().cpu().numpy()[rows >= 0]
    return {layer: vectors[inverse] for layer, vectors in found.items()}
