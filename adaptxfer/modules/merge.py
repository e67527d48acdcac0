"""Merging modules into one: the uniform average."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptxfer.errors import use_error

Weights = dict[str, Tensor]


def average(modules: Sequence[Weights], method: str, scales: Sequence[float] = ()) -> Weights:
    """The uniform average of modules with the same names and shapes.

    Bottlenecks and full encoders are averaged weight by weight. For LoRA that would average A and B apart, which is not
    the average of the updates; there the mean of ``scale * B A`` is taken and factored again at the same rank by a
    singular value decomposition, the closest update of that rank.

    Args:
        modules: the weights of each module under the same keys.
        method: bottleneck, lora or full.
        scales: for LoRA, alpha / r of each module; the result has the first one's.

    Raises:
        AdaptxferError: if the modules do not have the same weights.
    """
    first = modules[0]
    for other in modules[1:]:
        if {k: v.shape for k, v in other.items()} != {k: v.shape for k, v in first.items()}:
            raise use_error(
                "These modules cannot be merged: they differ in size or in the layers they adapt.",
                "Train them with the same options (variant, reduction, r, target modules).",
            )
    if method == "lora":
        return _average_updates(modules, scales)
    return {key: torch.stack([module[key].float() for module in modules]).mean(0) for key in first}


def _average_updates(modules: Sequence[Weights], scales: Sequence[float]) -> Weights:
    merged: Weights = {}
    for key_a in (key for key in modules[0] if ".lora_A." in key):
        key_b = key_a.replace(".lora_A.", ".lora_B.")
        updates = [s * (m[key_b].double() @ m[key_a].double()) for m, s in zip(modules, scales, strict=True)]
        u, sigma, v = torch.linalg.svd(torch.stack(updates).mean(0) / scales[0], full_matrices=False)
        rank = len(modules[0][key_a])
        root = sigma[:rank].sqrt()
        merged[key_a] = (root[:, None] * v[:rank]).float()
        merged[key_b] = (u[:, :rank] * root).float()
    return merged
