"""A small run of every kernel beside plain torch, before it is trusted on a device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adaptxfer.kernels.parts import Adapter, Norm

ROWS, WIDTH, INNER, WORDS = 64, 256, 64, 5003
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 4e-2}
"""Largest relative norm of a difference; plain torch itself is about a tenth of it away from float64."""


def fault(op: str, device: torch.device, dtype: torch.dtype) -> str:
    """Run an operation on ``ROWS`` rows both ways, forward and backward; empty if all results agree.

    Args:
        op: one of `adaptxfer.kernels.dispatch.OPERATIONS`.
        device: where to run.
        dtype: of the activations.

    Returns:
        What went wrong, in a few words.
    """
    from adaptxfer.kernels.dispatch import using

    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        try:
            fast, plain, inputs = CASES[op]()
            moved = [t.to(device, dtype) if t.is_floating_point() else t.to(device) for t in inputs]
            found = _results(fast, moved)
        except Exception as error:  # a compiler that fails takes any form; all of them mean: not here
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        with using("torch"):
            expected = _results(plain, moved)
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        off = (one.double() - other.double()).norm() / other.double().norm().clamp_min(1e-30)
        if not off <= TOLERANCE[dtype]:
            return f"result {number} is off by {off:.1e}"
    return ""


def _results(run: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() if t.is_floating_point() else t for t in inputs]
    out = run(*leaves)
    out.backward(torch.linspace(-1, 1, out.numel(), device=out.device, dtype=out.dtype).view(out.shape))
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


Case = tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]


def _draw(*shapes: tuple[int, ...], scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(shapes))
    return [torch.randn(shape, generator=generator) * scale for shape in shapes]


def _norm_of(like: Tensor) -> Norm:
    ramp = torch.linspace(0.5, 1.5, like.shape[1], device=like.device, dtype=like.dtype)
    return Norm(ramp, ramp - 1, 1e-5)


def _add_norm() -> Case:
    from adaptxfer.kernels.add_norm import add_norm as plain
    from adaptxfer.kernels.triton.add_norm import add_norm as fast

    rows = _draw((ROWS, WIDTH), (ROWS, WIDTH))
    return lambda h, x: fast(h, x, _norm_of(h)), lambda h, x: plain(h, x, _norm_of(h)), rows


def _gelu() -> Case:
    from torch.nn.functional import gelu as plain

    from adaptxfer.kernels.triton.gelu import gelu as fast

    return fast, plain, _draw((ROWS, WIDTH))


def _masked_lm() -> Case:
    from adaptxfer.kernels.masked_lm import masked_lm_loss as plain
    from adaptxfer.kernels.triton.masked_lm import masked_lm_loss as fast

    rows, weight, bias = _draw((ROWS, WIDTH), (WORDS, WIDTH), (WORDS,), scale=0.1)
    labels = torch.arange(ROWS) * (WORDS // ROWS)
    return lambda r, w, b, n: fast(r, n, w, b, 2), lambda r, w, b, n: plain(r, n, w, b), [rows, weight, bias, labels]


def _bottleneck() -> Case:
    from adaptxfer.kernels.bottleneck import bottleneck as plain
    from adaptxfer.kernels.triton.bottleneck import bottleneck as fast

    weights = _draw(*[(INNER, WIDTH), (INNER,), (WIDTH, INNER), (WIDTH,)] * 2, scale=0.05)

    def with_adapters(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda h, x, *w: run(
            h, x, _norm_of(h), [Adapter(*w[:4], "gelu", 2.0, 0.0), Adapter(*w[4:], "swish", 1.0, 0.0)]
        )

    return with_adapters(fast), with_adapters(plain), [*_draw((ROWS, WIDTH), (ROWS, WIDTH)), *weights]


def _grouped_bottleneck() -> Case:
    from adaptxfer.kernels.bottleneck import bottleneck as plain
    from adaptxfer.kernels.triton.grouped import grouped_bottleneck as fast

    weights = _draw(*[(INNER, WIDTH), (INNER,), (WIDTH, INNER), (WIDTH,)] * 4, scale=0.05)
    sizes, acts = (ROWS // 3, ROWS - ROWS // 3), ("gelu", "swish") * 2

    def adapters(w: tuple[Tensor, ...]) -> list[list[Adapter]]:
        made = [Adapter(*w[4 * i : 4 * i + 4], act, 2.0, 0.0) for i, act in enumerate(acts)]
        return [made[:2], made[2:]]

    def apart(h: Tensor, x: Tensor, *w: Tensor) -> Tensor:
        parts = zip(h.split(sizes), x.split(sizes), adapters(w), strict=True)
        return torch.cat([plain(one, two, _norm_of(h), own) for one, two, own in parts])

    rows = _draw((ROWS, WIDTH), (ROWS, WIDTH))
    return lambda h, x, *w: fast(h, x, _norm_of(h), sizes, adapters(w), None), apart, [*rows, *weights]


def _fusion() -> Case:
    from adaptxfer.kernels.reference.fusion import Mix
    from adaptxfer.kernels.triton.fusion import mixture

    count = 3
    reads, writes = count * (2 * INNER + 1), count * (INNER + 1)
    weights = _draw((reads, WIDTH), (reads,), (WIDTH, writes), scale=0.05)

    def plain(z: Tensor, wide: Tensor, offsets: Tensor, values: Tensor) -> Tensor:
        return Mix.apply(torch.addmm(offsets, z, wide.t()), None, count, "gelu") @ values.t()

    return lambda *t: mixture(*t, count, "gelu"), plain, [*_draw((ROWS, WIDTH)), *weights]


def _lora_linear() -> Case:
    from adaptxfer.kernels.lora_linear import Update
    from adaptxfer.kernels.lora_linear import lora_linear as plain
    from adaptxfer.kernels.triton.lora_linear import lora_linear as fast

    x, weight, a, b = _draw((ROWS, WIDTH), (WIDTH, WIDTH), (8, WIDTH), (WIDTH, 8), scale=0.3)

    def with_update(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda x, weight, a, b: run(x, weight, None, [Update(a, b, 2.0, 0.0)])

    return with_update(fast), with_update(plain), [x, weight, a, b]


def _grouped_lora_linear() -> Case:
    from adaptxfer.kernels.lora_linear import Update
    from adaptxfer.kernels.lora_linear import lora_linear as plain
    from adaptxfer.kernels.triton.grouped import grouped_lora_linear as fast

    sizes = (ROWS // 3, ROWS - ROWS // 3)
    inputs = _draw((ROWS, WIDTH), (WIDTH, WIDTH), *[(8, WIDTH), (WIDTH, 8)] * 2, scale=0.3)

    def updates(ab: tuple[Tensor, ...]) -> list[list[Update]]:
        return [[Update(*ab[i : i + 2], 2.0, 0.0)] for i in (0, 2)]

    def apart(x: Tensor, weight: Tensor, *ab: Tensor) -> Tensor:
        parts = zip(x.split(sizes), updates(ab), strict=True)
        return torch.cat([plain(rows, weight, None, own) for rows, own in parts])

    return lambda x, weight, *ab: fast(x, weight, None, sizes, updates(ab), None), apart, inputs


CASES: dict[str, Callable[[], Case]] = {
    "add_norm": _add_norm,
    "gelu": _gelu,
    "masked_lm": _masked_lm,
    "bottleneck": _bottleneck,
    "fusion": _fusion,
    "lora_linear": _lora_linear,
    "grouped_bottleneck": _grouped_bottleneck,
    "grouped_lora_linear": _grouped_lora_linear,
}
