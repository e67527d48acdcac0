"""The kernels as operations of torch: what they declare holds, and compilation finds nothing to stop at."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.program import Tokens
from adaptxfer.kernels import dispatch
from adaptxfer.kernels.dispatch import OPERATIONS, using
from tests.encoder.setups import SETUPS, plain, tokens

EXPECTED = {
    "add_norm": {"add_norm", "add_norm_backward"},
    "gelu": {"gelu", "gelu_backward"},
    "masked_lm": {"masked_lm"},
    "bottleneck": {"bottleneck", "bottleneck_backward"},
    "fusion": {"fusion_mix", "fusion_mix_backward"},
    "lora_linear": {"lora_shrink", "lora_spread", "lora_gradients"},
    "grouped_bottleneck": {"bottleneck", "bottleneck_backward"},
    "grouped_lora_linear": {"lora_shrink", "lora_spread", "lora_gradients"},
}


class Calls(TorchDispatchMode):
    """Remembers the operations of ours that are called, with their arguments."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "adaptxfer":
            self.seen.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("op", OPERATIONS)
def test_schema_and_shapes_without_data(device, op):
    from adaptxfer.kernels.triton.self_check import CASES

    fast, _, inputs = CASES[op]()
    leaves = [t.to(device).requires_grad_() if t.is_floating_point() else t.to(device) for t in inputs]
    with Calls() as calls:
        fast(*leaves).sum().backward()
    assert {func.name().removeprefix("adaptxfer::") for func, _, _ in calls.seen} == EXPECTED[op]
    for func, args, kwargs in calls.seen:
        torch.library.opcheck(func, args, kwargs, test_utils=("test_schema", "test_faketensor"))


def test_an_encoder_on_kernels_is_one_graph(device, monkeypatch):
    monkeypatch.setattr(dispatch, "_fault", lambda *_: "")  # checked elsewhere
    network = plain(hidden_size=64, num_hidden_layers=1)
    weights = list(SETUPS["stack"](network).values())
    program, lengths = lower(network.to(device).train()), (2, 3)

    def run(ids, bounds):
        return program.run(Tokens(ids, bounds, lengths), [1])[0]

    batch = [part.to(device) for part in tokens(lengths)]
    with using("triton"):
        expected, found = run(*batch), torch.compile(run, backend="aot_eager", fullgraph=True)(*batch)
    assert torch.equal(found, expected)
    for one, other in zip(
        *(torch.autograd.grad(out.square().sum(), weights) for out in (found, expected)), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
