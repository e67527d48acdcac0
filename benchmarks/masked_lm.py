"""A training step of masked-language modelling with one bottleneck, as the library runs it and as we do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import adapters
import torch
from torch import Tensor

from adaptxfer.encoder.packed import packed_encode
from adaptxfer.modules.dual import masked_head
from benchmarks.lengths import padded

IGNORED = -100


def prepared(model: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """A masked-language model of transformers with a seq_bn adapter that trains; everything else is frozen."""
    adapters.init(model)
    model.add_adapter("language", config="seq_bn")
    model.train_adapter("language")
    for name, parameter in model.named_parameters():  # the library leaves the head of masked words to train
        parameter.requires_grad_(".adapters." in name)
    return model.to(device, dtype).train()


def variants(model: Any, ids: Tensor, bounds: Tensor, share: float = 0.15) -> dict[str, Callable[[], object]]:
    """Forward and backward of the mean loss over the labelled tokens; both give the same gradients.

    Args:
        model: see `prepared`.
        ids: (T,) tokens of all sequences.
        bounds: (S+1,) where they start.
        share: of the tokens that are labelled.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    labels = torch.where(torch.rand(len(ids), device=ids.device) < share, ids, IGNORED)
    labels[0] = ids[0]  # at least one
    rows, attention = padded(ids, bounds, model.config.pad_token_id)
    wanted, _ = padded(labels, bounds, IGNORED)
    head = masked_head(model.roberta, _head_weights(model)).to(ids.device, model.dtype).requires_grad_(False)
    count = int((labels != IGNORED).sum())

    def library() -> object:
        return torch.autograd.grad(model(rows, attention_mask=attention, labels=wanted).loss, trained)

    def ours() -> object:
        hidden = packed_encode(model.roberta, ids, bounds)
        return torch.autograd.grad(head.train_loss(hidden, bounds, {"label": labels}) / count, trained)

    return {"library, all tokens": library, "packed, labelled tokens": ours}


def _head_weights(model: Any) -> dict[str, Tensor]:
    weights = model.lm_head.state_dict()
    return {key: weights[key].float() for key in weights if not key.startswith("decoder")}
