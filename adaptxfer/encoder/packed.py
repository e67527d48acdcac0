"""Hidden states without padding, where the network has a program; otherwise its own forward pass."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adaptxfer.encoder.forward import encode, encode_layers
from adaptxfer.encoder.held import in_its_precision
from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.program import Program, Tokens
from adaptxfer.kernels.dispatch import current_mode, unusable

log = logging.getLogger(__name__)
_said: set[str] = set()


def packed_encode(
    network: nn.Module, ids: Tensor, bounds: Tensor, layers: Sequence[int] | None = None
) -> Tensor | list[Tensor]:
    """As `encode`, or with ``layers`` as `encode_layers`, computed for real tokens only.

    Args:
        network: see `adaptxfer.encoder.lower.lower`.
        ids: (T,) token ids of all sequences one after the other.
        bounds: (S+1,) where each sequence starts; ``bounds[-1] == T``.
        layers: layers to return, 0 being the embedding output; None for the last one alone.

    Raises:
        ValueError: if the network has no program, with the reason.
    """
    program = lower(network)
    if isinstance(program, str):
        raise ValueError(f"no program for this network: {program}")
    return run(program, Tokens(ids, bounds, ()), layers)


@in_its_precision
def encode_auto(
    network: nn.Module,
    ids: Tensor,
    bounds: Tensor,
    layers: Sequence[int] | None = None,
    lengths: Sequence[int] | None = None,
) -> Tensor | list[Tensor]:
    """`packed_encode` where it covers the network, else the network's own forward pass, with the reason logged once.

    ``lengths`` are the differences of ``bounds`` where the caller knows them; see `run`.
    """
    program = lower(network)
    if not isinstance(program, str):
        return run(program, Tokens(ids, bounds, lengths or ()), layers)
    say_once(program)
    return encode(network, ids, bounds) if layers is None else encode_layers(network, ids, bounds, layers)


def say_once(reason: str) -> None:
    """Log why the padding-free encoder is not used, unless it was said before.

    Raises:
        AdaptxferError: if the kernels, which it takes, were asked for explicitly.
    """
    if current_mode()[0] == "triton":
        raise unusable("kernels", reason)
    if reason not in _said:
        _said.add(reason)
        log.warning("The padding-free encoder is not used: %s.", reason)


def run(program: Program, tokens: Tokens, layers: Sequence[int] | None = None) -> Tensor | list[Tensor]:
    """Run a program over packed sequences; see `packed_encode`.

    Without ``tokens.lengths`` the sequences are sorted by length on the way. With them they run as they come, and
    nothing is read back from the device: what is captured as a CUDA graph needs that.
    """
    count = len(program.layers)
    wanted = [count] if layers is None else [layer % (count + 1) for layer in layers]
    tokens, order = (tokens, None) if tokens.lengths else sort_by_length(tokens)
    states = [
        state.float() if torch.is_autocast_enabled(state.device.type) else state
        for state in program.run(tokens, wanted)
    ]
    if order is not None:
        inverse = order.argsort()
        states = [Rearranged.apply(state, inverse, order) for state in states]
    return states[0] if layers is None else states


def sort_by_length(tokens: Tokens) -> tuple[Tokens, Tensor | None]:
    """Sequences by rising length, empty ones left out, and which token (T,) each came from; None if nothing moved."""
    ids, bounds = tokens.ids, tokens.bounds
    lengths = bounds.diff().tolist()
    rising = sorted((length, number) for number, length in enumerate(lengths) if length)
    sizes = [length for length, _ in rising]
    if sizes == lengths:
        return tokens._replace(lengths=lengths), None
    new_sizes = torch.tensor(sizes, device=ids.device)
    starts = bounds[torch.tensor([number for _, number in rising], device=ids.device)]
    new_bounds = torch.nn.functional.pad(new_sizes.cumsum(0), (1, 0))
    order = torch.arange(len(ids), device=ids.device) + (starts - new_bounds[:-1]).repeat_interleave(new_sizes)
    types, places = (None if rows is None else rows[order] for rows in (tokens.types, tokens.places))
    return Tokens(ids[order], new_bounds, sizes, types, places), order


class Rearranged(torch.autograd.Function):
    """Rows in another order; the backward pass gathers as well instead of adding up row by row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, inverse: Tensor):
        """(T, H) gathered by ``order``."""
        ctx.save_for_backward(inverse)
        return rows.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        """Gathered by the inverse."""
        return grad.index_select(0, *ctx.saved_tensors), None, None
