"""Tiny networks with modules attached by the libraries themselves, for comparisons of the packed forward pass."""

from __future__ import annotations

import adapters
import peft
import torch
from adapters import AdapterConfig
from adapters.composition import Fuse, Stack
from adapters.configuration import AdapterFusionConfig
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel, XLMRobertaConfig, XLMRobertaModel

from tests.tiny import randomise

MODELS = {
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
    "roberta": (RobertaConfig, RobertaModel),
    "bert": (BertConfig, BertModel),
}


def plain(model: str = "xlm-roberta", dropout: float = 0.0, seed: int = 0, **changed):
    """A random encoder of three layers of width 32."""
    config, network = MODELS[model]
    options = {
        "vocab_size": 1000,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        "pad_token_id": 0 if model == "bert" else 1,
        "initializer_range": 0.2,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    torch.manual_seed(seed)
    made = network(config(**(options | changed)), add_pooling_layer=False)
    randomise({name: p for name, p in made.named_parameters() if "LayerNorm" in name or "bias" in name}, seed)
    return made


def bottlenecks(network, config: str | AdapterConfig, names: str, setup, **changed):
    """Attach bottlenecks with weights that do something, and run through ``setup``."""
    adapters.init(network)
    for name in names:
        network.add_adapter(name, AdapterConfig.load(config, **changed))
    if isinstance(setup, Stack | Fuse):
        for fused in [setup] if isinstance(setup, Fuse) else [child for child in setup if isinstance(child, Fuse)]:
            network.add_adapter_fusion(fused, AdapterFusionConfig.load("dynamic"))
    network.set_active_adapters(setup)
    return trained(network, lambda name: ".adapters." in name or ".adapter_fusion_layer." in name)


def lora(network, names: tuple[str, ...] = ("one",), **options):
    """Attach LoRAs of peft, all of them active."""
    config = peft.LoraConfig(**({"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"]} | options))
    wrapped = peft.PeftModel(network, config, adapter_name=names[0])
    for name in names[1:]:
        wrapped.add_adapter(name, config)
    wrapped.base_model.set_adapter(list(names))
    return trained(network, lambda name: ".lora_" in name)


def trained(network, wanted=lambda name: True):
    """Freeze all but the parameters whose name is wanted; these get random changes."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(wanted(name))
    chosen = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if len(chosen) < len(list(network.parameters())):
        randomise(chosen, 5)
    return chosen


ALL_LINEAR = ["query", "key", "value", "dense"]
SETUPS = {
    "frozen": lambda n: trained(n, lambda name: "LayerNorm" in name),
    "full": trained,
    "seq_bn": lambda n: bottlenecks(n, "seq_bn", "a", "a", reduction_factor=4),
    "seq_bn gelu, scaled": lambda n: bottlenecks(n, "seq_bn", "a", "a", non_linearity="gelu", scaling=2.5),
    "seq_bn in two layers": lambda n: bottlenecks(n, "seq_bn", "a", "a", leave_out=[0]),
    "double_seq_bn": lambda n: bottlenecks(n, "double_seq_bn", "a", "a", reduction_factor=4),
    "par_bn": lambda n: bottlenecks(n, "par_bn", "a", "a"),
    "stack": lambda n: bottlenecks(n, "seq_bn", "ab", Stack("a", "b"), reduction_factor=4),
    "stack of three": lambda n: bottlenecks(n, "seq_bn", "abc", Stack("c", "a", "b"), non_linearity="swish"),
    "fuse": lambda n: bottlenecks(n, "seq_bn", "abc", Fuse("a", "b", "c"), reduction_factor=4),
    "fuse gelu, scaled": lambda n: bottlenecks(n, "seq_bn", "ab", Fuse("b", "a"), non_linearity="gelu", scaling=2.0),
    "fuse below single": lambda n: bottlenecks(n, "seq_bn", "abc", Stack(Fuse("a", "b"), "c"), reduction_factor=4),
    "lora": lora,
    "lora on all": lambda n: lora(n, target_modules=ALL_LINEAR),
    "two loras": lambda n: lora(n, ("one", "two"), target_modules=ALL_LINEAR, use_rslora=True),
}
"""What is attached; each returns the weights that train."""


def tokens(lengths=(7, 4, 9, 4, 1, 7), seed: int = 0, padding: int | None = None):
    """Random packed ids and bounds; ``padding`` puts that id in the midst of the first sequence."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 1000, (sum(lengths),), generator=random)
    if padding is not None:
        ids[2] = padding
    return ids, torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])


def results(network, trained, encoder, ids, bounds):
    """Hidden states, and the gradients of a random linear function of them."""
    for parameter in network.parameters():
        parameter.grad = None
    hidden = encoder(network, ids, bounds)
    random = torch.Generator().manual_seed(9)
    weights = torch.randn(hidden.shape, generator=random, dtype=torch.float64).to(hidden)
    (hidden * weights).sum().backward()
    return hidden.detach(), {name: p.grad for name, p in trained.items()}


def distance(found, expected) -> float:
    """Norm of the difference over the norm."""
    return float((found - expected).norm() / expected.norm())


def furthest(found, expected) -> float:
    """The largest distance among gradients by name; those that are zero in theory count against the largest one."""
    assert set(found) == set(expected)
    assert {name for name in found if found[name] is None} == {name for name in expected if expected[name] is None}
    kept = [name for name in expected if expected[name] is not None]
    least = 1e-3 * max(float(expected[name].norm()) for name in kept)
    return max(float((found[name] - expected[name]).norm()) / max(float(expected[name].norm()), least) for name in kept)
