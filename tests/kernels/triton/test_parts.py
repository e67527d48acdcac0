from __future__ import annotations

import pytest
import torch

from adaptxfer.kernels.dispatch import OPERATIONS


def test_dropout_keeps_its_share_and_scales(device):
    from adaptxfer.kernels.triton.parts import mask_of

    mask = mask_of(torch.tensor([5], device=device), 0, 160, 128, 0.1)
    assert mask.unique().tolist() == pytest.approx([0.0, 1 / 0.9], rel=1e-6)
    assert (mask == 0).float().mean().item() == pytest.approx(0.1, abs=0.0105)  # five deviations
    assert (mask == 0).float().mean(0).std() < 0.035  # no column is special


def test_dropout_depends_on_seed_and_stream_but_not_on_size(device):
    from adaptxfer.kernels.triton.parts import mask_of

    seed = torch.tensor([2**45 + 1], device=device)
    mask = mask_of(seed, 1, 40, 128, 0.5)
    assert torch.equal(mask[:7, :64], mask_of(seed, 1, 7, 64, 0.5))
    for other in (
        mask_of(seed, 2, 40, 128, 0.5),
        mask_of(seed + 1, 1, 40, 128, 0.5),
        mask_of(seed + 2**32, 1, 40, 128, 0.5),
    ):
        assert 0.4 < (mask == other).float().mean() < 0.6


def test_seeds_follow_the_generator_of_torch(device):
    from adaptxfer.kernels.triton.parts import draw_seed

    like = torch.empty(1, device=device)
    torch.manual_seed(3)
    first, second = draw_seed(like), draw_seed(like)
    torch.manual_seed(3)
    assert torch.equal(first, draw_seed(like)) and not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("op", OPERATIONS)
def test_self_check_passes(device, op, dtype):
    from adaptxfer.kernels.triton.self_check import fault

    assert fault(op, device, dtype) == ""


def test_self_check_finds_a_wrong_kernel(device, monkeypatch):
    from adaptxfer.kernels.triton import gelu
    from adaptxfer.kernels.triton.self_check import fault

    monkeypatch.setattr(gelu, "gelu", lambda x: torch.nn.functional.gelu(x, approximate="tanh"))
    assert "off by" in fault("gelu", device, torch.float32)
    monkeypatch.setattr(gelu, "gelu", lambda x: 1 / 0)
    assert "ZeroDivisionError" in fault("gelu", device, torch.float32)
