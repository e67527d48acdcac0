"""What the processes of `test_distributed.py` run: ``shares.py OUT FOLDER...`` trains every case and saves it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adaptxfer import ranks
from adaptxfer.encoder import load_encoder
from adaptxfer.evaluation.predict import head_scores
from adaptxfer.modules.weights import save_tensors
from adaptxfer.training import train
from tests.tiny import arrange
from tests.training.toy import OPTIONS, spec, toy, toy_steps

CASES = {
    "bottleneck": ("bottleneck", "none", "classify"),
    "fuse": ("bottleneck", "fuse", "span"),
    "lora": ("lora", "stack", "tag"),
    "full": ("full", "none", "choose"),
}
FIFTY = replace(OPTIONS, max_steps=50, learning_rate=1e-3, batch_size=5, evaluations=2, batch_tokens=30)
"""24 units in batches of 5: the last one of an epoch has 4."""
SHARDED = replace(FIFTY, sharded=True, recompute=True)


class Dev:
    """A dev score that runs the model, as a real one does, and rises with every call."""

    def __init__(self, kind: str) -> None:
        self.features, self.calls = toy(kind, seed=1), 0.0

    def __call__(self, model: Any) -> float:
        """The number of the call."""
        assert np.isfinite(head_scores(model, "goal", self.features, 60)).all()
        self.calls += 1
        return self.calls


def train_case(folder: Path, case: str, out: Path, options: Any = FIFTY) -> tuple[Any, dict[str, Any]]:
    """A run without dropout; its result and the weights it trained."""
    method, how, kind = CASES[case]
    model, _, trained = arrange(load_encoder(str(folder)), method, how, spec=spec(kind, dropout=0.0))
    result = train(model, trained, toy_steps(options, kind), options, out, Dev(kind))
    return result, trained


def main(out: Path, *folders: Path) -> None:
    """Train every case on the first encoder, and full fine-tuning with spread weights on all of them."""
    with ranks.together():
        for case in CASES:
            _, trained = train_case(folders[0], case, out / case)
            save_tensors(out / f"{case}-{ranks.rank()}.safetensors", trained)
        for folder in folders:
            train_case(folder, "full", out / f"sharded-{folder.name}", SHARDED)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
