"""Training steps of a randomly initialised XLM-R for `benchmarks.gpu`: nothing is downloaded."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM, XLMRobertaModel

from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.packed import sort_by_length
from adaptxfer.encoder.program import Program, Tokens
from adaptxfer.kernels.dispatch import using
from adaptxfer.modules.composition import Leaf, Stack, fuse, fusions, leaves
from adaptxfer.modules.model import make_method
from benchmarks import masked_lm
from benchmarks.gpu_bench import CUDA, Make, Run
from benchmarks.gpu_cases import Sizes
from benchmarks.lengths import batch, padded

ALL = ("query", "key", "value", "output.dense", "intermediate.dense")
"""All linear layers: peft matches names from the end, so output.dense is that of attention and feed-forward."""
LORA = {"r": 16, "alpha": 32, "dropout": 0.1, "target_modules": ALL}
SETUPS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "seq_bn": ("bottleneck", Leaf("xa"), {}),
    "fuse N=3": ("bottleneck", fuse(["xa", "xb", "xc"]), {}),
    "fuse N=9": ("bottleneck", fuse([f"x{letter}" for letter in "abcdefghi"]), {}),
    "stack": ("bottleneck", Stack((Leaf("xa"), Leaf("xb"))), {}),
    "lora q,v r8": ("lora", Leaf("xa"), {}),
    "lora all r16": ("lora", Leaf("xa"), LORA),  # A and B in 32 bits, the default of peft
    "lora all r16 bf16": ("lora", Leaf("xa"), LORA),
}


class Step(NamedTuple):
    """A setup and the lengths of its sequences; ``fill`` is their share of the padded rectangle."""

    setup: str
    count: int
    length: int = 128
    fill: float = 1.0

    def lengths(self, smoke: bool) -> list[int]:
        """All alike, or drawn from the lengths of MNLI."""
        if self.fill < 1:
            return batch("MNLI", self.fill, 4 if smoke else self.count)
        return [16] * 2 if smoke else [self.length] * self.count


STEPS = [
    Step("seq_bn", 8),
    Step("seq_bn", 128),
    Step("seq_bn", 348, fill=0.35),
    Step("fuse N=9", 128),
    Step("lora all r16", 128),
    Step("seq_bn", 32),
    Step("fuse N=3", 128),
    Step("stack", 128),
    Step("lora all r16 bf16", 128),
    Step("lora q,v r8", 128),
    Step("seq_bn", 32, 512),
]
"""In the order of their importance, in case time runs out."""
COMPILED = [Step("seq_bn", 8), Step("seq_bn", 128), Step("fuse N=9", 128), Step("lora all r16 bf16", 128)]


def config(s: Sizes, words: int) -> XLMRobertaConfig:
    """XLM-R of these sizes, with its dropout of 0.1."""
    return XLMRobertaConfig(
        vocab_size=words, hidden_size=s.width, num_hidden_layers=s.layers, num_attention_heads=max(1, s.width // 64),
        intermediate_size=4 * s.width, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
    )  # fmt: skip


def prepared(setup: str, s: Sizes) -> tuple[Any, list[nn.Parameter]]:
    """An encoder with modules attached, as it is trained: the fusion alone, or the topmost module."""
    method_name, tree, options = SETUPS[setup]
    with torch.device(s.device):  # drawing its weights on the host would take seconds
        network = XLMRobertaModel(config(s, 1000), add_pooling_layer=False).to(s.dtype)
    method = make_method(method_name, network)
    for name in leaves(tree):
        method.add(name, options, 1)
    for fused in fusions(tree):
        method.add_fusion(fused, 1)
    method.activate(tree)
    keys = [fused.key for fused in fusions(tree)]
    trained = method.set_trainable([] if keys else leaves(tree)[-1:], keys)
    kept_wide = setup == "lora all r16"
    network.to(s.device, None if kept_wide else s.dtype).train()
    return network, list(trained.values())


def packed_rows(lengths: list[int], s: Sizes) -> tuple[Tensor, Tensor]:
    """Random ids (T,) and the bounds (S+1,)."""
    bounds = F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).to(s.device)
    return torch.randint(4, 1000, (sum(lengths),), device=s.device), bounds


def variants(step: Step, s: Sizes, smoke: bool) -> dict[str, Make]:
    """The library first; the captured step has the embeddings outside, where positions are counted on the host."""
    network, trained = prepared(step.setup, s)
    inputs = packed_rows(step.lengths(smoke), s)

    rows, attention = padded(*inputs, network.config.pad_token_id)

    def library() -> Run:
        return lambda: _backward(network(rows, attention_mask=attention)[0], trained)

    def packed(mode: str) -> Run:
        def run() -> object:
            with using(mode):
                program, tokens = _program(network), sort_by_length(Tokens(*inputs, ()))[0]
                return _backward(program.run(tokens, [s.layers])[0], trained)

        return run

    found: dict[str, Make] = {"library, eager": library}
    found |= {f"packed, {mode}": partial(packed, mode) for mode in ("torch", "auto")}
    if CUDA:
        captured = {f"packed, {mode}, graph": partial(_captured, network, trained, inputs, mode)
                    for mode in ("torch", "auto")}  # fmt: skip
        found |= captured
    return found


def compiled_variants(step: Step, s: Sizes, smoke: bool) -> dict[str, Make]:
    """The library under torch.compile, warm, on the shape it was compiled for; then our captured step."""
    network, trained = prepared(step.setup, s)
    inputs = packed_rows(step.lengths(smoke), s)

    rows, attention = padded(*inputs, network.config.pad_token_id)

    def library(mode: str) -> Run:
        torch._dynamo.reset()
        fast = torch.compile(network, mode=mode, backend="inductor" if CUDA else "eager")

        def run() -> object:
            torch.compiler.cudagraph_mark_step_begin()
            return _backward(fast(rows, attention_mask=attention)[0], trained)

        return run

    found: dict[str, Make] = {
        f"library, torch.compile {mode}": partial(library, mode) for mode in ("default", "reduce-overhead")
    }
    if CUDA:
        found["packed, auto, graph"] = partial(_captured, network, trained, inputs, "auto")
    return found


def masked_lm_variants(s: Sizes, smoke: bool) -> tuple[dict[str, Make], int]:
    """128 sequences of 128 tokens, all words of XLM-R in the head; and the number of tokens."""
    with torch.device(s.device):
        model = XLMRobertaForMaskedLM(config(s, s.words))
    model = masked_lm.prepared(model, s.dtype, s.device)
    ids, bounds = packed_rows([16] * 2 if smoke else [128] * 128, s)
    found = masked_lm.variants(model, ids, bounds)
    return {name: lambda run=run: run for name, run in found.items()}, len(ids)


def _program(network: nn.Module) -> Program:
    program = lower(network)
    if isinstance(program, str):
        raise RuntimeError(program)
    return program


def _backward(out: Tensor, trained: list[nn.Parameter]) -> object:
    return torch.autograd.grad(out.float().square().mean(), trained)


def _captured(network: nn.Module, trained: list[nn.Parameter], inputs: tuple[Tensor, Tensor], mode: str) -> Run:
    """All layers forward and backward as one CUDA graph."""
    program, tokens = _program(network), sort_by_length(Tokens(*inputs, ()))[0]
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
            kept = step()
    return _Replay(graph, kept).run


class _Replay:
    """A captured graph with what it writes to."""

    def __init__(self, graph: torch.cuda.CUDAGraph, kept: object) -> None:
        self.graph, self.kept = graph, kept

    def run(self) -> object:
        """One replay."""
        self.graph.replay()
        return self.kept
