"""What the processes of `test_distributed.py` run: ``shares.py FOLDER OUT CASE...`` trains each case and saves it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptxfer import ranks
from adaptxfer.encoder import load_encoder
from adaptxfer.modules.weights import save_tensors
from adaptxfer.training import train
from tests.tiny import arrange
from tests.training.toy import OPTIONS, Scores, spec, toy_steps

CASES = {
    "bottleneck": ("bottleneck", "none", "classify"),
    "fuse": ("bottleneck", "fuse", "span"),
    "lora": ("lora", "stack", "tag"),
    "full": ("full", "none", "choose"),
}
FIFTY = replace(OPTIONS, max_steps=50, learning_rate=1e-3, batch_size=5, evaluations=1, batch_tokens=30)
"""24 units in batches of 5: the last one of an epoch has 4."""


def train_case(encoder: Any, case: str, folder: Path, options: Any = FIFTY) -> tuple[Any, dict[str, Any]]:
    """A run without dropout; its result and the weights it trained."""
    method, how, kind = CASES[case]
    model, _, trained = arrange(encoder, method, how, spec=spec(kind, dropout=0.0))
    result = train(model, trained, toy_steps(options, kind), options, folder, Scores([1.0], trained))
    return result, trained


def main(folder: str, out: str, *cases: str) -> None:
    """Train and save; every process saves what it has."""
    encoder = load_encoder(folder)
    with ranks.together():
        for case in cases:
            _, trained = train_case(encoder, case, Path(out) / case)
            save_tensors(Path(out) / f"{case}-{ranks.rank()}.safetensors", trained)


if __name__ == "__main__":
    main(*sys.argv[1:])
