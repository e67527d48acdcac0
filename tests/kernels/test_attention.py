"""Attention without padding against one sequence at a time."""

from __future__ import annotations

import math

import pytest
import torch

from adaptxfer.kernels import attention
from adaptxfer.kernels.attention import first_token_attention, varlen_attention
from tests.kernels.helpers import assert_equal, leaves, outcome


def by_hand(qkv, lengths, heads):
    """softmax(q k^T / sqrt(size)) v, written out for each sequence and head."""
    parts = []
    for rows in qkv.split(lengths):
        q, k, v = (part.view(len(rows), heads, -1).transpose(0, 1) for part in rows.chunk(3, dim=1))
        weights = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), dim=-1)
        parts.append((weights @ v).transpose(0, 1).reshape(len(rows), -1))
    return torch.cat(parts)


@pytest.mark.parametrize("lengths", [[1], [3, 3, 3], [2, 9, 9, 40, 2], [15, 16, 17]])
@pytest.mark.parametrize("heads", [1, 4])
def test_equal_to_the_formula(lengths, heads):
    (qkv,) = leaves((sum(lengths), 3 * 16))
    bounds = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])
    found = outcome(lambda: varlen_attention(qkv, bounds, lengths, heads), [qkv])
    assert_equal(found, outcome(lambda: by_hand(qkv, lengths, heads), [qkv]))


@pytest.mark.parametrize("lengths", [[1], [3, 3, 3], [2, 9, 9, 40, 2], [15, 16, 17]])
def test_first_tokens_alone(lengths):
    (qkv,) = leaves((sum(lengths), 3 * 16))
    bounds = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])

    def alone():
        return first_token_attention(qkv[bounds[:-1], :16], qkv[:, 16:], bounds, lengths, 4)

    assert_equal(outcome(alone, [qkv]), outcome(lambda: by_hand(qkv, lengths, 4)[bounds[:-1]], [qkv]))


@pytest.mark.parametrize("length", [1, 8, 15, 16, 33])
def test_first_tokens_keep_nan(length):
    q, kv = torch.full((1, 16), torch.nan), torch.randn(length, 32)
    assert first_token_attention(q, kv, torch.tensor([0, length]), [length], 1).isnan().all()


@pytest.mark.parametrize("length", [1, 8, 15, 16, 33])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_nan_stays_nan(length, part):
    torch.manual_seed(0)
    qkv = torch.randn(length, 3 * 16)
    qkv[:, 16 * part] = torch.nan
    mixed = varlen_attention(qkv, torch.tensor([0, length]), [length], 1)
    assert mixed.isnan().any(1).all()


@pytest.mark.parametrize("length", [9, 40, 200])
@pytest.mark.parametrize("autocast", [False, True])
def test_16_bits_stay_near_the_formula(length, autocast):
    torch.manual_seed(0)
    qkv = torch.randn(2 * length, 3 * 16, dtype=torch.bfloat16)
    exact = qkv.double().requires_grad_()
    qkv.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = outcome(lambda: varlen_attention(qkv, torch.tensor([0, length, 2 * length]), [length] * 2, 2), [qkv])
    for one, other in zip(found, outcome(lambda: by_hand(exact, [length] * 2, 2), [exact]), strict=True):
        assert one.dtype == torch.bfloat16 and (one.double() - other).norm() < 0.02 * other.norm()


@pytest.mark.parametrize("length", [8, 20])
def test_dropout(length):
    torch.manual_seed(0)
    qkv = torch.randn(length, 3 * 16).repeat(3000, 1)
    bounds = torch.arange(3001) * length
    exact = varlen_attention(qkv[:length], bounds[:2], [length], 2)
    many = varlen_attention(qkv, bounds, [length] * 3000, 2, 0.4).view(3000, length, 16)
    assert ((many.mean(0) - exact).abs() < 6 * many.std(0) / 3000**0.5).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu(dtype):
    lengths = [3, 17, 64]
    (qkv,) = leaves((sum(lengths), 3 * 128))
    exact = outcome(lambda: by_hand(qkv, lengths, 2), [qkv])
    low = qkv.detach().to("cuda", dtype).requires_grad_()
    bounds = torch.tensor([0, 3, 20, 84], device="cuda")
    found = outcome(lambda: varlen_attention(low, bounds, lengths, 2).double().cpu(), [low])
    found = [value.double().cpu() for value in found]
    assert_equal(found, exact, 1e-2 if dtype == torch.bfloat16 else 1e-4)
    dropped = varlen_attention(low, bounds, lengths, 2, 0.5)
    assert dropped.isfinite().all() and not torch.equal(dropped, varlen_attention(low, bounds, lengths, 2))


def test_flash_operation_takes_these_arguments():
    kv = torch.empty(10, 2, 16, device="meta", dtype=torch.bfloat16)
    bounds = torch.empty(4, device="meta", dtype=torch.int32)
    for count, longest in ((10, 5), (3, 1)):
        q = torch.empty(count, 2, 16, device="meta", dtype=torch.bfloat16)
        assert attention._flash(q, kv, kv, (bounds, bounds), (longest, 5), 0.1).shape == (count, 32)
