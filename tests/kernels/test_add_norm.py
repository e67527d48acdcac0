"""Dropout, addition and LayerNorm."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from adaptxfer.kernels.add_norm import add_norm
from adaptxfer.kernels.parts import Norm, draw_mask, masked
from tests.kernels.helpers import assert_equal, leaves, outcome


def test_equal_to_the_formula():
    h, x, gamma, beta = tensors = leaves((7, 16), (7, 16), 16, 16)

    def by_hand():
        s = h + x
        return (s - s.mean(1, keepdim=True)) / (s.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt() * gamma + beta

    assert_equal(outcome(lambda: add_norm(h, x, Norm(gamma, beta, 1e-5)), tensors), outcome(by_hand, tensors))


def test_a_frozen_norm_gets_nothing():
    h, x, gamma, beta = leaves((7, 16), (7, 16), 16, 16)
    gamma.requires_grad_(False), beta.requires_grad_(False)
    add_norm(h, x, Norm(gamma, beta, 1e-5)).sum().backward()
    assert gamma.grad is None and beta.grad is None and h.grad is not None


def test_dropout_is_on_h_alone():
    h, x, gamma, beta = leaves((50, 16), (50, 16), 16, 16)
    norm = Norm(gamma, beta, 1e-5)
    torch.manual_seed(4)
    found = add_norm(h, x, norm, 0.5)
    torch.manual_seed(4)
    assert torch.equal(found, norm(F.dropout(h, 0.5) + x))
    assert torch.equal(add_norm(h, x, norm, 1.0), norm(x))


def test_masks():
    torch.manual_seed(0)
    mask = draw_mask(torch.empty(1000, 100), 0.2)
    assert set(mask.unique().tolist()) == {0.0, 1.25}
    assert abs(float(mask.mean()) - 1.0) < 0.01
    assert draw_mask(torch.empty(3), 0.0) is None and draw_mask(torch.empty(3), 1.0).tolist() == [0, 0, 0]
    rows = torch.randn(3, 2)
    assert masked(rows, None) is rows
