"""The library's own forward pass and gradients against the packed encoder on kernels."""

from __future__ import annotations

import pytest
import torch

from adaptxfer.encoder.forward import encode
from adaptxfer.encoder.packed import packed_encode
from adaptxfer.kernels.dispatch import using
from tests.encoder.setups import SETUPS, plain

SIZES = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}


@pytest.mark.parametrize("setup", ["seq_bn", "double_seq_bn", "par_bn", "stack", "fuse", "lora on all"])
def test_equals_the_library(device, setup):
    network = plain(**SIZES)
    weights = SETUPS[setup](network)
    network.to(device)
    ids = torch.randint(4, 1000, (23,), device=device)
    bounds = torch.tensor([0, 5, 12, 23], device=device)
    expected = encode(network, ids, bounds)
    direction = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, list(weights.values()), direction, allow_unused=True)
    with using("triton"):
        found = packed_encode(network, ids, bounds)
    grads = torch.autograd.grad(found, list(weights.values()), direction, allow_unused=True)
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    largest = max(grad.norm() for grad in wanted if grad is not None)
    for name, one, other in zip(weights, grads, wanted, strict=True):
        assert (one is None) == (other is None), name
        if one is not None and other is not None:
            assert (one - other).norm() <= 1e-5 * other.norm() + 1e-6 * largest, name
