"""The chunked loss over labelled rows against cross-entropy over all of them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from adaptxfer.kernels import masked_lm
from adaptxfer.kernels.masked_lm import IGNORE, labelled, masked_lm_loss
from tests.kernels.helpers import assert_equal, leaves, outcome


def some_labels(rows, words, share=0.3):
    random = torch.Generator().manual_seed(3)
    labels = torch.randint(words, (rows,), generator=random)
    labels[torch.rand(rows, generator=random) > share] = IGNORE
    return labels


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [7, 20, 1024])
def test_equal_to_cross_entropy(chunk, bias, monkeypatch):
    monkeypatch.setattr(masked_lm, "ROWS", chunk)
    hidden, weight, b = leaves((90, 12), (40, 12), 40)
    labels = some_labels(90, 40)
    offset = b if bias else None
    full = lambda: F.cross_entropy(F.linear(hidden, weight, offset), labels, reduction="sum")  # noqa: E731
    tensors = [hidden, weight, b] if bias else [hidden, weight]
    assert_equal(outcome(lambda: masked_lm_loss(hidden, labels, weight, offset), tensors), outcome(full, tensors))
    rows, kept = labelled(hidden, labels)
    assert len(rows) == len(kept) == int((labels != IGNORE).sum())
    assert_equal(
        outcome(lambda: masked_lm_loss(*labelled(hidden, labels), weight, offset), tensors), outcome(full, tensors)
    )


def test_frozen_decoder_gets_nothing_and_keeps_nothing():
    hidden, weight, bias = leaves((50, 12), (400, 12), 400)
    weight.requires_grad_(False), bias.requires_grad_(False)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        loss = masked_lm_loss(hidden, torch.arange(50), weight, bias)
    loss.backward()
    assert weight.grad is None and bias.grad is None and hidden.grad is not None
    assert max(t.numel() for t in kept) <= hidden.numel()


def test_scaled_loss_and_no_grad():
    hidden, weight = leaves((50, 12), (40, 12))
    (masked_lm_loss(hidden, torch.arange(50) % 40, weight) / 50).backward()
    found = hidden.grad.clone()
    hidden.grad = None
    F.cross_entropy(hidden @ weight.t(), torch.arange(50) % 40).backward()
    torch.testing.assert_close(found, hidden.grad)
    with torch.no_grad():
        value = masked_lm_loss(hidden, torch.arange(50) % 40, weight)
    torch.testing.assert_close(value / 50, F.cross_entropy(hidden @ weight.t(), torch.arange(50) % 40))


def test_nothing_labelled():
    hidden, weight = leaves((5, 12), (40, 12))
    loss = masked_lm_loss(hidden, torch.full((5,), IGNORE), weight)
    loss.backward()
    assert float(loss.detach()) == 0.0 and float(hidden.grad.abs().sum()) == 0.0


def test_sixteen_bits_sum_in_32():
    hidden, weight = leaves((300, 12), (40, 12), dtype=torch.bfloat16)
    loss = masked_lm_loss(hidden, torch.arange(300) % 40, weight)
    exact = F.cross_entropy(hidden.double() @ weight.double().t(), torch.arange(300) % 40, reduction="sum")
    assert loss.dtype == torch.float32 and abs(float(loss.detach() / exact.detach()) - 1) < 1e-3


@pytest.mark.parametrize("where", ["rows", "weight"])
def test_nan_stays_nan(where):
    hidden, weight = (t.detach() for t in leaves((5, 12), (40, 12)))
    {"rows": hidden, "weight": weight}[where][3, 0] = torch.nan
    assert masked_lm_loss(hidden, torch.arange(5), weight).isnan()
