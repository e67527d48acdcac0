"""The same scorers as ``evaluate`` metrics, built in place: ``evaluate.load`` needs the network, these do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptxfer.metrics.registry import MetricEntry, find_metric

if TYPE_CHECKING:
    import evaluate

Columns = dict[str, Any]
Convert = Callable[[list[Any], list[Any]], Columns]


@dataclass(frozen=True)
class _Shape:
    """Features of one prediction and one reference, and how lists of them become the inputs of the scorer."""

    prediction: Any
    reference: Any
    convert: Convert
    usage: str


def get_metric(name: str, **options: Any) -> evaluate.Metric:
    """A metric of the registry with the interface of ``evaluate``; scores are in points, as everywhere here.

    What predictions and references look like is in ``metric.inputs_description``. ``options`` go to
    ``evaluate.Metric`` (``keep_in_memory=True``, ``cache_dir=...``). What else the scorer takes is given to
    ``compute`` (``positive="duplicate"``, ``language="de"``, ``threshold=1.04``).

    Raises:
        AdaptxferError: if there is no such metric.
    """
    import evaluate
    from datasets import Features

    entry = find_metric(name)
    shape = _SHAPES[entry.name]

    class Metric(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            features = [
                Features(predictions=_feature(shape.prediction, label), references=_feature(shape.reference, label))
                for label in ("string", "int64")
            ]
            return evaluate.MetricInfo(
                description=entry.about, citation="", inputs_description=_usage(entry, shape), features=features
            )

        def _compute(self, *, predictions: Any = None, references: Any = None, **extra: Any) -> dict[str, float]:
            return entry.score(**shape.convert(predictions, references), **extra)

    Metric.__name__ = Metric.__qualname__ = f"Adaptxfer{name.title().replace('_', '')}"
    return Metric(**options)


def _usage(entry: MetricEntry, shape: _Shape) -> str:
    given = shape.convert([], [])
    further = [key for key in entry.inputs + entry.options if key not in given]
    return f"\nPredictions and references: {shape.usage}. compute() also takes: {', '.join(further) or 'nothing'}.\n"


def _feature(shape: Any, label: str) -> Any:
    """``datasets`` features from a sketch: a type name ("label" stands for ``label``), a one-item list, or a dict."""
    from datasets import List, Value

    if isinstance(shape, str):
        return Value(label if shape == "label" else shape)
    if isinstance(shape, list):
        return List(_feature(shape[0], label))
    return {key: _feature(part, label) for key, part in shape.items()}


def _aligned(predictions: list[Any], references: list[Any]) -> Columns:
    return {"gold": references, "predicted": predictions}


def _answers(predictions: list[Any], references: list[Any]) -> Columns:
    return {
        "predictions": {row["id"]: row["prediction_text"] for row in predictions},
        "references": {row["id"]: list(row["answers"]["text"]) for row in references},
    }


def _answers_or_none(predictions: list[Any], references: list[Any]) -> Columns:
    return _answers(predictions, references) | {"null_scores": {row["id"]: row["null_score"] for row in predictions}}


def _vectors(predictions: list[Any], references: list[Any]) -> Columns:
    import torch

    return {"queries": torch.tensor(predictions), "candidates": torch.tensor(references)}


def _pairs(predictions: list[Any], references: list[Any]) -> Columns:
    from adaptxfer.metrics.mining import Pair

    return {
        "pairs": [Pair(**pair) for pairs in predictions for pair in pairs],
        "gold": [(pair["source"], pair["target"]) for pairs in references for pair in pairs],
    }


def _ranked(predictions: list[Any], references: list[Any]) -> Columns:
    return {"ranked": predictions, "gold": references}


_GOLD_ANSWERS = {"id": "string", "answers": {"text": ["string"], "answer_start": ["int64"]}}
_ANSWER = {"id": "string", "prediction_text": "string"}
_LABELS = _Shape("label", "label", _aligned, "one label per item, names or numbers")
_TAGS = _Shape(["string"], ["string"], _aligned, "the tags of one sentence per item")
_SPANS = _Shape(_ANSWER, _GOLD_ANSWERS, _answers, "rows as in evaluate's squad")
_SHAPES = {
    "accuracy": _LABELS,
    "acc_f1": _LABELS,
    "squad": _SPANS,
    "squad_v2": _Shape(
        _ANSWER | {"null_score": "float64"},
        _GOLD_ANSWERS,
        _answers_or_none,
        "rows as in evaluate's squad, with null_score (score of no answer minus score of the best span)",
    ),
    "mlqa": _SPANS,
    "pos": _TAGS,
    "entity_f1": _TAGS,
    "retrieval_accuracy": _Shape(
        ["float32"], ["float32"], _vectors, "one vector per sentence, references in the order of predictions"
    ),
    "bucc": _Shape(
        [{"source": "string", "target": "string", "score": "float64"}],
        [{"source": "string", "target": "string"}],
        _pairs,
        "one list of mined pairs and one list of gold pairs per part of the corpus",
    ),
    "map20": _Shape(["string"], ["string"], _ranked, "ranked candidate ids and right candidate ids of one query"),
}
