"""Sentence retrieval: pooled hidden states of one layer, nearest neighbours by cosine (XTREME's protocol)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptxfer.data.batches import evaluation_batches, pack
from adaptxfer.data.features import Features
from adaptxfer.encoder import mean_pool
from adaptxfer.encoder.packed import encode_auto
from adaptxfer.errors import data_error, use_error
from adaptxfer.evaluation.score import Record
from adaptxfer.metrics.retrieval import nearest
from adaptxfer.modules.model import AdaptedModel
from adaptxfer.tasks.examples import RetrieveExample
from adaptxfer.tasks.spec import TaskSpec


def choose_layer(spec: TaskSpec, layers: int, asked: int | None, hint: int | None) -> int:
    """The hidden state to embed with: what was asked, else the model's hint, else the task's table by model depth.

    Raises:
        AdaptxferError: if there is no such layer, or no default for this depth.
    """
    default = spec.retrieve.layer.get(str(layers)) if hint is None else hint
    layer = default if asked is None else asked
    if layer is None:
        raise use_error(
            f"{spec.name} has no default layer for an encoder of {layers} layers.",
            f"Give --layer 0..{layers}, or --layer all to compare them.",
        )
    if not 0 <= layer <= layers:
        raise use_error(f"--layer {layer} does not exist.", f"This encoder has 0 (embeddings) to {layers}.")
    return layer


@torch.inference_mode()
def embed(model: AdaptedModel, features: Features, layers: Sequence[int], batch_tokens: int) -> dict[int, Tensor]:
    """Mean-pooled vectors (S, width) of each sequence at each of ``layers``, in the order of the features."""
    model.eval()
    device = next(model.parameters()).device
    width: int = model.network.config.hidden_size  # type: ignore[union-attr, assignment]
    found = {layer: torch.zeros(len(features.example), width) for layer in layers}
    for units in evaluation_batches(features, batch_tokens):
        batch = pack(features, units).to(device)
        states = encode_auto(model.network, batch.ids, batch.bounds, layers)
        for layer, hidden in zip(layers, states, strict=True):
            found[layer][torch.from_numpy(batch.sequences).long()] = mean_pool(hidden.float(), batch.bounds).cpu()
    return found


@torch.inference_mode()
def embed_with_head(model: AdaptedModel, task: str, features: Features, batch_tokens: int) -> Tensor:
    """Vectors (S, width) of a trained dual encoder, in the order of the features."""
    model.eval()
    device = next(model.parameters()).device
    found = torch.zeros(len(features.example), model.head(task).spec.width)
    for units in evaluation_batches(features, batch_tokens):
        batch = pack(features, units).to(device)
        found[torch.from_numpy(batch.sequences).long()] = model(task, batch.ids, batch.bounds).float().cpu()
    return found


def retrieve(examples: Sequence[RetrieveExample], vectors: Tensor) -> list[Record]:
    """For each query its nearest candidate, and whether the candidate finds the query back.

    Args:
        examples: queries and candidates in any order, one right candidate per query.
        vectors: (S, width), one per example.

    Raises:
        AdaptxferError: if a query has no right candidate here.
    """
    queries = [i for i, e in enumerate(examples) if e.side == "query"]
    candidates = [i for i, e in enumerate(examples) if e.side == "candidate"]
    place = {examples[i].id: row for row, i in enumerate(candidates)}
    try:
        gold = [place[examples[i].gold[0]] for i in queries]
    except (KeyError, IndexError) as error:
        raise data_error(f"A query has no right candidate among the sentences ({error}).") from error
    forth = nearest(vectors[queries], vectors[candidates], 1)[1][:, 0].tolist()
    back = nearest(vectors[[candidates[row] for row in gold]], vectors[queries], 1)[1][:, 0].tolist()
    return [
        {
            "id": examples[i].id,
            "gold": examples[candidates[gold[row]]].id,
            "predicted": examples[candidates[forth[row]]].id,
            "correct": forth[row] == gold[row],
            "correct_reverse": back[row] == row,
            **({"domain": examples[i].domain} if examples[i].domain else {}),
        }
        for row, i in enumerate(queries)
    ]
