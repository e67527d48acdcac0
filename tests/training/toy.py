"""Toy training data of every kind, and short runs over the tiny encoder."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from adaptxfer.data.features import IGNORED, Features, make_features
from adaptxfer.modules.heads import HeadSpec
from adaptxfer.training import Steps, TaskData, TrainingOptions
from adaptxfer.training.steps import MaskedData, single_task
from tests.tiny import arrange, hash_of

OPTIONS = TrainingOptions(learning_rate=5e-3, max_steps=10, batch_size=4, evaluations=5, batch_tokens=64)
"""Ten steps, scored and saved after every second one."""


def toy(kind: str = "classify", units: int = 24, seed: int = 0) -> Features:
    """Random sequences of 5 to 14 tokens; the label of a classify example is whether its second token is below 500."""
    random = np.random.default_rng(seed)
    per = {"choose": 3, "retrieve": 2}.get(kind, 1)
    lengths = random.integers(5, 15, units * per)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    ids = random.integers(4, 1000, bounds[-1]).astype(np.int32)
    ids[bounds[:-1]], ids[bounds[1:] - 1] = 0, 2
    targets = {
        "classify": {"label": (ids[bounds[:-1] + 1] < 500).astype(np.int64)},
        "choose": {"label": random.integers(0, 3, units)},
        "tag": {"label": np.where(random.random(bounds[-1]) < 0.6, random.integers(0, 2, bounds[-1]), IGNORED)},
        "span": {"start": random.integers(0, 5, units), "end": random.integers(0, 5, units)},
        "retrieve": {"side": np.arange(units * per) % 2},
        "mlm": {},
    }[kind]
    if kind == "tag":
        targets["word"] = np.zeros(bounds[-1], np.int64)
    if kind == "span":
        zeros = np.zeros(units, np.int64)
        targets |= {"context_start": zeros, "context_end": zeros, "offset": np.zeros((bounds[-1], 2), np.int64)}
    borders = np.arange(units + 1) * per
    return make_features(kind, ids, bounds, np.repeat(np.arange(units), per), units, targets, {}, borders)


def spec(kind: str = "classify", dropout: float = 0.1) -> HeadSpec:
    """The head that goes with `toy`."""
    return HeadSpec(kind, 32, ("no", "yes") if kind in ("classify", "tag") else (), dropout)


def toy_steps(options: TrainingOptions = OPTIONS, kind: str = "classify") -> Steps:
    """The schedule of one toy task called ``goal``."""
    return single_task(toy_data("goal", kind, options), options)


def toy_data(task: str, kind: str, options: TrainingOptions = OPTIONS) -> TaskData:
    """Toy training data; for masked words with a stand-in for a tokenizer."""
    own = {"language": "xx", "tokenizer": Words()} if kind == "mlm" else {}
    return (MaskedData if own else TaskData)(task, toy(kind), options.batch_size, options.seed, **own)


class Words:
    """What masking asks of a tokenizer."""

    all_special_ids: ClassVar = [0, 1, 2, 3]
    mask_token_id = 3

    def __len__(self) -> int:
        return 1000


class Scores:
    """A dev score that follows a list, and remembers the trained weights it saw."""

    def __init__(self, values: list[float], trained: Any) -> None:
        self.values, self.trained, self.seen = list(values), trained, []

    def __call__(self, model: Any) -> float:
        """The next value of the list."""
        assert not model.training
        self.seen.append(hash_of(self.trained))
        return self.values[len(self.seen) - 1]


def toy_model(encoder: Any, method: str = "bottleneck", how: str = "none", own: bool = False) -> tuple[Any, Any]:
    """A fresh model and the weights that train."""
    model, _, trained = arrange(encoder, method, how, own, spec=spec())
    return model, trained
