"""What `benchmarks.gpu` times: for each operation the inputs, and variants that do the same with them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptxfer.kernels.add_norm import add_norm
from adaptxfer.kernels.bottleneck import bottleneck
from adaptxfer.kernels.dispatch import using
from adaptxfer.kernels.fusion import Fusion, adapter_fusion
from adaptxfer.kernels.gelu import gelu
from adaptxfer.kernels.lora_linear import Update, lora_linear
from adaptxfer.kernels.masked_lm import masked_lm_loss
from adaptxfer.kernels.parts import Adapter, Norm, activate

Run = Callable[..., Tensor]


class Sizes(NamedTuple):
    """Of XLM-R Large, or of a trial run on a small machine."""

    device: torch.device
    dtype: torch.dtype = torch.bfloat16
    width: int = 1024
    inner: int = 64
    words: int = 250_002
    layers: int = 24

    def draw(self, *shape: int, scale: float = 1.0, trains: bool = True) -> Tensor:
        """Random numbers that want a gradient."""
        return (torch.randn(shape, device=self.device) * scale).to(self.dtype).requires_grad_(trains)

    def norm(self) -> Norm:
        """A frozen norm."""
        ones = torch.ones(self.width, device=self.device, dtype=self.dtype)
        return Norm(ones, torch.zeros_like(ones), 1e-5)


class Case(NamedTuple):
    """An operation: a function that makes inputs for T tokens, its plain form, ours, and the H-passes it cannot avoid.

    One H-pass reads or writes one (T, width) tensor in 16 bits once. ``peers`` are other libraries' ways to do it.
    """

    name: str
    inputs: Callable[[int], list[Tensor]]
    plain: Run
    ours: Run
    passes: float
    tokens: tuple[int, ...] = (1024, 4096, 16384, 65536)
    peers: tuple[tuple[str, Run], ...] = ()

    def variants(self) -> dict[str, Run]:
        """Plain torch as the libraries run it comes first: ratios are to it."""
        found = {"torch eager": self.plain}
        if torch.cuda.is_available():
            torch._dynamo.reset()
            found["torch.compile default"] = torch.compile(self.plain, dynamic=True)
            found["torch.compile reduce-overhead"] = torch.compile(self.plain, dynamic=False, mode="reduce-overhead")
        return found | dict(self.peers) | {f"ours, {mode}": self.forced(mode) for mode in ("torch", "triton")}

    def forced(self, mode: str) -> Run:
        """Ours in one mode."""

        def run(*inputs: Tensor) -> Tensor:
            with using(mode):
                return self.ours(*inputs)

        return run


def liger(name: str, *arguments: Any, **options: Any) -> Callable[..., Any] | None:
    """A module of Liger, where it is installed."""
    if find_spec("liger_kernel") is None:
        return None
    return getattr(import_module("liger_kernel.transformers"), name)(*arguments, **options)


def add_norm_case(s: Sizes) -> Case:
    norm = s.norm()

    def plain(h: Tensor, x: Tensor) -> Tensor:
        return norm(F.dropout(h, 0.1) + x)

    def inputs(tokens: int) -> list[Tensor]:
        return [s.draw(tokens, s.width), s.draw(tokens, s.width)]

    peers: dict[str, Run] = {}
    if layer := liger("LigerLayerNorm", s.width, eps=norm.eps):
        layer.to(s.device, s.dtype).requires_grad_(False)
        peers["liger LayerNorm"] = lambda h, x: layer(F.dropout(h, 0.1) + x)
    return Case("dropout+add+LN", inputs, plain, lambda h, x: add_norm(h, x, norm, 0.1), 9, peers=tuple(peers.items()))


def gelu_case(s: Sizes) -> Case:
    return Case("gelu", lambda tokens: [s.draw(tokens, 4 * s.width)], F.gelu, gelu, 20)


def library_adapter(rows: Tensor, adapter: Adapter) -> Tensor:
    """An adapter as the `adapters` library runs it; it multiplies by the scale even where that is 1."""
    return F.linear(activate(F.linear(rows, *adapter[:2]), adapter.act), *adapter[2:4]) * adapter.scale


def weights_of(s: Sizes, count: int) -> list[Tensor]:
    shapes = [(s.inner, s.width), (s.inner,), (s.width, s.inner), (s.width,)] * count
    return [s.draw(*shape, scale=0.05) for shape in shapes]


def adapters_in(weights: tuple[Tensor, ...], act: str = "relu") -> list[Adapter]:
    return [Adapter(*weights[i : i + 4], act, 1.0, 0.0) for i in range(0, len(weights), 4)]


def bottleneck_case(s: Sizes, count: int) -> Case:
    norm = s.norm()
    kept = weights_of(s, count)

    def plain(h: Tensor, x: Tensor, *weights: Tensor) -> Tensor:
        for adapter in adapters_in(weights):
            h = library_adapter(norm(h + x), adapter) + h
        return norm(h + x)

    def ours(h: Tensor, x: Tensor, *weights: Tensor) -> Tensor:
        return bottleneck(h, x, norm, adapters_in(weights))

    def inputs(tokens: int) -> list[Tensor]:
        return [s.draw(tokens, s.width), s.draw(tokens, s.width), *kept]

    return Case("seq_bn layer" if count == 1 else f"stack of {count} layer", inputs, plain, ours, 10)


def fusion_case(s: Sizes, count: int) -> Case:
    """The fusion trains, its adapters are frozen."""
    children = [weight.requires_grad_(False) for weight in weights_of(s, count)]
    square = [(s.width, s.width), (s.width,)] * 2 + [(s.width, s.width)]
    kept = [s.draw(*shape, scale=0.03) for shape in square]

    def plain(z: Tensor, wq: Tensor, bq: Tensor, wk: Tensor, bk: Tensor, wv: Tensor) -> Tensor:
        ups = torch.stack([library_adapter(z, adapter) for adapter in adapters_in(tuple(children))], dim=1)
        scores = (F.linear(ups, wk, bk) @ F.linear(z, wq, bq)[:, :, None])[:, :, 0]
        return (F.linear(ups, wv) * F.dropout(scores, 0.1).softmax(-1)[:, :, None]).sum(1)

    def ours(z: Tensor, *square: Tensor) -> Tensor:
        return adapter_fusion(z, Fusion(*square, tuple(adapters_in(tuple(children))), 0.1))

    passes = 5 + 6 * count * s.inner / s.width
    tokens = (1024, 4096, 16384)
    return Case(f"AdapterFusion N={count}", lambda t: [s.draw(t, s.width), *kept], plain, ours, passes, tokens)


def lora_case(s: Sizes, rank: int, p: float) -> Case:
    """Queries and values of a packed projection; both ways include the frozen product."""
    weight, bias = s.draw(3 * s.width, s.width, scale=0.03, trains=False), s.draw(3 * s.width, trains=False)
    kept = [s.draw(*shape, scale=0.05) for shape in [(rank, s.width), (s.width, rank)] * 2]

    def plain(x: Tensor, a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> Tensor:
        q, k, v = F.linear(x, weight, bias).chunk(3, dim=1)
        q = q + F.linear(F.linear(F.dropout(x, p), a1), b1) * 2.0
        v = v + F.linear(F.linear(F.dropout(x, p), a2), b2) * 2.0
        return torch.cat([q, k, v], dim=1)

    def ours(x: Tensor, a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> Tensor:
        return lora_linear(x, weight, bias, [Update(a1, b1, 2.0, p), Update(a2, b2, 2.0, p, 2 * s.width)])

    return Case(f"LoRA q,v r{rank} dropout {p}", lambda t: [s.draw(t, s.width), *kept], plain, ours, 8)


def masked_lm_case(s: Sizes) -> Case:
    """Frozen decoder; T labelled rows, 15 % of the tokens of a batch."""
    weight, bias = s.draw(s.words, s.width, scale=0.02, trains=False), s.draw(s.words, trains=False)

    def plain(rows: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(rows, weight, bias).float(), labels, reduction="sum")

    def ours(rows: Tensor, labels: Tensor) -> Tensor:
        return masked_lm_loss(rows, labels, weight, bias)

    def inputs(tokens: int) -> list[Tensor]:
        return [s.draw(tokens, s.width), torch.randint(s.words, (tokens,), device=s.device)]

    passes = 4 * s.words / s.width + 4 * s.words / 2048
    peers: dict[str, Run] = {}
    if loss := liger("LigerFusedLinearCrossEntropyLoss", reduction="sum"):
        peers["liger fused linear cross-entropy"] = lambda rows, labels: loss(weight, rows, labels, bias)
    return Case("masked LM head", inputs, plain, ours, passes, (614, 2458), tuple(peers.items()))


def all_cases(s: Sizes) -> dict[str, Callable[[], list[Case]]]:
    """Sections in the order of their importance."""
    return {
        "bottleneck": lambda: [bottleneck_case(s, 1), bottleneck_case(s, 2)],
        "fusion": lambda: [fusion_case(s, 3), fusion_case(s, 9)],
        "add_norm": lambda: [add_norm_case(s)],
        "masked_lm": lambda: [masked_lm_case(s)],
        "lora": lambda: [lora_case(s, 8, 0.0), lora_case(s, 16, 0.1)],
        "gelu": lambda: [gelu_case(s)],
    }
