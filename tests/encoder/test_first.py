"""First tokens alone equal the same rows of the whole pass, with their gradients."""

from __future__ import annotations

import pytest
import torch

from adaptxfer.encoder.first import encode_first
from adaptxfer.encoder.forward import encode
from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.packed import packed_encode
from tests.encoder.setups import SETUPS, distance, furthest, lora, plain, results, tokens


def first_rows(network, ids, bounds):
    return encode(network, ids, bounds)[bounds[:-1]]


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("lengths", [(5,), (3, 3, 3), (9, 2, 20, 5)])
def test_equal_to_the_library(setup, lengths):
    network = plain()
    chosen = SETUPS[setup](network)
    network.double().train()
    batch = tokens(lengths)
    expected, expected_gradients = results(network, chosen, first_rows, *batch)
    found, gradients = results(network, chosen, encode_first, *batch)
    assert found.shape == (len(lengths), 32)
    assert distance(found, expected) < 1e-13
    assert furthest(gradients, expected_gradients) < 1e-12


@pytest.mark.parametrize("where", ["encoder", "module"])
def test_dropout_is_drawn_as_in_the_whole_pass(where):
    network = plain(dropout=0.1 if where == "encoder" else 0.0)
    lora(network, lora_dropout=0.1 if where == "module" else 0.0)
    network.train()
    ids, bounds = tokens((9, 2, 20, 5))
    torch.manual_seed(7)
    expected = packed_encode(network, ids, bounds)[bounds[:-1]]
    torch.manual_seed(7)
    assert torch.equal(encode_first(network, ids, bounds), expected)


def test_a_network_without_a_program():
    network = plain(position_embedding_type="relative_key")
    batch = tokens((9, 2, 20, 5))
    assert isinstance(lower(network), str)
    assert torch.equal(encode_first(network, *batch), first_rows(network, *batch))
