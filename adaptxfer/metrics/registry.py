"""Every metric a task file may name: its scorer, what that needs, and which of its numbers are the main ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from adaptxfer.errors import nearest, use_error


@dataclass(frozen=True)
class MetricEntry:
    """A metric by name.

    ``function`` is "module.function" within this folder, imported when first used; ``main`` holds the keys of its
    scores whose plain mean is the one number to compare (English SQuAD tasks: exact match and F1).
    """

    name: str
    about: str
    function: str
    main: tuple[str, ...]

    @property
    def scorer(self) -> Callable[..., dict[str, float]]:
        """The pure function; it takes keyword arguments and returns scores in points, with ``n``."""
        module, function = self.function.split(".")
        return getattr(import_module(f"adaptxfer.metrics.{module}"), function)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arguments that must be given."""
        parameters = inspect.signature(self.scorer).parameters.values()
        return tuple(p.name for p in parameters if p.default is p.empty)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the arguments that may be given."""
        parameters = inspect.signature(self.scorer).parameters.values()
        return tuple(p.name for p in parameters if p.default is not p.empty)

    def score(self, **inputs: Any) -> dict[str, float]:
        """Score named inputs.

        Raises:
            AdaptxferError: if an input is missing or unknown, or the scorer refuses the data.
        """
        missing = [name for name in self.inputs if name not in inputs]
        unknown = [name for name in inputs if name not in self.inputs + self.options]
        if missing or unknown:
            fault = f"lacks {', '.join(missing)}" if missing else f"has no input {', '.join(unknown)}"
            raise use_error(f"Metric {self.name!r} {fault}.", f"It takes {', '.join(self.inputs + self.options)}.")
        return self.scorer(**inputs)

    def main_score(self, scores: Mapping[str, float]) -> float:
        """The one number to compare, in points: the plain mean of the ``main`` keys of ``scores``."""
        return sum(scores[key] for key in self.main) / len(self.main)


METRICS: dict[str, MetricEntry] = {
    entry.name: entry
    for entry in (
        MetricEntry("accuracy", "share of right labels", "classification.accuracy_scores", ("accuracy",)),
        MetricEntry("acc_f1", "mean of accuracy and F1 of one label", "classification.acc_f1_scores", ("acc_f1",)),
        MetricEntry("squad", "exact match and F1 of SQuAD v1.1", "squad.squad_scores", ("exact", "f1")),
        MetricEntry("squad_v2", "SQuAD v2.0, answers may be empty", "squad.squad2_scores", ("exact", "f1")),
        MetricEntry("mlqa", "exact match and F1 by language", "mlqa.mlqa_scores", ("exact", "f1")),
        MetricEntry("pos", "token accuracy and XTREME's chunk F1", "tagging.pos_scores", ("accuracy",)),
        MetricEntry("entity_f1", "micro F1 over IOB2 entities", "tagging.entity_f1", ("f1",)),
        MetricEntry("retrieval_accuracy", "top-1 by cosine", "retrieval.retrieval_scores", ("accuracy",)),
        MetricEntry("bucc", "F1 of mined pairs at a tuned threshold", "bucc.bucc_scores", ("f1",)),
        MetricEntry("map20", "mean average precision at 20", "ranking.map_scores", ("map",)),
    )
}


def find_metric(name: str) -> MetricEntry:
    """The metric of that name.

    Raises:
        AdaptxferError: if there is none; the sentence offers the nearest name.
    """
    if name not in METRICS:
        raise use_error(f"There is no metric {name!r}.", nearest(name, METRICS))
    return METRICS[name]
