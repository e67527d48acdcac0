"""Vectors of whole tasks on the bare encoder: by their text, and by what they would change (Vu et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from adaptxfer.data.batches import pack
from adaptxfer.data.features import Features
from adaptxfer.encoder import mean_pool
from adaptxfer.encoder.packed import encode_auto
from adaptxfer.evaluation.retrieve import embed
from adaptxfer.modules.model import AdaptedModel

RIDGE = 1.0
"""Penalty of the linear reading, in units of the mean variance of the features."""
STEPS = 64
"""Backward passes behind a task embedding."""

Embedding = Mapping[str, np.ndarray]


def text_embedding(model: AdaptedModel, features: Features, layer: int, batch_tokens: int) -> np.ndarray:
    """The mean vector (width,) of a task's sequences on the bare encoder (TextEmb)."""
    return embed(model, features, [layer], batch_tokens)[layer].mean(0).double().numpy()


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    """Cosine of two vectors; 0 if one is zero."""
    length = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / length if length > 0 else 0.0


def task_similarity(one: Embedding, two: Embedding) -> float:
    """Mean cosine over the encoder's parts."""
    return float(np.mean([cosine(one[name], two[name]) for name in one]))


def task_embedding(
    network: nn.Module, features: Features, places: np.ndarray, vectors: np.ndarray, labels: np.ndarray
) -> Embedding:
    """How strongly the task's loss pulls at each norm and bias of the encoder: the mean squared gradient (TaskEmb).

    Vu et al. fine-tune on each task first; here the loss is the squared error of a linear reading that is fitted in
    closed form on the frozen vectors, so nothing is trained. Norms and biases stand for the layers they are in.

    Args:
        network: the bare encoder; its weights are not changed.
        features: of the task.
        places: what each vector is of: numbers of sequences (classify, choose) or positions in ``features.ids`` (N,).
        vectors: last hidden states there (N, width).
        labels: class of each (N,).

    Returns:
        by name of the part, the mean squared gradient of each of its weights.
    """
    weights, targets = _linear_reading(vectors, labels)
    reading, mean = torch.from_numpy(weights).float(), torch.from_numpy(vectors.mean(0)).float()
    parts = {name: p for name, p in network.named_parameters() if p.dim() == 1 and not name.startswith("embeddings.")}
    row = np.full(len(features.ids) if features.kind in ("tag", "span") else len(features.example), -1)
    row[places] = np.arange(len(places))
    before = {name: p.requires_grad for name, p in network.named_parameters()}
    network.eval()
    for name, p in network.named_parameters():
        p.requires_grad_(name in parts)
    try:
        return _squared_gradients(network, features, parts, row, reading, mean, torch.from_numpy(targets).float())
    finally:
        for name, p in network.named_parameters():
            p.requires_grad_(before[name])


def _linear_reading(vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ridge weights (width, K) and centred one-hot targets (N, K)."""
    x = vectors.astype(np.float64) - vectors.mean(0)
    classes, index = np.unique(labels, return_inverse=True)
    y = np.eye(len(classes))[index]
    y = y - y.mean(0)
    gram = x.T @ x
    return np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), x.T @ y), y


def _squared_gradients(
    network: nn.Module, features: Features, parts: Mapping[str, nn.Parameter], row: np.ndarray, reading: Tensor,
    mean: Tensor, targets: Tensor,
) -> Embedding:  # fmt: skip
    device = next(network.parameters()).device
    total = {name: torch.zeros_like(p) for name, p in parts.items()}
    units = np.linspace(0, len(features) - 1, min(STEPS, len(features))).astype(int)
    for unit in units:
        batch = pack(features, np.array([unit])).to(device)
        numbers = row[batch.positions] if features.kind in ("tag", "span") else row[batch.sequences]
        if not (numbers >= 0).any():
            continue
        with torch.enable_grad():
            hidden = encode_auto(network, batch.ids, batch.bounds)
            states = hidden if features.kind in ("tag", "span") else mean_pool(hidden, batch.bounds)  # type: ignore[arg-type]
            said = (states[torch.from_numpy(numbers >= 0)].cpu() - mean) @ reading  # type: ignore[index]
            loss = 0.5 * (said - targets[torch.from_numpy(numbers[numbers >= 0])]).square().sum()
            gradients = torch.autograd.grad(loss, list(parts.values()), allow_unused=True)
        for name, gradient in zip(parts, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
    return {name: value.double().cpu().numpy() / len(units) for name, value in total.items()}
