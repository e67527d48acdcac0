"""Bottlenecks against the modules of `adapters` and against autograd."""

from __future__ import annotations

import adapters.methods.modeling as library
import pytest
import torch
from adapters import AdapterConfig
from torch import nn
from torch.nn import functional as F

from adaptxfer.kernels.bottleneck import bottleneck
from adaptxfer.kernels.parts import ACTIVATIONS, Adapter, Norm, activate, activate_backward
from adaptxfer.kernels.reference.bottleneck import Bottlenecks, Setup
from tests.kernels.helpers import assert_equal, kept_per_token, leaves, outcome

KINDS = {"seq_bn": "sum", "double_seq_bn": "sublayer", "par_bn": "input"}


def library_layer(kind, width, **options):
    """A module of the library and its frozen LayerNorm, with weights that do something, in float64."""
    config = AdapterConfig.load(kind, reduction_factor=4, **options)
    made = library.ParallelAdapter if kind == "par_bn" else library.Adapter
    module, norm = made("a", width, width // 4, config).double(), nn.LayerNorm(width).double()
    torch.manual_seed(1)
    for parameter in (*module.parameters(), *norm.parameters()):
        nn.init.normal_(parameter, 0.1, 0.5)
    return module, norm


def record(module) -> Adapter:
    down, up = module.adapter_down[0], module.adapter_up
    act = {"ReLU": "relu", "SiLU": "swish", "GELUActivation": "gelu"}[type(module.non_linearity.f).__name__]
    return Adapter(down.weight, down.bias, up.weight, up.bias, act, module.scaling, 0.0)


def run_library(modules, norm, h, x):
    hidden = h
    for module in modules:
        z, _, residual = module.pre_forward(hidden, x, norm)
        hidden = module(z, residual)[0]
    return modules[-1].post_forward(hidden, h, x, norm)


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "width"), [(1, 16), (37, 16), (5, 64)])
def test_equal_to_the_library(kind, act, rows, width):
    module, norm = library_layer(kind, width, non_linearity=act, scaling=1.7)
    h, x = leaves((rows, width), (rows, width))
    tensors = [h, x, *norm.parameters(), *module.parameters()]
    frozen = Norm(norm.weight, norm.bias, norm.eps)
    expected = outcome(lambda: run_library([module], norm, h, x), tensors)
    assert_equal(outcome(lambda: bottleneck(h, x, frozen, [record(module)], KINDS[kind]), tensors), expected)


@pytest.mark.parametrize("trains_norm", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_stack_equal_to_the_library(count, trains_norm):
    modules = [library_layer("seq_bn", 16, scaling=1.0 + i)[0] for i in range(count)]
    norm = library_layer("seq_bn", 16)[1].requires_grad_(trains_norm)
    h, x = leaves((9, 16), (9, 16))
    tensors = [h, x, *norm.parameters(), *(p for module in modules for p in module.parameters())]
    frozen = Norm(norm.weight, norm.bias, norm.eps)
    expected = outcome(lambda: run_library(modules, norm, h, x), tensors)
    assert_equal(outcome(lambda: bottleneck(h, x, frozen, [record(m) for m in modules]), tensors), expected)


@pytest.mark.parametrize("chosen", [(0,), (1,), (2,), (5,), (4, 7)])
def test_only_what_asks_gets_a_gradient(chosen):
    tensors = leaves((5, 8), (5, 8), 8, 8, (2, 8), 2, (8, 2), 8)
    for number, tensor in enumerate(tensors):
        tensor.requires_grad_(number in chosen)
    h, x, gamma, beta, *weights = tensors
    found = outcome(lambda: bottleneck(h, x, Norm(gamma, beta, 1e-5), [Adapter(*weights, "gelu", 1.0, 0.0)]), tensors)
    assert [number for number, gradient in enumerate(found[1:]) if gradient is not None] == list(chosen)


@pytest.mark.parametrize("reads", ["sum", "sublayer", "input"])
def test_dropout_with_given_masks(reads):
    h, x, gamma, beta, down, down_bias, up, up_bias = tensors = leaves((6, 8), (6, 8), 8, 8, (3, 8), 3, (8, 3), 8)
    mask = torch.tensor([0.0, 2.0], dtype=torch.float64)[torch.randint(2, (6, 8))]

    def composed():
        norm = lambda rows: F.layer_norm(rows, (8,), gamma, beta, 1e-5)  # noqa: E731
        z = {"sum": norm(h + x), "sublayer": h, "input": x}[reads]
        return norm(mask * 1.5 * F.linear(F.silu(F.linear(z, down, down_bias)), up, up_bias) + h + x)

    setup = Setup(reads, ("swish",), (1.5,), 1e-5)
    fused = lambda: Bottlenecks.apply(h, x, gamma, beta, setup, down, down_bias, up, up_bias, mask)  # noqa: E731
    assert_equal(outcome(fused, tensors), outcome(composed, tensors))


@pytest.mark.parametrize("reads", ["sum", "sublayer", "input"])
def test_hidden_dropout_comes_first(reads):
    h, x, gamma, beta, *weights = tensors = leaves((6, 8), (6, 8), 8, 8, (3, 8), 3, (8, 3), 8)
    norm, adapters = Norm(gamma, beta, 1e-5), [Adapter(*weights, "gelu", 1.0, 0.0)]

    def seeded(run):
        torch.manual_seed(3)
        return run()

    found = outcome(lambda: seeded(lambda: bottleneck(h, x, norm, adapters, reads, 0.4)), tensors)
    before = outcome(lambda: seeded(lambda: bottleneck(F.dropout(h, 0.4), x, norm, adapters, reads)), tensors)
    assert_equal(found, before)


def test_rows_with_a_large_mean_stay_accurate():
    h, x, gamma, beta, *weights = leaves((4, 64), (4, 64), 64, 64, (4, 64), 4, (64, 4), 64)
    with torch.no_grad():
        h += 1e3
    run = lambda *t: bottleneck(t[0], t[1], Norm(t[2], t[3], 1e-5), [Adapter(*t[4:], "relu", 1.0, 0.0)])  # noqa: E731
    exact = run(h, x, gamma, beta, *weights)
    single = run(*(t.float() for t in (h, x, gamma, beta, *weights)))
    assert float((single - exact).detach().norm() / exact.detach().norm()) < 1e-3


def test_sixteen_bits_no_worse_than_the_library():
    module, norm = library_layer("seq_bn", 64, non_linearity="swish")
    h, x = leaves((33, 64), (33, 64))
    rounded = [t.bfloat16() for t in (h, x)]
    module16, norm16 = library_layer("seq_bn", 64, non_linearity="swish")
    module16.bfloat16(), norm16.bfloat16()
    for one, other in ((module, module16), (norm, norm16)):
        one.load_state_dict(other.state_dict())
    exact = run_library([module], norm, *(t.double() for t in rounded))
    eager = run_library([module16], norm16, *rounded)
    found = bottleneck(*rounded, Norm(norm16.weight, norm16.bias, norm16.eps), [record(module16)])
    error = [float((t.double() - exact).detach().norm() / exact.detach().norm()) for t in (found, eager)]
    assert found.dtype == torch.bfloat16 and error[0] < 1.1 * error[1] + 1e-4


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_activation_gradients(act):
    (values,) = leaves(50)
    activate(values, act).sum().backward()
    torch.testing.assert_close(
        activate_backward(torch.ones(50, dtype=torch.float64), values.detach(), act), values.grad
    )


def test_only_sums_stack():
    h, x, gamma, beta, *weights = leaves((2, 8), (2, 8), 8, 8, (2, 8), 2, (8, 2), 8)
    with pytest.raises(ValueError, match="stacked"):
        bottleneck(h, x, Norm(gamma, beta, 1e-5), [Adapter(*weights, "relu", 1.0, 0.0)] * 2, "input")


def test_less_is_kept_than_by_the_library():
    module, norm = library_layer("seq_bn", 64)
    norm.requires_grad_(False)
    h, x = leaves((100, 64), (100, 64))
    library = kept_per_token(lambda: run_library([module], norm, h, x)) / 64
    own = kept_per_token(lambda: bottleneck(h, x, Norm(norm.weight, norm.bias, norm.eps), [record(module)])) / 64
    assert own < 1.5 < 2.5 < library
