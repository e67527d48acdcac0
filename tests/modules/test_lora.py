"""LoRA: what `peft` gets wrong, and files that both sides read."""

from __future__ import annotations

import json

import peft
import pytest
import torch

from adaptxfer.encoder import encode
from adaptxfer.errors import DATA, USE, AdaptxferError
from adaptxfer.modules.composition import Leaf, fuse
from adaptxfer.modules.lora import Lora
from tests.tiny import arrange, fresh, packed, randomise


@torch.no_grad()
def hidden(network):
    return encode(network.eval(), *packed())


def trained(encoder, **options):
    made = Lora(fresh(encoder).network)
    made.add("m", options, 1)
    randomise(made.parameters("m"), 1)
    made.activate(Leaf("m"))
    return made


def change_config(folder, **changed):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.mark.parametrize("options", [{}, {"r": 4, "alpha": 32, "target_modules": ["query", "key", "value", "dense"]}])
def test_module_loads_in_peft_and_back(tiny_encoder, tmp_path, options):
    made = trained(tiny_encoder, **options)
    made.save("m", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    other = peft.PeftModel.from_pretrained(fresh(tiny_encoder).network, tmp_path)
    torch.testing.assert_close(hidden(other.base_model.model), hidden(made.network), atol=1e-5, rtol=1e-5)
    assert float((hidden(made.network) - hidden(tiny_encoder.network)).abs().max()) > 1e-2
    ours = Lora(fresh(tiny_encoder).network)
    ours.load("renamed", tmp_path)
    ours.activate(Leaf("renamed"))
    assert torch.equal(hidden(ours.network), hidden(made.network))


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"rank_pattern": {"query": 2}}])
def test_module_of_peft_loads_here(tiny_encoder, tmp_path, options):
    config = peft.LoraConfig(r=4, target_modules=["query", "value"], **options)
    other = peft.PeftModel(fresh(tiny_encoder).network, config, adapter_name="theirs")
    randomise({name: value for name, value in other.named_parameters() if ".lora_" in name}, 1)
    other.save_pretrained(tmp_path)
    ours = Lora(fresh(tiny_encoder).network)
    ours.load("ours", tmp_path / "theirs")
    ours.activate(Leaf("ours"))
    torch.testing.assert_close(hidden(ours.network), hidden(other.base_model.model), atol=1e-5, rtol=1e-5)


def test_stack_loads_in_peft_as_two_adapters(tiny_encoder, tmp_path):
    model, _, _ = arrange(tiny_encoder, "lora", "stack")
    randomise(model.method.parameters("goal"), 5)
    for name in ("one", "goal"):
        model.method.save(name, tmp_path / name)
    other = peft.PeftModel.from_pretrained(fresh(tiny_encoder).network, tmp_path / "one", adapter_name="one")
    other.load_adapter(tmp_path / "goal", adapter_name="goal")
    other.base_model.set_adapter(["one", "goal"])
    torch.testing.assert_close(hidden(other.base_model.model), hidden(model.network), atol=1e-5, rtol=1e-5)


def test_saved_config_is_the_same_in_every_process_and_names_no_place(tiny_encoder, tiny_dir, tmp_path):
    # peft keeps the targets as a set, whose order differs between processes
    targets = ["value", "query", "output.dense", "key", "intermediate.dense", "attention.output.dense"]
    trained(tiny_encoder, target_modules=targets).save("m", tmp_path)
    text = (tmp_path / "adapter_config.json").read_text()
    assert json.loads(text)["target_modules"] == sorted(targets)
    assert str(tiny_dir.parent) not in text and json.loads(text)["base_model_name_or_path"] == "tiny"


@pytest.mark.parametrize("name", ["a", "l", "lora", "lora_", "ora"])
def test_names_peft_mistakes_for_its_prefix(tiny_encoder, name):
    made = Lora(fresh(tiny_encoder).network)
    with pytest.raises(AdaptxferError, match="no usable name for a LoRA module") as caught:
        made.add(name, {}, 1)
    assert caught.value.code == USE


def test_lora_cannot_be_fused(tiny_encoder):
    made = trained(tiny_encoder)
    with pytest.raises(AdaptxferError, match="cannot be fused"):
        made.activate(fuse(["m", "n"]))
    with pytest.raises(AdaptxferError, match="No LoRA module is attached"):
        Lora(fresh(tiny_encoder).network).activate(Leaf("m"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"peft_type": "IA3"}, "is not a LoRA module"),
        ({"modules_to_save": ["classifier"]}, "carries a head inside the LoRA"),
        ({"r": 0}, "does not describe a LoRA module"),
        ({"r": "eight"}, "does not describe a LoRA module"),
        ({"lora_alpha": None}, "does not describe a LoRA module"),
        ({"use_dora": True}, "LoRA with use_dora"),
        ({"layers_to_transform": [0]}, "LoRA with layers_to_transform"),
        ({"init_lora_weights": "pissa"}, "LoRA with init_lora_weights"),
        ({"bias": "all"}, "LoRA with bias"),
        ({"something_new": 3}, "LoRA with something_new"),
        ({"r": 4}, "should have the shape"),
        ({"target_modules": ["query"]}, "have no place here"),
        ({"target_modules": ["query", "key", "value"]}, "lacks 4 of 12 weights"),
    ],
)
def test_files_that_do_not_fit(tiny_encoder, tmp_path, change, expected):
    trained(tiny_encoder).save("m", tmp_path)
    change_config(tmp_path, **change)
    with pytest.raises(AdaptxferError, match=expected) as caught:
        Lora(fresh(tiny_encoder).network).load("m", tmp_path)
    assert caught.value.code == DATA


def test_scale(tiny_encoder, tmp_path):
    made = trained(tiny_encoder, r=4, alpha=24)
    made.save("m", tmp_path)
    assert made.scale(tmp_path) == 6
    change_config(tmp_path, use_rslora=True)
    assert made.scale(tmp_path) == 12
    change_config(tmp_path, alpha_pattern={"query": 3})
    with pytest.raises(AdaptxferError, match="cannot be merged"):
        made.scale(tmp_path)
