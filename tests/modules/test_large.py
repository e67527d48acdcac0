"""XLM-R XL and XXL: LayerNorms before the sub-layers, no support of their own in `adapters`, and sizes."""

from __future__ import annotations

import copy
import json

import adapters
import peft
import pytest
import torch
import transformers
from adapters import AdapterModelInterface

from adaptxfer.encoder import encode, load_encoder
from adaptxfer.modules.bottleneck import VARIANTS, Bottleneck
from adaptxfer.modules.bundle import Bundle, load_bundle, read_bundle, save_bundle
from adaptxfer.modules.composition import Leaf, fuse
from adaptxfer.modules.heads import HeadSpec
from adaptxfer.modules.lora import Lora
from tests.tiny import WAYS, arrange, fresh, hash_of, packed, randomise, save_tiny

KINDS = ("classify", "choose", "tag", "span", "retrieve")


@pytest.fixture(scope="module")
def tiny_xl(tmp_path_factory, mini_dir):
    return load_encoder(str(save_tiny(tmp_path_factory.mktemp("xl") / "xl", mini_dir, kind="XLMRobertaXL")))


@torch.no_grad()
def hidden(network):
    return encode(network.eval(), *packed())


@pytest.mark.parametrize(("method", "how", "own"), WAYS)
def test_every_way_gives_gradients_to_what_trains_alone(tiny_xl, method, how, own):
    model, _, trained = arrange(tiny_xl, method, how, own)
    ids, bounds = packed()
    model.train()("goal", ids, bounds, {"label": torch.tensor([0, 1, 1])}).backward()
    got = {name for name, value in model.named_parameters() if value.grad is not None}
    assert got == set(trained)
    assert not [name for name in trained if not bool(torch.isfinite(trained[name].grad).all())]


@pytest.mark.parametrize("kind", KINDS)
def test_every_head_works_on_it(tiny_xl, kind):
    labels = ("no", "yes") if kind in ("classify", "tag") else ()
    model, _, _ = arrange(tiny_xl, "bottleneck", "stack", spec=HeadSpec(kind, 32, labels))
    ids, bounds = packed()
    rows = {"tag": len(ids), "span": len(ids)}.get(kind, len(bounds) - 1)
    assert model.eval()("goal", ids, bounds).shape[0] == rows


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bottleneck_loads_in_adapters_with_the_interface_beside_it(tiny_xl, tmp_path, variant):
    made = Bottleneck(fresh(tiny_xl).network)
    made.add("m", {"variant": variant, "reduction": 4}, 1)
    randomise(made.parameters("m"), 1)
    made.activate(Leaf("m"))
    assert float((hidden(made.network) - hidden(tiny_xl.network)).abs().max()) > 1e-2
    made.save("m", tmp_path)
    other = fresh(tiny_xl).network
    interface = json.loads((tmp_path / "adapter_interface.json").read_text())["interface"]
    adapters.init(other, interface=AdapterModelInterface(**interface))
    other.load_adapter(str(tmp_path), use_safetensors=True, set_active=True)
    assert torch.equal(hidden(other), hidden(made.network))
    again = Bottleneck(fresh(tiny_xl).network)
    again.load("renamed", tmp_path)
    again.activate(Leaf("renamed"))
    assert torch.equal(hidden(again.network), hidden(made.network))


def test_a_lora_loads_in_peft(tiny_xl, tmp_path):
    made = Lora(fresh(tiny_xl).network)
    made.add("m", {}, 1)
    randomise(made.parameters("m"), 1)
    made.activate(Leaf("m"))
    made.save("m", tmp_path)
    other = peft.PeftModel.from_pretrained(fresh(tiny_xl).network, tmp_path)
    torch.testing.assert_close(hidden(other.base_model.model), hidden(made.network), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("method", "how", "own"), [("bottleneck", "fuse", True), ("lora", "stack", False)])
def test_bundles_come_back_whole(tiny_xl, tmp_path, method, how, own):
    model, tree, trained = arrange(tiny_xl, method, how, own)
    randomise(trained, 3)
    save_bundle(model, Bundle(tmp_path, tiny_xl.base, method, tree, "goal", {"goal": model.head("goal").spec}))
    again = load_bundle(read_bundle(tmp_path), fresh(tiny_xl))
    assert torch.equal(hidden(again.network), hidden(model.network))


def test_a_full_encoder_loads_in_transformers(tiny_xl, tmp_path):
    model, _, trained = arrange(tiny_xl, "full", "none")
    randomise(trained, 1)
    model.method.save("goal", tmp_path)
    other = transformers.AutoModel.from_pretrained(tmp_path, add_pooling_layer=False)
    assert hash_of(dict(other.named_parameters())) == hash_of(dict(model.network.named_parameters()))


PUBLISHED = {
    "base": ({"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}, 278),
    "large": (
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
        560,
    ),
    "XL": (
        {"hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 10240},
        3_480,
    ),
    "XXL": (
        {"hidden_size": 4096, "num_hidden_layers": 48, "num_attention_heads": 32, "intermediate_size": 16384},
        10_710,
    ),
}
"""The four sizes, and their weights in millions."""
BOTTLENECK = {"base": 0.9, "large": 3.17, "XL": 29.6, "XXL": 101}
"""Weights of one seq_bn, in millions."""


def published(size):
    """An encoder of a published size, without storage."""
    large = size in ("XL", "XXL")
    kind = "XLMRobertaXL" if large else "XLMRoberta"
    sizes = {"vocab_size": 250_880 if large else 250_002, "max_position_embeddings": 514, "type_vocab_size": 1}
    config = getattr(transformers, f"{kind}Config")(**PUBLISHED[size][0], **sizes)
    with torch.device("meta"):
        return getattr(transformers, f"{kind}Model")(config, add_pooling_layer=False)


def millions(parameters):
    return sum(value.numel() for value in parameters) / 1e6


@pytest.mark.parametrize("size", PUBLISHED)
def test_sizes_of_encoders_and_modules(size):
    network = published(size)
    # the table counts the unused pooler where there is one: width times width plus width
    assert millions(network.parameters()) == pytest.approx(PUBLISHED[size][1], rel=0.003)
    width, layers = network.config.hidden_size, network.config.num_hidden_layers
    with torch.device("meta"):
        one = Bottleneck(copy.deepcopy(network))
        one.add("first", {}, 1)
        other = Lora(network)
        other.add("first", {}, 1)
    assert millions(one.parameters("first").values()) == pytest.approx(BOTTLENECK[size], rel=0.02)
    two_factors_on_query_and_value = 2 * 2 * 8 * width * layers
    assert millions(other.parameters("first").values()) == two_factors_on_query_and_value / 1e6


def test_a_fusion_over_large_is_24_times_one_bottleneck():
    made = Bottleneck(published("large"))
    with torch.device("meta"):
        made.add("a", {}, 1)
        made.add("b", {}, 1)
        made.add_fusion(fuse(["a", "b"]), 1)
    assert millions(made.fusion_parameters("a,b").values()) == pytest.approx(75.5, rel=0.002)
