"""Base models held in bf16, int8 and nf4: modules in fp32 fit onto them, and train."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from adaptxfer.encoder import load_encoder
from adaptxfer.encoder.held import HELD, check_held, hold
from adaptxfer.encoder.packed import encode_auto
from adaptxfer.errors import USE, AdaptxferError
from tests.tiny import arrange, fresh, packed, save_tiny

HERE = importlib.util.find_spec("bitsandbytes") is not None
CASES = [
    pytest.param(precision, id=precision, marks=pytest.mark.skipif(
        precision in ("int8", "nf4") and not HERE, reason="bitsandbytes is not installed (extra quantised)"))
    for precision in HELD[1:]
]  # fmt: skip


@pytest.fixture(scope="module", params=["XLMRoberta", "XLMRobertaXL"])
def folder(request, tmp_path_factory, mini_dir):
    options = {"kind": request.param, "hidden_size": 64, "intermediate_size": 128}
    return str(save_tiny(tmp_path_factory.mktemp("held") / "tiny", mini_dir, **options))


@pytest.mark.parametrize("precision", CASES)
def test_states_are_near_the_exact_ones_and_the_base_model_is_the_same(folder, precision):
    exact, held = load_encoder(folder), load_encoder(folder, precision=precision)
    assert held.base == exact.base  # modules go from one to the other
    with torch.no_grad():
        expected, found = (encode_auto(e.network.eval().to("cpu"), *packed()) for e in (exact, held))
    assert found.dtype == torch.float32
    assert 0 < float((found - expected).abs().mean()) < {"bf16": 0.05, "int8": 0.1, "nf4": 0.6}[precision]
    assert held.network.get_input_embeddings().weight.dtype == torch.bfloat16


@pytest.mark.parametrize(("method", "how"), [("bottleneck", "fuse"), ("lora", "stack")])
@pytest.mark.parametrize("precision", CASES)
def test_modules_stay_fp32_and_get_gradients(folder, precision, method, how):
    encoder = fresh(load_encoder(folder))
    hold(encoder.network, precision)
    model, _, trained = arrange(encoder, method, how)
    assert {value.dtype for value in trained.values()} == {torch.float32}
    ids, bounds = packed()
    model.to("cpu").train()("goal", ids, bounds, {"label": torch.tensor([0, 1, 1])}).backward()
    assert all(value.grad is not None and bool(torch.isfinite(value.grad).all()) for value in trained.values())


@pytest.mark.parametrize("precision", CASES)
def test_all_linear_layers_are_held_so(folder, precision):
    network = load_encoder(folder, precision=precision).network.to("cpu")
    kinds = {type(part).__name__ for part in network.modules() if isinstance(part, nn.Linear)}
    assert kinds == {{"bf16": "Linear", "int8": "Linear8bitLt", "nf4": "Linear4bit"}[precision]}


def test_an_unknown_precision_and_a_missing_library_are_told(monkeypatch):
    with pytest.raises(AdaptxferError, match="'fp16' is unknown") as caught:
        check_held("fp16")
    assert caught.value.code == USE
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(AdaptxferError, match="needs bitsandbytes") as caught:
        check_held("nf4")
    assert "adaptxfer[quantised]" in caught.value.hint
