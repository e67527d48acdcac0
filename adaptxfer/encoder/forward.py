"""Hidden states for packed sequences: the one place where tokens meet the base model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def encode(network: nn.Module, ids: Tensor, bounds: Tensor) -> Tensor:
    """Run the encoder over packed sequences.

    Args:
        network: the base model, with whatever modules are attached to it.
        ids: (T,) token ids of all sequences one after the other, special tokens included.
        bounds: (S+1,) where each sequence starts; ``bounds[-1] == T``.

    Returns:
        (T, width) hidden states of the last layer in packed order.
    """
    mask, padded, attention = _padded(network, ids, bounds)
    return network(input_ids=padded, attention_mask=attention).last_hidden_state[mask]


def encode_layers(network: nn.Module, ids: Tensor, bounds: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """As `encode`, but the hidden states of several layers; 0 is the embedding output."""
    mask, padded, attention = _padded(network, ids, bounds)
    states = network(input_ids=padded, attention_mask=attention, output_hidden_states=True).hidden_states
    return [states[layer][mask] for layer in layers]


def _padded(network: nn.Module, ids: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    mask = sequence_mask(bounds)
    padded = ids.new_full(mask.shape, network.config.pad_token_id)  # type: ignore[union-attr]
    padded[mask] = ids
    # Without padding no mask is needed, and attention can take its fast path.
    return mask, padded, None if bool(mask.all()) else mask.long()


def sequence_mask(bounds: Tensor) -> Tensor:
    """(S, longest) True where a padded layout holds a real token."""
    import torch

    lengths = bounds.diff()
    return torch.arange(int(lengths.max()), device=bounds.device)[None, :] < lengths[:, None]


def pad_packed(values: Tensor, bounds: Tensor, fill: float, longest: int | None = None) -> Tensor:
    """(T, ...) packed values as (S, longest, ...), ``fill`` where there is no token.

    With ``longest`` given nothing is read back from the device.
    """
    import torch

    lengths = bounds.diff()
    width = int(lengths.max()) if longest is None else longest
    rows = torch.arange(len(lengths), device=bounds.device).repeat_interleave(lengths, output_size=len(values))
    places = torch.arange(len(values), device=bounds.device) - bounds[rows]
    padded = values.new_full((len(lengths), width, *values.shape[1:]), fill)
    return padded.index_put((rows, places), values)


def mean_pool(hidden: Tensor, bounds: Tensor) -> Tensor:
    """(S, width) mean over all tokens of each sequence, special tokens included (XTREME's sentence vector)."""
    import torch

    lengths = bounds.diff()
    index = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), lengths)
    sums = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add_(0, index, hidden)
    return sums / lengths[:, None].to(hidden.dtype)
