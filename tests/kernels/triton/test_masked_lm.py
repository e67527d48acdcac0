from __future__ import annotations

import pytest
import torch

from adaptxfer.kernels.reference.masked_lm import IGNORE, MaskedLm
from tests.kernels.triton.against import DTYPES, agree, distance, draw


def plain(labels):
    return lambda rows, weight, bias=None: MaskedLm.apply(rows, labels, weight, bias, 1, True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("count", "words", "chunks"), [(1, 50, 1), (7, 4096, 2), (13, 9001, 3)])
def test_equals_torch(device, dtype, count, words, chunks):
    from adaptxfer.kernels.triton.masked_lm import masked_lm_loss

    labels = torch.randint(words, (count,), device=device)
    labels[0] = words - 1
    inputs = draw(device, dtype, (count, 64), (words, 64), (words,), scale=0.3)
    agree(lambda r, w, b: masked_lm_loss(r, labels, w, b, chunks), plain(labels), inputs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_without_a_label(device, dtype):
    from adaptxfer.kernels.triton.masked_lm import masked_lm_loss

    labels = torch.tensor([5, IGNORE, 69, IGNORE, 0], device=device)
    rows, weight, bias = (t.requires_grad_() for t in draw(device, dtype, (5, 64), (70, 64), (70,), scale=0.3))
    found, expected = (
        [loss.detach(), *torch.autograd.grad(loss, (rows, weight, bias))]
        for loss in (
            masked_lm_loss(rows, labels, weight, bias, 2),
            masked_lm_loss(rows[::2], labels[::2], weight, bias, 2),
        )
    )
    assert not found[1][1::2].any()
    for one, other in zip(found, expected, strict=True):
        assert distance(one, other.double()) < (1e-6 if dtype == torch.float32 else 4e-3)


def test_frozen_decoder_without_bias(device):
    from adaptxfer.kernels.triton.masked_lm import masked_lm_loss

    labels = torch.tensor([0, 99], device=device)
    inputs = draw(device, torch.float32, (2, 64), (100, 64))
    agree(lambda r, w: masked_lm_loss(r, labels, w, None, 1), plain(labels), inputs, frozen=[1])


def test_large_logits_and_nan(device):
    from adaptxfer.kernels.triton.masked_lm import cross_entropy_rows

    logits = torch.full((3, 70), 3e4, device=device)
    logits[1, 3], logits[2] = torch.nan, -torch.inf
    logits[2, 5] = 1.0
    loss = cross_entropy_rows(logits, None, torch.tensor([0, 1, 5], device=device), True)
    assert loss[0].item() == pytest.approx(torch.tensor(70.0).log().item(), rel=1e-4)
    assert loss[1].isnan() and loss[2] == 0
    assert logits[2].abs().max() == 0 and logits[0].sum().abs() < 1e-5


def test_one_graph_under_compile(device):
    from adaptxfer.kernels.triton.masked_lm import masked_lm_loss

    rows, weight = draw(device, torch.float32, (5, 64), (90, 64))
    labels = torch.arange(5, device=device)
    rows.requires_grad_()
    run = torch.compile(lambda r: masked_lm_loss(r, labels, weight, None, 2) * 0.5, backend="aot_eager", fullgraph=True)
    (grad,) = torch.autograd.grad(run(rows), rows)
    (expected,) = torch.autograd.grad(plain(labels)(rows, weight) * 0.5, rows)
    assert torch.allclose(grad, expected, atol=1e-5)
