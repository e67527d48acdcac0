"""The padding-free encoder under torch.compile: one graph, the same numbers."""

from __future__ import annotations

import pytest
import torch

from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.program import Program, Tokens
from tests.encoder.setups import SETUPS, plain, tokens


@pytest.mark.parametrize("setup", ["stack", "fuse", "lora on all"])
def test_one_graph(setup):
    network = plain(num_hidden_layers=1)
    weights = list(SETUPS[setup](network).values())
    program, lengths = lower(network.train()), (5, 5, 9)
    assert isinstance(program, Program)

    def run(ids, bounds):
        return program.run(Tokens(ids, bounds, lengths), [1])[0]

    batch = tokens(lengths)
    expected, found = run(*batch), torch.compile(run, backend="aot_eager", fullgraph=True)(*batch)
    assert torch.equal(found, expected)
    for one, other in zip(
        *(torch.autograd.grad(out.square().sum(), weights) for out in (found, expected)), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
