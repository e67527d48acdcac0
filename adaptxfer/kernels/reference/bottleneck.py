"""Residual bottlenecks between an addition and a LayerNorm, keeping one (T, H) tensor for the backward pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adaptxfer.kernels.parts import activate, activate_backward, masked

PER_ADAPTER = 5
"""Tensors each adapter brings along: down, down_bias, up, up_bias and the dropout mask (or None)."""


class Setup(NamedTuple):
    """What is not a tensor."""

    reads: str  # sum: LN(h + x); sublayer: h; input: x
    acts: tuple[str, ...]
    scales: tuple[float, ...]
    eps: float


class Bottlenecks(torch.autograd.Function):
    """out = LN(s_n) with s_0 = h + x and s_i = s_(i-1) + mask_i * u_i(z_i); see `adaptxfer.kernels.bottleneck`.

    Kept for the backward pass: s_0, the narrow pre-activations, four statistics a row, and h or x where adapters read
    them. The sums s_i, z_i and the activations are computed again.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, setup: Setup, *weights: Tensor | None):
        """(T, H) from h and x, both (T, H); ``PER_ADAPTER`` weights for each adapter."""
        s = first = h + x
        source = {"sum": None, "sublayer": h, "input": x}[setup.reads]
        inner, statistics = [], []
        for number, (down, down_bias, up, up_bias, mask) in enumerate(_grouped(weights)):
            z = source
            if z is None:
                z, *moments = torch.native_layer_norm(s, gamma.shape, gamma, beta, setup.eps)
                statistics += moments
            a = torch.addmm(down_bias, z, down.t())
            s = s + _update(a, up, up_bias, mask, setup, number)
            inner.append(a)
        out, *moments = torch.native_layer_norm(s, gamma.shape, gamma, beta, setup.eps)
        ctx.setup, ctx.count = setup, len(inner)
        ctx.save_for_backward(first, source, gamma, beta, *weights, *inner, *statistics, *moments)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        """Gradients of h, x, the norm if it trains, and the adapters."""
        first, source, gamma, beta, *rest = ctx.saved_tensors
        n, setup = ctx.count, ctx.setup
        adapters, rest = _grouped(rest[: n * PER_ADAPTER]), rest[n * PER_ADAPTER :]
        inner, statistics = rest[:n], rest[n:]
        sums = [first]
        for number, (_, _, up, up_bias, mask) in enumerate(adapters):
            sums.append(sums[-1] + _update(inner[number], up, up_bias, mask, setup, number))
        needs_norm = ctx.needs_input_grad[2]
        ds, dgamma, dbeta = _norm_backward(grad, sums[n], statistics[-2:], gamma, beta, needs_norm)
        dsource: Tensor | None = None
        gradients: list[Tensor | None] = []
        for i in reversed(range(n)):
            moments = statistics[2 * i : 2 * i + 2]
            z = source if source is not None else _normalised(sums[i], moments, gamma, beta)
            needs = ctx.needs_input_grad[5 + i * PER_ADAPTER : 5 + (i + 1) * PER_ADAPTER]
            dz, own = _adapter_backward(ds, z, inner[i], adapters[i], setup, i, needs)
            gradients = own + gradients
            if source is not None:
                dsource = dz if dsource is None else dsource + dz
                continue
            through, more_gamma, more_beta = _norm_backward(dz, sums[i], moments, gamma, beta, needs_norm)
            ds = ds + through
            if needs_norm:
                dgamma, dbeta = dgamma + more_gamma, dbeta + more_beta
        dh = ds if setup.reads != "sublayer" else ds + dsource
        dx = ds if setup.reads != "input" else ds + dsource
        return dh, dx, dgamma, dbeta, None, *gradients


def _grouped(weights: Any) -> list[Any]:
    return [weights[start : start + PER_ADAPTER] for start in range(0, len(weights), PER_ADAPTER)]


def _update(a: Tensor, up: Tensor, up_bias: Tensor, mask: Tensor | None, setup: Setup, number: int) -> Tensor:
    """Mask * scale * (up act(a) + up_bias)."""
    scale = setup.scales[number]
    u = torch.addmm(up_bias, activate(a, setup.acts[number]), up.t(), beta=scale, alpha=scale)
    return masked(u, mask)


def _normalised(s: Tensor, moments: list[Tensor], gamma: Tensor, beta: Tensor) -> Tensor:
    mean, rstd = moments
    return torch.addcmul(beta, ((s - mean) * rstd).to(s.dtype), gamma)


def _norm_backward(grad: Tensor, s: Tensor, moments: list[Tensor], gamma: Tensor, beta: Tensor, needs: bool) -> Any:
    mask = [True, needs, needs]
    return torch.ops.aten.native_layer_norm_backward(grad, s, list(gamma.shape), *moments, gamma, beta, mask)


def _adapter_backward(
    ds: Tensor, z: Tensor, a: Tensor, weights: Any, setup: Setup, number: int, needs: Any
) -> tuple[Tensor, list[Tensor | None]]:
    """Gradient of z, and those of down, down_bias, up, up_bias and the mask (always None)."""
    down, _, up, _, mask = weights
    act, scale = setup.acts[number], setup.scales[number]
    du = masked(ds, mask)
    da = activate_backward((du @ up).mul_(scale), a, act)
    gradients = [
        da.t() @ z if needs[0] else None,
        da.sum(0) if needs[1] else None,
        (du.t() @ activate(a, act)).mul_(scale) if needs[2] else None,
        du.sum(0).mul_(scale) if needs[3] else None,
        None,
    ]
    return da @ down, gradients
