"""The padding-free encoder and its operations against the libraries: python -m benchmarks.engine_cpu."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import adapters
import torch
from adapters import AdapterConfig
from adapters.composition import Fuse as LibraryFuse
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM, XLMRobertaModel

from adaptxfer.embedded import encoder_dir
from adaptxfer.encoder.load import load_encoder
from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.packed import packed_encode
from adaptxfer.encoder.program import Program
from adaptxfer.modules.composition import Leaf, Stack, fuse, fusions, leaves
from adaptxfer.modules.model import make_method
from benchmarks import masked_lm as masked_lm_step
from benchmarks.common import encoder_label, interleaved, keep, rows, show
from benchmarks.lengths import batch, padded

SETUPS = {
    "seq_bn": ("bottleneck", Leaf("xa"), {}),
    "stack": ("bottleneck", Stack((Leaf("xa"), Leaf("xb"))), {}),
    "fuse N=3": ("bottleneck", fuse(["xa", "xb", "xc"]), {}),
    "lora q,v r8": ("lora", Leaf("xa"), {}),
    "full": ("full", Leaf("xa"), {}),
}


def prepared(setup: str) -> tuple[nn.Module, list[nn.Parameter]]:
    """The embedded encoder with modules attached, as it is trained: the fusion alone, or the topmost module."""
    method_name, tree, options = SETUPS[setup]
    network = load_encoder("mini").network
    method = make_method(method_name, network)
    for name in leaves(tree):
        method.add(name, options, 1)
    for fused in fusions(tree):
        method.add_fusion(fused, 1)
    method.activate(tree)
    keys = [fused.key for fused in fusions(tree)]
    trained = method.set_trainable([] if keys else leaves(tree)[-1:], keys)
    return network.train(), list(trained.values())


def step(states: Callable[[], Tensor], trained: list[nn.Parameter]) -> None:
    """One forward and backward pass without an optimiser."""
    states().square().mean().backward()
    for parameter in trained:
        parameter.grad = None


def tokens(task: str, fill: float) -> tuple[Tensor, Tensor, str]:
    """Ids (T,), bounds (S+1,) and what they are, of a batch with a task's lengths."""
    lengths = torch.tensor(batch(task, fill))
    bounds = F.pad(lengths.cumsum(0), (1, 0))
    total, share = int(bounds[-1]), float(lengths.float().mean() / lengths.max())
    ids = torch.randint(4, 15_000, (total,), generator=torch.Generator().manual_seed(0))
    return ids, bounds, f"{encoder_label()}, {len(lengths)} sequences of {task}, {total} tokens, fill {share:.2f}"


def encoder_steps(repeats: int) -> list[dict[str, str]]:
    found = []
    for task, fill in (("MNLI", 0.35), ("CosmosQA", 0.8)):
        ids, bounds, shape = tokens(task, fill)
        for setup in SETUPS:
            network, trained = prepared(setup)
            rows_, attention = padded(ids, bounds, 1)
            runs = {
                "library, padded": lambda n=network, r=rows_, a=attention: n(r, attention_mask=a)[0],
                "packed": lambda n=network, i=ids, b=bounds: packed_encode(n, i, b),
            }
            functions = {name: lambda r=run, t=trained: step(r, t) for name, run in runs.items()}
            found += rows(f"encoder step, {setup}", shape, interleaved(functions, repeats))
    return found


def fusion_network(count: int, width: int) -> nn.Module:
    config = XLMRobertaConfig(
        vocab_size=10,
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=16,
        intermediate_size=width,
        max_position_embeddings=4,
    )
    network = XLMRobertaModel(config, add_pooling_layer=False)
    adapters.init(network)
    names = [f"a{number}" for number in range(count)]
    for name in names:
        network.add_adapter(name, AdapterConfig.load("seq_bn"))
    network.add_adapter_fusion(LibraryFuse(*names))
    network.train_adapter_fusion(LibraryFuse(*names))
    return network.train()


def fusion_layers(repeats: int, tokens: int = 2048, width: int = 1024) -> list[dict[str, str]]:
    """The end of one XLM-R Large layer with N adapters of 64 and a fusion over them; the fusion trains."""
    found = []
    for count in (3, 9):
        network = fusion_network(count, width)
        part = network.encoder.layer[0].output
        h, x = (torch.randn(tokens, width, requires_grad=True) for _ in range(2))

        def library(part=part, h=h, x=x) -> None:
            part.bottleneck_layer_forward(h.view(16, -1, width), x.view(16, -1, width), part.LayerNorm).sum().backward()

        def ours(network=network, h=h, x=x) -> None:
            program = lower(network)
            assert isinstance(program, Program)
            program.layers[0].after_feed_forward(h, x).sum().backward()

        times = interleaved({"library": library, "factorised": ours}, repeats)
        found += rows(
            f"AdapterFusion layer, N={count}", f"{tokens} tokens, width {width}, D 64, score dropout 0.1", times
        )
    return found


def masked_lm(repeats: int) -> list[dict[str, str]]:
    """A step of a language adapter: encoder, head over all words, loss over 15 % of the tokens."""
    found = []
    for task, fill in (("MNLI", 0.35), ("CosmosQA", 0.8)):
        model = XLMRobertaForMaskedLM.from_pretrained(encoder_dir("mini"), dtype=torch.float32)
        model = masked_lm_step.prepared(model, torch.float32, torch.device("cpu"))
        ids, bounds, shape = tokens(task, fill)
        times = interleaved(masked_lm_step.variants(model, ids, bounds), repeats)
        found += rows("masked LM step, seq_bn", f"{shape}, 15999 words", times)
    return found


PARTS = {"encoder": encoder_steps, "fusion": fusion_layers, "mlm": masked_lm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="do not append to results.csv")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    for name in options.only or PARTS:
        found = PARTS[name](options.repeats)
        show(name, found)
        if not options.dry:
            keep(found)


if __name__ == "__main__":
    main()
