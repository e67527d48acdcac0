"""Twins in one forward pass: each gives the hidden states and gradients it gives by itself, dropout included."""

from __future__ import annotations

import pytest
import torch
from adapters.composition import Fuse, Stack

from adaptxfer.encoder.first import encode_first
from adaptxfer.encoder.packed import encode_auto
from adaptxfer.encoder.together import Together, twin
from adaptxfer.kernels.grouped import Stream
from tests.encoder.setups import bottlenecks, distance, lora, plain, tokens
from tests.tiny import randomise

KINDS = {
    "seq_bn": lambda network: bottlenecks(network, "seq_bn", "a", "a"),
    "seq_bn dropout": lambda network: bottlenecks(network, "seq_bn", "a", "a", dropout=0.2),
    "double_seq_bn": lambda network: bottlenecks(network, "double_seq_bn", "a", "a"),
    "par_bn": lambda network: bottlenecks(network, "par_bn", "a", "a"),
    "stack": lambda network: bottlenecks(network, "seq_bn", "ab", Stack("a", "b")),
    "fuse": lambda network: bottlenecks(network, "seq_bn", "ab", Fuse("a", "b")),
    "lora": lambda network: lora(network),
    "lora dropout": lambda network: lora(network, lora_dropout=0.2),
    "lora on all": lambda network: lora(network, ("one", "two"), target_modules=["query", "value", "dense"]),
}
MIXES = [[kind] * 3 for kind in KINDS] + [["seq_bn", "stack", "fuse"], ["par_bn", "seq_bn", "double_seq_bn"]]


def made(kinds, **changed):
    """Twins of one network with a module each, and their weights that train."""
    network = plain(**changed).double().train()
    networks = [twin(network) for _ in kinds]
    trained = []
    for number, (kind, own) in enumerate(zip(kinds, networks, strict=True)):
        trained.append(KINDS[kind](own))
        randomise(trained[-1], number)
        own.double().train()
    return networks, trained


def batches():
    return [tokens(lengths, seed) for seed, lengths in enumerate(((4, 7, 4), (9,), (5, 3)))]


def gradients(states, trained):
    loss = sum((state * torch.linspace(-1, 1, state.shape[1]).to(state)).square().sum() for state in states)
    return torch.autograd.grad(loss, [p for own in trained for p in own.values()])


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("kinds", MIXES, ids=" ".join)
def test_equal_to_each_by_itself(kinds, dropout, caplog):
    networks, trained = made(kinds, dropout=dropout)
    expected = []
    for seed, (network, batch) in enumerate(zip(networks, batches(), strict=True)):
        torch.manual_seed(seed)
        expected.append(encode_auto(network, *batch))
    together = Together(networks, [Stream(seed) for seed in range(3)])
    assert together.programs
    found = together.encode(range(3), batches())
    for one, other in zip(found, expected, strict=True):
        assert distance(one.detach(), other.detach()) < 1e-12
    pairs = zip(gradients(found, trained), gradients(expected, trained), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_some_of_them():
    networks, _ = made(["seq_bn"] * 3)
    together = Together(networks, [Stream(0)] * 3)
    (found,) = together.encode([2], batches()[:1])
    assert distance(found.detach(), encode_auto(networks[2], *batches()[0]).detach()) < 1e-12


def test_frozen_weights_exist_once():
    networks, trained = made(["seq_bn", "lora", "seq_bn"])
    ids = [{id(p) for p in network.parameters()} for network in networks]
    own = [{id(p) for p in weights.values()} for weights in trained]
    assert ids[0] - own[0] == ids[1] - own[1] == ids[2] - own[2]
    assert not own[0] & own[2]


def test_without_a_program_each_runs_by_itself(caplog):
    networks, _ = made(["seq_bn"] * 2, dropout=0.1)
    for network in networks:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    together = Together(networks, [Stream(0), Stream(1)])
    assert not together.programs
    found = together.encode([0, 1], batches()[:2])
    for seed, (network, batch, state) in enumerate(zip(networks, batches()[:2], found, strict=True)):
        torch.manual_seed(seed)
        assert distance(state.detach(), encode_auto(network, *batch).detach()) < 1e-12


def test_other_networks_are_not_joined(caplog):
    networks = [made(["seq_bn"], seed=seed)[0][0] for seed in (0, 1)]
    assert not Together(networks, [Stream(0)] * 2).programs
    assert "different weights" in caplog.text
    full = plain().train()
    assert not Together([full, twin(full)], [Stream(0)] * 2).programs
    assert "itself train" in caplog.text


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("first", [(True, True, True), (True, False, True)])
def test_among_other_runs(first, dropout):
    networks, trained = made(["seq_bn", "lora", "seq_bn"], dropout=dropout)
    expected = []
    for seed, (network, batch, alone) in enumerate(zip(networks, batches(), first, strict=True)):
        torch.manual_seed(seed)
        expected.append((encode_first if alone else encode_auto)(network, *batch))
    found = Together(networks, [Stream(seed) for seed in range(3)]).encode(range(3), batches(), first)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and distance(one.detach(), other.detach()) < 1e-12
    for one, other in zip(gradients(found, trained), gradients(expected, trained), strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)
