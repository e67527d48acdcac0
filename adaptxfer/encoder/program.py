"""An encoder as flat records of weights, and its forward pass over packed tokens, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptxfer.kernels.add_norm import add_norm
from adaptxfer.kernels.attention import first_token_attention, varlen_attention
from adaptxfer.kernels.bottleneck import bottleneck
from adaptxfer.kernels.fusion import Fusion, adapter_fusion
from adaptxfer.kernels.gelu import gelu
from adaptxfer.kernels.lora_linear import Update, lora_linear
from adaptxfer.kernels.parts import Adapter, Norm, activate

CACHED_ROWS = 1024
"""On a CPU what works on each token by itself takes so many at once: they fit its cache, and little memory is new."""


class Linear(NamedTuple):
    """A linear layer with its active LoRA updates."""

    weight: Tensor
    bias: Tensor | None
    updates: tuple[Update, ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        """(T, K) to (T, N)."""
        return lora_linear(x, self.weight, self.bias, self.updates)


class Ending(NamedTuple):
    """What follows the last linear layer of a sub-layer: dropout, modules, addition, LayerNorm."""

    norm: Norm
    dropout: float
    fusions: tuple[Fusion, ...] = ()  # these come first
    adapters: tuple[Adapter, ...] = ()
    reads: str = "sum"  # see `adaptxfer.kernels.bottleneck`

    def __call__(self, h: Tensor, x: Tensor) -> Tensor:
        """The output of the sub-layer from ``h`` and its input ``x``."""
        if not self.fusions and not self.adapters:
            return add_norm(h, x, self.norm, self.dropout)
        p = self.dropout
        for fusion in self.fusions:  # h + x is all that later modules see, so the mixture may stand in for h
            x, p = (F.dropout(h, p) if p else h) + x, 0.0
            h = adapter_fusion(self.norm(x), fusion)
        if not self.adapters:
            return add_norm(h, x, self.norm)
        return bottleneck(h, x, self.norm, self.adapters, self.reads, p)


class Layer(NamedTuple):
    """One transformer layer with the LayerNorm behind each sub-layer."""

    query: Linear
    key: Linear
    value: Linear
    heads: int
    attention_dropout: float
    mixed: Linear
    after_attention: Ending
    widen: Linear
    act: str
    narrow: Linear
    after_feed_forward: Ending

    def __call__(self, x: Tensor, tokens: Tokens) -> Tensor:
        """(T, H) to (T, H)."""
        qkv = packed_linear((self.query, self.key, self.value))(x)
        mixed = varlen_attention(qkv, tokens.bounds, tokens.lengths, self.heads, self.attention_dropout)
        if x.device.type != "cpu" or len(x) <= CACHED_ROWS:
            return self._rest(mixed, x)
        pieces = zip(mixed.split(CACHED_ROWS), x.split(CACHED_ROWS), strict=True)
        return torch.cat([self._rest(*piece) for piece in pieces])

    def first(self, x: Tensor, tokens: Tokens) -> Tensor:
        """(T, H) to (S, H), the first token of each sequence alone: of the others it needs their keys and values."""
        rows = x.index_select(0, tokens.bounds[:-1])
        q, kv = self.query(rows), packed_linear((self.key, self.value))(x)
        mixed = first_token_attention(q, kv, tokens.bounds, tokens.lengths, self.heads, self.attention_dropout)
        return self._rest(mixed, rows)

    def draws(self) -> bool:
        """Whether anything in it draws random numbers."""
        linears = (self.query, self.key, self.value, self.mixed, self.widen, self.narrow)
        ends = (self.after_attention, self.after_feed_forward)
        parts = [*ends, *(part for end in ends for part in (*end.fusions, *end.adapters))]
        parts += [update for linear in linears for update in linear.updates]
        return any([self.attention_dropout, *(part.dropout for part in parts)])

    def _rest(self, mixed: Tensor, x: Tensor) -> Tensor:
        """What follows attention works on each token by itself."""
        x = self.after_attention(self.mixed(mixed), x)
        wide = self.widen(x)
        wide = gelu(wide) if self.act == "gelu" else activate(wide, self.act)
        return self.after_feed_forward(self.narrow(wide), x)


class Embeddings(NamedTuple):
    """Word, position and type embeddings with their LayerNorm."""

    words: Tensor
    positions: Tensor
    types: Tensor
    padding: int | None  # the row of `words` that gets no gradient
    roberta: bool  # positions count from padding + 1 and skip padding; BERT's from 0
    norm: Norm
    dropout: float

    def __call__(self, tokens: Tokens) -> Tensor:
        """(T, H) embeddings."""
        types = self.types[0] if tokens.types is None else F.embedding(tokens.types, self.types)
        words = F.embedding(tokens.ids, self.words, self.padding) + types
        places = self.places(tokens) if tokens.places is None else tokens.places
        places = F.embedding(places, self.positions, self.padding if self.roberta else None)
        rows = self.norm(words + places)
        return F.dropout(rows, self.dropout) if self.dropout else rows

    def places(self, tokens: Tokens) -> Tensor:
        """(T,) row of the position embeddings for every token."""
        ids, starts = tokens.ids, tokens.bounds[:-1]
        lengths = tokens.bounds.diff()

        def of_tokens(values: Tensor) -> Tensor:
            return values.repeat_interleave(lengths, output_size=len(ids))  # nothing is read back from the device

        if not self.roberta:
            return torch.arange(len(ids), device=ids.device) - of_tokens(starts)
        assert self.padding is not None
        real = (ids != self.padding).long()
        before = F.pad(real.cumsum(0), (1, 0))
        return (before[1:] - of_tokens(before[starts])) * real + self.padding


class Tokens(NamedTuple):
    """Packed sequences: ids (T,), bounds (S+1,), and the lengths between the bounds as plain numbers.

    Rows of the type and position embeddings are (T,); None for the first type, and for positions counted here.
    """

    ids: Tensor
    bounds: Tensor
    lengths: Sequence[int]
    types: Tensor | None = None
    places: Tensor | None = None


class Program(NamedTuple):
    """A network as it stands at one moment: weights by reference, dropout by value. Made by `lower`."""

    embeddings: Embeddings
    layers: tuple[Layer, ...]

    def run(self, tokens: Tokens, wanted: Sequence[int]) -> list[Tensor]:
        """Hidden states (T, H) after each of the ``wanted`` layers; 0 is the embedding output."""
        x = self.embeddings(tokens)
        states = [x]
        for layer in self.layers[: max(wanted)]:
            x = layer(x, tokens)
            states.append(x)
        return [states[number] for number in wanted]

    def first(self, tokens: Tokens) -> Tensor:
        """(S, H) last hidden states of the first token of every sequence; equal to those of `run`."""
        x = self.embeddings(tokens)
        for layer in self.layers[:-1]:
            x = layer(x, tokens)
        return self.layers[-1].first(x, tokens)


def packed_linear(parts: Sequence[Linear]) -> Linear:
    """Several layers that read the same input as one, their outputs side by side.

    The weights are joined anew in every pass: next to the product that costs nothing that can be measured, gradients
    reach the parts, and no stale copy can exist.
    """
    first_columns = [sum(len(part.weight) for part in parts[:number]) for number in range(len(parts))]
    updates = tuple(
        update._replace(column=column)
        for part, column in zip(parts, first_columns, strict=True)
        for update in part.updates
    )
    biases = [part.bias for part in parts if part.bias is not None]
    bias = torch.cat(biases) if len(biases) == len(parts) else None
    return Linear(torch.cat([part.weight for part in parts]), bias, updates)
