"""Operations of the padding-free encoder: one plain function each, usable on their own.

`accelerate` puts them to use in the models of other libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from adaptxfer.encoder.accelerate import Accelerated


def accelerate(model: nn.Module, kernels: str | None = None) -> Accelerated:
    """Speed up a model of transformers, `adapters` or `peft` in place; see `adaptxfer.encoder.accelerate.accelerate`.

    Args:
        model: an XLM-R, RoBERTa or BERT encoder, or anything that holds one.
        kernels: ``auto``, ``triton`` or ``torch``; None for the environment's.

    Returns:
        A handle whose ``restore`` undoes it, also as a context manager.

    Raises:
        AdaptxferError: for an unknown mode.
    """
    from adaptxfer.encoder.accelerate import accelerate as run

    return run(model, kernels)
