"""AdamW with the groups and the schedule of the protocol."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adaptxfer.training.options import TrainingOptions


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: not to biases and norms (all are vectors), nor to fusion value matrices.

    Value matrices start as the identity and are regularised towards it; decay would pull them to zero.
    """
    return parameter.dim() > 1 and not (".adapter_fusion_layer." in name and name.endswith(".value.weight"))


def make_optimiser(parameters: Mapping[str, nn.Parameter], options: TrainingOptions) -> torch.optim.AdamW:
    """AdamW over two groups, decayed and not, each in name order."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name in sorted(parameters):
        groups[is_decayed(name, parameters[name])].append(parameters[name])
    return torch.optim.AdamW(
        [
            {"params": groups[True], "weight_decay": options.weight_decay},
            {"params": groups[False], "weight_decay": 0.0},
        ],
        lr=options.learning_rate,
        eps=options.epsilon,
        fused=torch.cuda.is_available(),
    )


def rate(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate for 0-based ``step``: linear warm-up, then linear decay to 0 at ``total``."""
    rising = int(total * warmup)
    if step < rising:
        return (step + 1) / rising
    return (total - step) / max(1, total - rising)
