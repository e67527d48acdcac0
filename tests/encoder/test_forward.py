"""Packed sequences through the encoder give what each sequence gives alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from adaptxfer.encoder import encode, encode_layers, mean_pool, pad_packed, sequence_mask
from tests.tiny import packed


@pytest.fixture(scope="module")
def network(tiny_encoder):
    return tiny_encoder.network


@torch.no_grad()
def test_packed_equals_one_at_a_time(network):
    ids, bounds = packed((7, 4, 9, 1))
    together = encode(network, ids, bounds)
    assert together.shape == (21, 32)
    for start, end in pairwise(bounds.tolist()):
        alone = network(input_ids=ids[None, start:end]).last_hidden_state[0]
        torch.testing.assert_close(together[start:end], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_equal_lengths_need_no_mask(network):
    ids, bounds = packed((6, 6))
    seen = {}

    def remember(_module, _inputs, options):
        seen.update(options)

    handle = network.register_forward_pre_hook(remember, with_kwargs=True)
    together = encode(network, ids, bounds)
    handle.remove()
    assert seen["attention_mask"] is None
    alone = encode(network, ids[6:], torch.tensor([0, 6]))
    torch.testing.assert_close(together[6:], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_layers(network):
    ids, bounds = packed()
    embedded, last = encode_layers(network, ids, bounds, [0, 2])
    torch.testing.assert_close(last, encode(network, ids, bounds), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(embedded[:7], network.embeddings(input_ids=ids[None, :7])[0])


def test_mask_and_padding():
    bounds = torch.tensor([0, 2, 5])
    assert sequence_mask(bounds).tolist() == [[True, True, False], [True, True, True]]
    assert pad_packed(torch.arange(5.0), bounds, -1.0).tolist() == [[0, 1, -1], [2, 3, 4]]
    assert pad_packed(torch.ones(5, 2), bounds, 0.0).shape == (2, 3, 2)


def test_mean_pool():
    hidden, bounds = torch.randn(16, 4), torch.tensor([0, 3, 4, 16])
    expected = torch.stack([hidden[0:3].mean(0), hidden[3], hidden[4:].mean(0)])
    torch.testing.assert_close(mean_pool(hidden, bounds), expected)
