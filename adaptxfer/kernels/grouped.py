"""Several runs in one batch: consecutive blocks of rows, each with modules and random numbers of its own.

What is frozen runs once over all rows. Every operation here equals its namesake run on each block alone, dropout
included, so a run among others learns what it learns alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptxfer.kernels.bottleneck import bottleneck
from adaptxfer.kernels.dispatch import choose
from adaptxfer.kernels.lora_linear import Update
from adaptxfer.kernels.parts import Adapter, Norm, draw_mask, in_one_dtype, trains
from adaptxfer.kernels.reference.lora import LoraLinear, Setup


class Stream:
    """The random numbers of one run: the states of torch's generators, kept while other runs have their turn.

    Args:
        seed: as of `torch.manual_seed`.
    """

    def __init__(self, seed: int) -> None:
        self._states: dict[torch.Generator, Tensor] = {}
        with self.turn():
            torch.manual_seed(seed)

    @contextmanager
    def turn(self, device: torch.device | None = None) -> Iterator[None]:
        """Inside the block random numbers come from this stream; outside nothing changes.

        Args:
            device: where they will be drawn, which saves time; None for anywhere.
        """
        generators = _generators(device)
        before = {generator: generator.get_state() for generator in generators}
        for generator in generators:
            if generator in self._states:
                generator.set_state(self._states[generator])
        try:
            yield
        finally:
            for generator, state in before.items():
                self._states[generator] = generator.get_state()
                generator.set_state(state)


def _generators(device: torch.device | None) -> list[torch.Generator]:
    on_gpu = list(torch.cuda.default_generators) if torch.cuda.is_available() else []
    if device is None:
        return [torch.default_generator, *on_gpu]
    return [on_gpu[device.index or 0]] if device.type == "cuda" else [torch.default_generator]


class Groups(NamedTuple):
    """Whose rows are whose: the rows of each run, one block after the other, and the runs' random numbers."""

    sizes: tuple[int, ...]
    streams: tuple[Stream, ...]

    def each(self, functions: Sequence[Callable[..., Tensor]], *tensors: Tensor) -> Tensor:
        """The results of one function per group, each on its own rows of ``tensors`` and in its own stream, joined."""
        parts = zip(*(tensor.split(self.sizes) for tensor in tensors), strict=True)
        found = []
        for function, stream, rows in zip(functions, self.streams, parts, strict=True):
            with stream.turn(rows[0].device):
                found.append(function(*rows))
        return torch.cat(found)


def grouped_dropout(rows: Tensor, p: float, groups: Groups) -> Tensor:
    """Dropout with probability ``p``; (T, ...) to (T, ...)."""
    return groups.each([lambda part: F.dropout(part, p)] * len(groups.sizes), rows) if p else rows


def grouped_bottleneck(
    h: Tensor, x: Tensor, norm: Norm, groups: Groups, adapters: Sequence[Sequence[Adapter]], reads: str = "sum",
    p_hidden: float = 0.0,
) -> Tensor:  # fmt: skip
    """As `adaptxfer.kernels.bottleneck.bottleneck`, each group of rows with adapters of its own.

    Args:
        h: (T, H) output of the sub-layer.
        x: (T, H) input of the sub-layer.
        norm: LayerNorm of the sub-layer, shared and frozen.
        groups: ``sum(groups.sizes) == T``; dropout of each group is drawn from its stream, that of h first.
        adapters: for each group one adapter, or several in order; groups may differ in number and width.
        reads: what the adapters read.
        p_hidden: probability of the dropout on h.

    Returns:
        (T, H).
    """
    if reads == "sublayer" and p_hidden:  # h is read twice: drawn once, here
        h, p_hidden = grouped_dropout(h, p_hidden, groups), 0.0
    if _alike([[(one.down.shape, *one[4:]) for one in own] for own in adapters]) and _on_kernel(
        h, norm, adapters[0], p_hidden
    ):
        from adaptxfer.kernels.triton.grouped import grouped_bottleneck as fast

        seeds = _seeds(h, groups, max(*(one.dropout for one in adapters[0]), p_hidden))
        return fast(h, x, norm, groups.sizes, adapters, seeds, reads, p_hidden)
    apart = [lambda h, x, own=own: bottleneck(h, x, norm, own, reads, p_hidden) for own in adapters]
    return groups.each(apart, h, x)


def _alike(kinds: Sequence[Sequence[Any]]) -> bool:
    """Whether groups differ in nothing but the weights, going by what else their modules have."""
    return all(kind == kinds[0] for kind in kinds)


def _on_kernel(h: Tensor, norm: Norm, own: Sequence[Adapter], p: float) -> bool:
    inner, acts, drops = zip(*((len(one.down), one.act, one.dropout) for one in own), strict=True)
    return choose("grouped_bottleneck", h, inner=inner, acts=acts, drops=(*drops, p), trains_norm=trains(norm))


def _seeds(rows: Tensor, groups: Groups, p: float) -> Tensor | None:
    """What a run alone would draw for a kernel, for each of them; None if nothing is dropped."""
    from adaptxfer.kernels.triton.parts import draw_seed

    return groups.each([draw_seed] * len(groups.sizes), rows) if p > 0 else None


def grouped_lora_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, groups: Groups, updates: Sequence[Sequence[Update]]
) -> Tensor:
    """As `adaptxfer.kernels.lora_linear.lora_linear`, each group of rows with updates of its own.

    The frozen product is one; groups may differ in number and rank of updates.

    Args:
        x: (T, K).
        weight: (N, K), frozen.
        bias: (N,) or None.
        groups: ``sum(groups.sizes) == T``; dropout of each group is drawn from its stream.
        updates: any number for each group.

    Returns:
        (T, N).
    """
    if not any(updates):
        return F.linear(x, weight, bias)
    ranks, drops = [len(one.a) for one in updates[0]], [one.dropout for one in updates[0]]
    alike = _alike([[(one.a.shape, one.b.shape, *one[2:]) for one in own] for own in updates])
    if alike and choose("grouped_lora_linear", x, inner=ranks, drops=drops):
        from adaptxfer.kernels.triton.grouped import grouped_lora_linear as fast

        return fast(x, weight, bias, groups.sizes, updates, _seeds(x, groups, drops[0]))
    ends = torch.tensor(groups.sizes).cumsum(0).tolist()
    scales, columns, rows, tensors = [], [], [], []
    for own, stream, end, size in zip(updates, groups.streams, ends, groups.sizes, strict=True):
        for update in own:
            with stream.turn(x.device):
                mask = draw_mask(x[end - size : end], update.dropout)
            scales.append(update.scale)
            columns.append(update.column)
            rows.append((end - size, end))
            tensors += [update.a, update.b, mask]
    setup = Setup(tuple(scales), tuple(columns), tuple(rows))
    return in_one_dtype(LoraLinear.apply, x, weight, bias, setup, *tensors)
