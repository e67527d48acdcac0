"""What ``doctor`` says about the kernels."""

from __future__ import annotations

import pytest
import torch

from adaptxfer.cli import doctor
from adaptxfer.kernels import dispatch

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.delenv("ADAPTXFER_KERNELS", raising=False)
    dispatch._device_refusal.cache_clear()
    yield
    dispatch._device_refusal.cache_clear()


def test_a_cpu_runs_plain_torch_and_says_why():
    mode, ops, graphs = doctor._kernels()
    assert mode.found == "mode auto (default)"
    assert ops.found.startswith("plain torch for add_norm, ") and ops.found.endswith(": there is no CUDA device")
    assert all(op in ops.found for op in dispatch.OPERATIONS)
    assert graphs.found == "none: there is no CUDA device"


def test_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("ADAPTXFER_KERNELS", "torch")
    mode, ops, _ = doctor._kernels()
    assert mode.found == "mode torch (environment)" and ops.found.endswith("the mode is torch (environment)")


@pytest.mark.parametrize(("mode", "said"), [("tritn", "found 'tritn'"), ("triton", "cannot be used")])
def test_a_mode_that_cannot_be_is_a_fault(monkeypatch, mode, said):
    monkeypatch.setenv("ADAPTXFER_KERNELS", mode)
    (finding,) = doctor._kernels()
    assert finding.state == "bad" and said in finding.found and finding.hint


def test_kernels_by_reason_on_a_gpu(monkeypatch):
    found = dict.fromkeys(dispatch.OPERATIONS, "") | {"gelu": "it failed its check on this GPU (result 0 is off)"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(dispatch, "choices", lambda device, dtype: found if dtype == torch.bfloat16 else {})
    _, fast, slow, graphs = doctor._kernels()
    assert fast.found.startswith("Triton for add_norm") and fast.state == "ok"
    assert slow.found.startswith("plain torch for gelu: it failed") and slow.state == "note"
    assert graphs.found == "for steps in bf16"


def test_folders_that_cannot_be_made_are_noted(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADAPTXFER_CACHE", str(tmp_path / "file" / "cache"))
    features, *_, runs = doctor._folders(tmp_path / "file")
    assert features.state == "note" and "ADAPTXFER_CACHE" in features.hint
    assert runs.state == "bad" and "a file, not a folder" in runs.found
    assert list(doctor._folders(tmp_path / "new"))[-1].state == "ok"
