"""Kernels run on a GPU where there is one, else in Triton's interpreter, which must be chosen before import."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest
import torch

if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def device() -> torch.device:
    if find_spec("triton") is None:
        pytest.skip("triton is not installed (pip install triton)")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("triton was imported before its interpreter could be chosen")
    return torch.device("cpu")


@pytest.fixture(autouse=True)
def nan_in_new_memory():
    """What a kernel forgets to write shows as NaN."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def small_self_checks(device, monkeypatch):
    """The interpreter would take half a minute for the real sizes."""
    from adaptxfer.kernels.triton import self_check

    for name, size in {"ROWS": 9, "WIDTH": 64, "INNER": 16, "WORDS": 4100}.items() if device.type == "cpu" else ():
        monkeypatch.setattr(self_check, name, size)
