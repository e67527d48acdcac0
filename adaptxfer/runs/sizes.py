"""How many weights a set-up has and trains, counted on a model without storage, and the memory it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adaptxfer.encoder.load import check_config, locate
from adaptxfer.errors import AdaptxferError
from adaptxfer.modules.composition import fusions, leaves, target_tree, trained_parts
from adaptxfer.runs.quiet import quiet_libraries

SAVED = {"bottleneck": 13.1, "lora": 12.1, "full": 17.0, "fuse": 26.2}
"""Tensors of tokens x width kept per layer for the backward pass, counted on XLM-R Large (fuse: three modules)."""

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    f"{owner}-{size}": {"model_type": kind, "vocab_size": words, "num_hidden_layers": layers, "hidden_size": width,
                        "num_attention_heads": heads, "intermediate_size": 4 * width,
                        "max_position_embeddings": 514, "type_vocab_size": 1}
    for owner, size, kind, words, layers, width, heads in (
        ("FacebookAI/xlm-roberta", "base", "xlm-roberta", 250_002, 12, 768, 12),
        ("FacebookAI/xlm-roberta", "large", "xlm-roberta", 250_002, 24, 1024, 16),
        ("facebook/xlm-roberta", "xl", "xlm-roberta-xl", 250_880, 36, 2560, 32),
        ("facebook/xlm-roberta", "xxl", "xlm-roberta-xl", 250_880, 48, 4096, 32),
    )
}  # fmt: skip
"""Shapes of the XLM-R family, so that a plan for them can be costed without fetching anything."""


@dataclass(frozen=True)
class Sizes:
    """Weights of an encoder with its modules.

    Attributes:
        base: of the base model.
        body: of everything outside the embeddings, modules included: what a token passes through.
        total: in all.
        training: those that train, heads left out.
        layers, width: of the encoder.
    """

    base: int
    body: int
    total: int
    training: int
    layers: int
    width: int


def config_of(model: str, revision: str | None = None) -> dict[str, Any]:
    """The configuration of a base model, without its weights; the published shape of one that is not here.

    Raises:
        AdaptxferError: if it is neither here, nor to be had, nor known.
    """
    try:
        return check_config(locate(model, revision, weights=False)[0])
    except AdaptxferError:
        if model in PUBLISHED:
            return dict(PUBLISHED[model])
        raise


def count_sizes(
    config: Mapping[str, Any],
    method: str,
    how: str,
    intermediates: int = 0,
    own_module: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Sizes:
    """The sizes of an encoder of this configuration with fresh modules arranged as ``how`` says."""
    import torch
    from transformers import AutoConfig, AutoModel

    from adaptxfer.modules.model import make_method

    shape: Any = AutoConfig.for_model(**config)
    names = [f"intermediate_{number}" for number in range(intermediates)]
    tree = target_tree(how, "target", names, own_module)
    with torch.device("meta"), quiet_libraries():
        network = AutoModel.from_config(shape, add_pooling_layer=False)
        base, words = count(network), count(network.embeddings)
        made = make_method(method, network)
        for name in leaves(tree):
            made.add(name, dict(options or {}), 0)
        for fused in fusions(tree):
            made.add_fusion(fused, 0)
        made.activate(tree)
        trained = made.set_trainable(*trained_parts(how, tree, "target"))
    total, training = count(network), sum(weight.numel() for weight in trained.values())
    return Sizes(base, total - words, total, training, shape.num_hidden_layers, shape.hidden_size)


def count(network: Any) -> int:
    """Number of weights."""
    return sum(weight.numel() for weight in network.parameters())


def memory_gib(
    total: int, training: int, layers: int, width: int, kept: str, tokens: int, precision: str, held: str = "fp32"
) -> float:
    """A rough estimate of what training takes, in GiB.

    Weights in fp32 (frozen ones ``held`` in less: 2 bytes, which for quantised ones is an upper bound), three more
    copies of those that train (gradient and AdamW's two), and ``SAVED[kept]`` tensors a layer of ``tokens`` tokens (the
    largest forward pass) for the backward pass.
    """
    activations = tokens * layers * SAVED[kept] * width * (2 if precision == "bf16" else 4)
    frozen = (total - training) * (4 if held == "fp32" else 2)
    return round((frozen + training * 16 + activations) / 2**30, 2)
