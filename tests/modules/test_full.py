"""Full fine-tuning: the module is a plain encoder folder."""

from __future__ import annotations

import json

import pytest
import torch

from adaptxfer.encoder import encode
from adaptxfer.errors import USE, AdaptxferError
from adaptxfer.modules.composition import Leaf, Stack
from adaptxfer.modules.full import Full
from tests.tiny import fresh, packed, randomise


@torch.no_grad()
def test_saved_encoder_loads_in_transformers_and_here(tiny_encoder, tmp_path, tiny_dir):
    from transformers import AutoModel

    made = Full(fresh(tiny_encoder).network)
    made.add("m", {}, 1)
    made.activate(Leaf("m"))
    randomise(made.parameters("m"), 1)
    made.save("m", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    expected = encode(made.network.eval(), *packed())
    other = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False, dtype="auto")
    assert torch.equal(encode(other.eval(), *packed()), expected)
    ours = Full(fresh(tiny_encoder).network)
    ours.load("x", tmp_path)
    assert torch.equal(encode(ours.network.eval(), *packed()), expected)
    text = (tmp_path / "config.json").read_text()
    assert str(tiny_dir.parent) not in text and json.loads(text)["dtype"] == "float32"


def test_there_is_nothing_to_arrange(tiny_encoder):
    with pytest.raises(AdaptxferError, match="one module, the encoder") as caught:
        Full(fresh(tiny_encoder).network).activate(Stack((Leaf("a"), Leaf("b"))))
    assert caught.value.code == USE
