from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.kernels.triton.against import DTYPES, agree, draw


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (17, 70), (3, 1024)])
def test_equals_torch(device, dtype, shape):
    from adaptxfer.kernels.triton.gelu import gelu

    agree(gelu, F.gelu, draw(device, dtype, shape, scale=2.0))


def test_far_values_and_nan(device):
    from adaptxfer.kernels.triton.gelu import gelu

    x = torch.tensor([-60.0, 60.0, torch.nan], device=device)
    assert torch.equal(gelu(x[:2]), F.gelu(x[:2])) and gelu(x)[2].isnan()
