"""What is read off a network, and what is refused with a reason."""

from __future__ import annotations

import adapters
import peft
import pytest
import torch
from adapters import AdapterConfig
from adapters.composition import BatchSplit, Fuse, Parallel, Stack
from adapters.configuration import AdapterFusionConfig
from torch import nn
from transformers import XLMRobertaForSequenceClassification, XLMRobertaXLConfig, XLMRobertaXLModel

from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.program import Program
from tests.encoder.setups import ALL_LINEAR, SETUPS, bottlenecks, lora, plain


@pytest.mark.parametrize("setup", SETUPS)
def test_every_setup_has_a_program(setup):
    network = plain()
    SETUPS[setup](network)
    program = lower(network)
    assert isinstance(program, Program) and len(program.layers) == 3


def test_weights_are_the_parameters_themselves():
    network = plain()
    bottlenecks(network, "double_seq_bn", "a", "a")
    program = lower(network)
    layer, output = program.layers[1], network.encoder.layer[1].output
    assert layer.query.weight is network.encoder.layer[1].attention.self.query.weight
    assert layer.after_feed_forward.adapters[0].down is output.adapters["a"].adapter_down[0].weight
    assert layer.after_attention.reads == layer.after_feed_forward.reads == "sublayer"
    assert layer.after_feed_forward.adapters[0].act == "swish"


def test_active_modules_are_read_at_every_call():
    network = plain()
    bottlenecks(network, "seq_bn", "abc", Stack("a", "b"))
    count = lambda: len(lower(network).layers[0].after_feed_forward.adapters)  # noqa: E731
    assert count() == 2
    network.set_active_adapters("c")
    assert count() == 1
    network.set_active_adapters(None)
    assert count() == 0
    with adapters.AdapterSetup(Stack("a", "b", "c")):
        assert count() == 3


def test_dropout_is_read_from_what_trains():
    network = plain(dropout=0.25)
    bottlenecks(network, "seq_bn", "a", "a", dropout=0.5)
    layer = lower(network.train()).layers[0]
    assert layer.attention_dropout == layer.after_feed_forward.dropout == 0.25
    assert layer.after_feed_forward.adapters[0].dropout == 0.5
    layer = lower(network.eval()).layers[0]
    assert layer.attention_dropout == layer.after_feed_forward.dropout == 0.0
    assert layer.after_feed_forward.adapters[0].dropout == 0.0


def test_loras_of_peft():
    network = plain()
    lora(network, ("one", "two"), target_modules=["query"], lora_alpha=12)
    query = network.encoder.layer[0].attention.self.query
    found = lower(network).layers[0]
    assert [update.scale for update in found.query.updates] == [3.0, 3.0]
    assert found.query.updates[1].a is query.lora_A["two"].weight
    assert found.query.weight is query.base_layer.weight and found.key.updates == ()


def test_wrapped_networks():
    network = plain()
    wrapped = peft.PeftModel(network, peft.LoraConfig(target_modules=ALL_LINEAR, r=2), adapter_name="one")
    assert lower(wrapped).layers[0].widen.updates == lower(network).layers[0].widen.updates != ()
    with wrapped.disable_adapter():
        assert lower(network).layers[0].widen.updates == ()
    wrapped.merge_adapter()
    assert lower(network).layers[0].widen.updates == ()
    with wrapped.disable_adapter():
        assert lower(network) == "a merged LoRA is disabled"
    headed = XLMRobertaForSequenceClassification(plain().config)
    assert isinstance(lower(headed), Program)


def xl():
    options = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return XLMRobertaXLModel(XLMRobertaXLConfig(**options, intermediate_size=16))


def attached(config, setup="a", names="a", **changed):
    network = plain()
    adapters.init(network)
    for name in names:
        network.add_adapter(name, AdapterConfig.load(config, **changed))
    network.set_active_adapters(setup)
    return network


def fused(config="seq_bn", layer="dynamic", last=None, **changed):
    network = plain()
    adapters.init(network)
    network.add_adapter("a", AdapterConfig.load(config))
    network.add_adapter("b", AdapterConfig.load(last or config))
    network.add_adapter_fusion(Fuse("a", "b"), AdapterFusionConfig.load(layer, **changed))
    network.set_active_adapters(Fuse("a", "b"))
    return network


def with_lora(**options):
    network = plain()
    lora(network, **options)
    return network


def replaced(path, module):
    network = plain()
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
    return network


def checkpointed():
    network = plain().train()
    network.gradient_checkpointing_enable()
    return network


def without_fusion():
    network = attached("seq_bn", "a", "ab")
    network.set_active_adapters(Fuse("a", "b"))
    return network


def prompted():
    config = peft.PromptTuningConfig(num_virtual_tokens=2, task_type="FEATURE_EXTRACTION")
    return peft.PeftModelForFeatureExtraction(plain(), config)


def headless():
    network = plain()
    del network.encoder.layer[1].attention.output
    return network


REFUSED = {
    "another layer structure": xl,
    "not an encoder": lambda: nn.Linear(2, 2),
    "decoder": lambda: plain(is_decoder=True),
    "relative positions": lambda: plain("bert", position_embedding_type="relative_key"),
    "checkpointing": checkpointed,
    "approximate gelu": lambda: plain(hidden_act="gelu_new"),
    "gelu written out": lambda: plain(hidden_act="gelu_python"),
    "other norm": lambda: replaced("encoder.layer.1.output.LayerNorm", nn.RMSNorm(32)),
    "other linear": lambda: replaced("encoder.layer.1.intermediate.dense", nn.Bilinear(32, 32, 64)),
    "other embedding": lambda: replaced("embeddings.word_embeddings", nn.EmbeddingBag(1000, 32)),
    "gated": lambda: attached("seq_bn", use_gating=True),
    "own norm": lambda: attached("seq_bn", ln_after=True),
    "norm before": lambda: attached("seq_bn", ln_before=True),
    "compacter": lambda: attached("compacter", phm_dim=2, reduction_factor=4),
    "learned scale": lambda: attached("seq_bn", scaling="learned"),
    "other residual": lambda: attached("seq_bn", residual_before_ln=False),
    "no norm after": lambda: attached("seq_bn", original_ln_after=False),
    "other activation": lambda: attached("seq_bn", non_linearity="tanh"),
    "parallel": lambda: attached("seq_bn", Parallel("a", "b"), "ab"),
    "batch split": lambda: attached("seq_bn", BatchSplit("a", "b", batch_sizes=[1, 1]), "ab"),
    "stack of houlsby": lambda: attached("double_seq_bn", Stack("a", "b"), "ab"),
    "stack of parallel": lambda: attached("par_bn", Stack("a", "b"), "ab"),
    "invertible": lambda: attached("seq_bn_inv"),
    "prefixes": lambda: attached("prefix_tuning"),
    "prompts": lambda: attached("prompt_tuning"),
    "reft": lambda: attached("loreft"),
    "lora of adapters": lambda: attached("lora"),
    "ia3": lambda: attached("ia3"),
    "fused houlsby": lambda: fused("double_seq_bn"),
    "fused, different widths": lambda: fused(last=AdapterConfig.load("seq_bn", reduction_factor=4)),
    "static fusion": lambda: fused(layer="static"),
    "fusion with temperature": lambda: fused(temperature=True),
    "fusion with query before": lambda: fused(query_before_ln=True),
    "no fusion layer": without_fusion,
    "prompts of peft": prompted,
    "a part is missing": headless,
    "dora": lambda: with_lora(use_dora=True),
    "lora bias": lambda: with_lora(lora_bias=True),
    "lora on embeddings": lambda: with_lora(target_modules=["word_embeddings"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_reason(case):
    reason = lower(REFUSED[case]())
    assert isinstance(reason, str) and len(reason) > 10


@torch.no_grad()
def test_lora_of_adapters_that_is_not_active_is_no_matter():
    network = attached("lora")
    network.set_active_adapters(None)
    assert isinstance(lower(network), Program)
