"""Several networks over one frozen encoder in one forward pass: what they share runs once over all their rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from adaptxfer.encoder.first import encode_first, in_order
from adaptxfer.encoder.held import in_its_precision
from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.packed import Rearranged, encode_auto, say_once, sort_by_length
from adaptxfer.encoder.program import Ending, Layer, Linear, Program, Tokens, packed_linear
from adaptxfer.kernels.attention import first_token_attention, varlen_attention
from adaptxfer.kernels.gelu import gelu
from adaptxfer.kernels.grouped import Groups, Stream, grouped_bottleneck, grouped_dropout, grouped_lora_linear
from adaptxfer.kernels.parts import activate


def twin(network: nn.Module) -> nn.Module:
    """A copy with the same weights but layers of its own: what is attached to it is nowhere else, what is frozen is.

    Memory for the weights is needed once, however many twins there are.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared)


class Together:
    """Twins with modules of their own, as they stand: their active modules, training (dropout) or not.

    Where they have no program, or share too little, each runs by itself, with the reason logged once.

    Args:
        networks: made by `twin`.
        streams: the random numbers of each.
    """

    def __init__(self, networks: Sequence[nn.Module], streams: Sequence[Stream]) -> None:
        self.networks, self.streams = networks, streams
        found = [lower(network) for network in networks]
        self.programs = [program for program in found if isinstance(program, Program)]
        reasons = [reason for reason in found if isinstance(reason, str)] or [_difference(self.programs)]
        if reasons[0]:
            say_once(reasons[0])
            self.programs = []

    def encode(
        self, chosen: Sequence[int], batches: Sequence[tuple[Tensor, Tensor]], first: Sequence[bool] = ()
    ) -> list[Tensor]:
        """Hidden states of the last layer, for each batch (T, width) in its packed order or (S, width).

        Args:
            chosen: the networks that take part, by number.
            batches: for each of them ids (T,) and bounds (S+1,), as `adaptxfer.encoder.forward.encode` takes them.
            first: for each of them whether the first token of every sequence is enough, as `encode_first` gives it.
        """
        first = first or [False] * len(chosen)
        streams = [self.streams[number] for number in chosen]
        if self.programs:
            return _run(self.networks[0], [self.programs[number] for number in chosen], streams, batches, first)
        found = []
        for number, stream, (ids, bounds), alone in zip(chosen, streams, batches, first, strict=True):
            with stream.turn():
                found.append((encode_first if alone else encode_auto)(self.networks[number], ids, bounds))
        return found


def _difference(programs: Sequence[Program]) -> str:
    """Why these programs cannot share their frozen part; empty if they can."""
    for parts in zip(*map(_frozen, programs), strict=True):
        if any(isinstance(part, Tensor) and part.requires_grad for part in parts):
            return "weights of the encoder itself train"
        if any(part is not parts[0] and (isinstance(part, Tensor) or part != parts[0]) for part in parts):
            return "the networks have different weights"
    return ""


def _frozen(program: Program) -> Iterator[Any]:
    """All weights and numbers of a program but its modules."""
    for value in (program.embeddings, *(part for layer in program.layers for part in layer)):
        if isinstance(value, Linear):
            value = value._replace(updates=())
        elif isinstance(value, Ending):
            value = value._replace(fusions=(), adapters=(), reads="")
        yield from _flat(value)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for part in value:
            yield from _flat(part)
    else:
        yield value


@in_its_precision
def _run(
    network: nn.Module,
    programs: Sequence[Program],
    streams: Sequence[Stream],
    batches: Sequence[tuple[Tensor, Tensor]],
    first: Sequence[bool],
) -> list[Tensor]:
    """Sequences are sorted by length within each batch: each run then meets the operations it meets alone."""
    parts, orders = zip(*(sort_by_length(Tokens(ids, bounds, ())) for ids, bounds in batches), strict=True)
    groups = Groups(tuple(len(part.ids) for part in parts), tuple(streams))
    tokens = _joined(parts, groups)
    embeddings = programs[0].embeddings
    x = grouped_dropout(embeddings._replace(dropout=0.0)(tokens), embeddings.dropout, groups)
    *below, last = zip(*(program.layers for program in programs), strict=True)
    for layers in below:
        x = _layer(layers, x, tokens, parts, groups)
    states = _last(last, x, parts, groups, first)
    if torch.is_autocast_enabled(x.device.type):
        states = [state.float() for state in states]
    ordered = zip(states, parts, orders, first, strict=True)
    return [in_order(state, part, order) if alone else _in_order(state, order) for state, part, order, alone in ordered]


def _in_order(rows: Tensor, order: Tensor | None) -> Tensor:
    return rows if order is None else Rearranged.apply(rows, order.argsort(), order)


def _last(
    layers: Sequence[Layer], x: Tensor, parts: Sequence[Tokens], groups: Groups, first: Sequence[bool]
) -> list[Tensor]:
    """The last layer, of some groups for the first token of each sequence; groups of one sort share its operations."""
    states, blocks = [x] * len(parts), x.split(groups.sizes)
    short = [alone and not layer.draws() for alone, layer in zip(first, layers, strict=True)]
    for sort, run in ((False, _layer), (True, _first_layer)):
        those = [number for number, found in enumerate(short) if found is sort]
        if not those:
            continue
        own = [parts[number] for number in those]
        members = Groups(tuple(groups.sizes[n] for n in those), tuple(groups.streams[n] for n in those))
        rows = x if len(those) == len(parts) else torch.cat([blocks[number] for number in those])
        out = run([layers[number] for number in those], rows, _joined(own, members), own, members)
        sizes = [len(part.lengths) if sort else len(part.ids) for part in own]
        for number, state in zip(those, out.split(sizes), strict=True):
            states[number] = state[parts[number].bounds[:-1]] if first[number] and not sort else state
    return states


def _joined(parts: Sequence[Tokens], groups: Groups) -> Tokens:
    starts = [0, *torch.tensor(groups.sizes).cumsum(0).tolist()]
    bounds = [part.bounds[:-1] + start for part, start in zip(parts, starts, strict=False)]
    return Tokens(
        torch.cat([part.ids for part in parts]),
        torch.cat([*bounds, parts[0].bounds.new_tensor(starts[-1:])]),
        [length for part in parts for length in part.lengths],
    )


def _layer(layers: Sequence[Layer], x: Tensor, tokens: Tokens, parts: Sequence[Tokens], groups: Groups) -> Tensor:
    """As `adaptxfer.encoder.program.Layer`, each group with the modules of its own network."""
    first = layers[0]
    packed = packed_linear((first.query, first.key, first.value))
    updates = [packed_linear((layer.query, layer.key, layer.value)).updates for layer in layers]
    qkv = grouped_lora_linear(x, packed.weight, packed.bias, groups, updates)
    return _rest(layers, _attention(first, qkv, tokens, parts, groups), x, groups)


def _first_layer(layers: Sequence[Layer], x: Tensor, tokens: Tokens, parts: Sequence[Tokens], groups: Groups) -> Tensor:
    """As `adaptxfer.encoder.program.Layer.first`."""
    first, rows = layers[0], x.index_select(0, tokens.bounds[:-1])
    own = groups._replace(sizes=tuple(len(part.lengths) for part in parts))
    packed = packed_linear((first.key, first.value))
    updates = [packed_linear((layer.key, layer.value)).updates for layer in layers]
    kv = grouped_lora_linear(x, packed.weight, packed.bias, groups, updates)
    q = _linear([layer.query for layer in layers], rows, own)
    mixed = first_token_attention(q, kv, tokens.bounds, tokens.lengths, first.heads)
    return _rest(layers, mixed, rows, own)


def _rest(layers: Sequence[Layer], mixed: Tensor, x: Tensor, groups: Groups) -> Tensor:
    first, mixed = layers[0], _linear([layer.mixed for layer in layers], mixed, groups)
    x = _ending([layer.after_attention for layer in layers], mixed, x, groups)
    wide = _linear([layer.widen for layer in layers], x, groups)
    wide = gelu(wide) if first.act == "gelu" else activate(wide, first.act)
    narrow = _linear([layer.narrow for layer in layers], wide, groups)
    return _ending([layer.after_feed_forward for layer in layers], narrow, x, groups)


def _linear(parts: Sequence[Linear], x: Tensor, groups: Groups) -> Tensor:
    return grouped_lora_linear(x, parts[0].weight, parts[0].bias, groups, [part.updates for part in parts])


def _attention(layer: Layer, qkv: Tensor, tokens: Tokens, parts: Sequence[Tokens], groups: Groups) -> Tensor:
    if not layer.attention_dropout:
        return varlen_attention(qkv, tokens.bounds, tokens.lengths, layer.heads)
    own = [
        partial(varlen_attention, bounds=t.bounds, lengths=t.lengths, heads=layer.heads, p=layer.attention_dropout)
        for t in parts
    ]
    return groups.each(own, qkv)


def _ending(endings: Sequence[Ending], h: Tensor, x: Tensor, groups: Groups) -> Tensor:
    first = endings[0]
    busy = [bool(ending.adapters or ending.fusions) for ending in endings]
    if not any(busy) and not first.dropout:
        return first(h, x)
    if all(e.adapters and not e.fusions and e.reads == first.reads for e in endings):
        return grouped_bottleneck(h, x, first.norm, groups, [e.adapters for e in endings], first.reads, first.dropout)
    return groups.each(endings, h, x)
