"""Training steps of a randomly initialised XLM-R for `benchmarks.gpu`: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import XLMRobertaConfig, XLMRobertaModel

from adaptxfer.encoder.forward import encode
from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.program import Program, Tokens
from adaptxfer.kernels.dispatch import using
from adaptxfer.modules.composition import Leaf, Stack, fuse, fusions, leaves
from adaptxfer.modules.model import make_method
from benchmarks.gpu_cases import Sizes

SETUPS = {
    "seq_bn": ("bottleneck", Leaf("xa")),
    "fuse N=3": ("bottleneck", fuse(["xa", "xb", "xc"])),
    "lora q,v": ("lora", Leaf("xa")),
    "stack": ("bottleneck", Stack((Leaf("xa"), Leaf("xb")))),
    "fuse N=9": ("bottleneck", fuse([f"x{letter}" for letter in "abcdefghi"])),
}


def prepared(setup: str, s: Sizes) -> tuple[nn.Module, list[nn.Parameter]]:
    """An encoder with modules attached, as it is trained: the fusion alone, or the topmost module."""
    method_name, tree = SETUPS[setup]
    heads = max(1, s.width // 64)
    config = XLMRobertaConfig(
        vocab_size=1000, hidden_size=s.width, num_hidden_layers=s.layers, num_attention_heads=heads,
        intermediate_size=4 * s.width, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
    )  # fmt: skip
    network = XLMRobertaModel(config, add_pooling_layer=False)
    method = make_method(method_name, network)
    for name in leaves(tree):
        method.add(name, {}, 1)
    for fused in fusions(tree):
        method.add_fusion(fused, 1)
    method.activate(tree)
    keys = [fused.key for fused in fusions(tree)]
    trained = method.set_trainable([] if keys else leaves(tree)[-1:], keys)
    return network.to(s.device, s.dtype).train(), list(trained.values())


def variants(
    network: nn.Module, trained: list[nn.Parameter], count: int, length: int, s: Sizes
) -> dict[str, Callable[[], object]]:
    """The library first; the captured step has the embeddings outside, where positions are counted on the host."""
    ids = torch.randint(4, 1000, (count * length,), device=s.device)
    bounds = torch.arange(0, count * length + 1, length, device=s.device)

    def library() -> object:
        return _backward(encode(network, ids, bounds), trained)

    def packed(mode: str) -> Callable[[], object]:
        program, tokens = _program(network), Tokens(ids, bounds, [length] * count)

        def run() -> object:
            with using(mode):
                return _backward(program.run(tokens, [s.layers])[0], trained)

        return run

    found = {"library, eager": library, "packed, torch": packed("torch"), "packed, auto": packed("auto")}
    if torch.cuda.is_available():
        for mode in ("torch", "auto"):
            found[f"packed, {mode}, graph"] = _captured(network, trained, Tokens(ids, bounds, [length] * count), mode)
    return found


def _program(network: nn.Module) -> Program:
    program = lower(network)
    if isinstance(program, str):
        raise RuntimeError(program)
    return program


def _backward(out: Tensor, trained: list[nn.Parameter]) -> object:
    return torch.autograd.grad(out.float().square().mean(), trained)


def _captured(network: nn.Module, trained: list[nn.Parameter], tokens: Tokens, mode: str) -> Callable[[], object]:
    """All layers forward and backward as one CUDA graph, captured at the first call."""
    graphs: list[torch.cuda.CUDAGraph] = []

    def run() -> object:
        if not graphs:
            graphs.append(_capture(network, trained, tokens, mode))
        return graphs[0].replay()

    return run


def _capture(network: nn.Module, trained: list[nn.Parameter], tokens: Tokens, mode: str) -> torch.cuda.CUDAGraph:
    program = _program(network)
    rows = program.embeddings(tokens).detach()

    def step() -> object:
        x = rows
        for layer in program.layers:
            x = layer(x, tokens)
        return _backward(x, trained)

    with using(mode):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    return graph
