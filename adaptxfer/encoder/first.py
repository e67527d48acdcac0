"""Hidden states of the first token of each sequence: all that classifying heads read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adaptxfer.encoder.forward import encode
from adaptxfer.encoder.held import in_its_precision
from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.packed import run, say_once, sort_by_length
from adaptxfer.encoder.program import Tokens


@in_its_precision
def encode_first(network: nn.Module, ids: Tensor, bounds: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
    """The rows ``bounds[:-1]`` of `encode_auto`, (S, H), without what only other tokens need.

    In the last layer every other token contributes a key and a value; its query, attention, feed-forward block and
    modules are left out, forward and backward. Nothing else changes: results and gradients are those of the whole.
    Where that layer draws dropout, all of it runs, so that the draws are those of every other way to run it.

    Args:
        network: see `adaptxfer.encoder.lower.lower`; others run their own forward pass.
        ids: (T,) token ids of all sequences one after the other.
        bounds: (S+1,) where each sequence starts; no sequence may be empty.
        lengths: the differences of ``bounds`` where the caller knows them; see `adaptxfer.encoder.packed.run`.
    """
    program = lower(network)
    if isinstance(program, str):
        say_once(program)
        return encode(network, ids, bounds)[bounds[:-1]]
    if program.layers[-1].draws():
        return run(program, Tokens(ids, bounds, lengths or ()))[bounds[:-1]]  # type: ignore[call-overload]
    tokens = Tokens(ids, bounds, lengths or ())
    tokens, order = (tokens, None) if lengths else sort_by_length(tokens)
    first = program.first(tokens)
    return in_order(first.float() if torch.is_autocast_enabled(first.device.type) else first, tokens, order)


def in_order(first: Tensor, tokens: Tokens, order: Tensor | None) -> Tensor:
    """Rows of the first tokens (S, H) in the order their sequences had before `sort_by_length`."""
    return first if order is None else first.index_select(0, order[tokens.bounds[:-1]].argsort())
