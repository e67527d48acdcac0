from __future__ import annotations

import logging
import os
from importlib.util import find_spec

import pytest
import torch

from adaptxfer.errors import AdaptxferError
from adaptxfer.kernels import dispatch
from adaptxfer.kernels.dispatch import NO_DEVICE, OPERATIONS, check_machine, choices, choose, refusal, using

ROWS = torch.zeros(4, 64)
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv("ADAPTXFER_KERNELS", raising=False)
    for cached in (dispatch._device_refusal, dispatch._fault):
        cached.cache_clear()
    yield
    for cached in (dispatch._device_refusal, dispatch._fault):
        cached.cache_clear()


def test_a_cpu_runs_plain_torch():
    assert not any(choose(op, ROWS) for op in OPERATIONS)


def test_asking_for_kernels_without_a_gpu_says_why(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setenv("ADAPTXFER_KERNELS", "triton")
    with pytest.raises(AdaptxferError, match=r"gelu cannot be used: .*(CUDA device|not installed)"):
        choose("gelu", ROWS)


def test_asking_for_kernels_without_a_gpu_is_refused_at_once(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    check_machine(None)
    check_machine("torch")
    with pytest.raises(AdaptxferError, match=r"kernels cannot be used: .*(CUDA device|not installed)"):
        check_machine("triton")


def test_auto_logs_once_why_not(caplog, monkeypatch):
    monkeypatch.setattr(dispatch, "_told", set())
    with caplog.at_level(logging.INFO, "adaptxfer"):
        for _ in range(2):
            choose("gelu", ROWS)
    assert [record.getMessage() for record in caplog.records] == [f"gelu runs in plain torch: {NO_DEVICE}."]


def test_choices_name_the_reason(monkeypatch):
    cpu = torch.device("cpu")
    assert choices(cpu, torch.float32) == dict.fromkeys(OPERATIONS, NO_DEVICE)
    with using("torch"):
        assert set(choices(cpu, torch.float32).values()) == {"the mode is torch (you)"}
    with using(None):
        assert set(choices(cpu, torch.float32).values()) == {NO_DEVICE}


def test_the_argument_beats_the_block_and_the_block_the_environment(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setenv("ADAPTXFER_KERNELS", "triton")
    assert not choose("gelu", ROWS, mode="torch")
    with using("torch"):
        assert not choose("gelu", ROWS)
        with pytest.raises(AdaptxferError):
            choose("gelu", ROWS, mode="triton")


def test_unknown_modes_are_named(monkeypatch):
    monkeypatch.setenv("ADAPTXFER_KERNELS", "tritn")
    with pytest.raises(AdaptxferError, match="Did you mean 'triton'"):
        choose("gelu", ROWS)
    with pytest.raises(AdaptxferError), using("cuda"):
        pass


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (("bottleneck", 100, (16,), ("relu",), (0.0,), False), "100 is not a multiple of 64"),
        (("bottleneck", 64, (512,), ("relu",), (0.0,), False), "512 is above 128"),
        (("bottleneck", 64, (16,), ("tanh",), (0.0,), False), "no activation tanh"),
        (("bottleneck", 64, (16,) * 3, ("relu",), (0.0,), False), "stacks 2 adapters at most, not 3"),
        (("bottleneck", 64, (16,), ("relu",), (0.0,), True), "LayerNorm trains"),
        (("add_norm", 8192, (), (), (0.1,), False), "8192 is above 4096"),
        (("add_norm", 64, (), (), (1.0,), False), "probability is 1"),
        (("fusion", 64, (16,) * 17, ("relu",), (0.1,), False), "fuses 16 adapters at most, not 17"),
        (("lora_linear", 64, (8, 8), (), (0.1, 0.2), False), "differ"),
    ],
)
def test_sizes_and_options_outside_are_refused(request_, reason):
    assert reason in refusal(*request_)


def test_sizes_and_options_inside_are_not():
    assert refusal("bottleneck", 1024, (64, 48), ("relu", "gelu"), (0.0, 0.1), False) == ""
    assert refusal("add_norm", 100, (), (), (0.1,), False) == ""
    assert refusal("lora_linear", 4096, (8, 16), (), (0.1, 0.1), False) == ""


interpreted = pytest.mark.skipif(
    find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") != "1",
    reason="needs triton with its interpreter (TRITON_INTERPRET=1 before import)",
)


@interpreted
def test_kernels_that_pass_their_check_run(monkeypatch):
    from adaptxfer.kernels.gelu import gelu
    from adaptxfer.kernels.triton import gelu as fast

    called = []
    monkeypatch.setattr(fast, "gelu", lambda x, run=fast.gelu: called.append(1) or run(x))
    with using("triton"):
        gelu(ROWS)
    assert len(called) == 2  # the check and the call


@interpreted
def test_kernels_that_fail_their_check_do_not(monkeypatch, caplog):
    from adaptxfer.kernels.triton import gelu as fast

    monkeypatch.setattr(fast, "gelu", lambda x: x * 2)
    with caplog.at_level(logging.WARNING, "adaptxfer"), pytest.raises(AdaptxferError, match="failed its check"):
        choose("gelu", ROWS, mode="triton")
    assert "off by" in caplog.text


@interpreted
def test_the_check_works_where_nothing_may_have_gradients():
    with torch.inference_mode():
        assert choose("gelu", ROWS, mode="triton")


@interpreted
def test_dispatch_keeps_one_graph():
    from adaptxfer.kernels.gelu import gelu

    with using("triton"):
        out = torch.compile(lambda x: gelu(x).cos(), backend="aot_eager", fullgraph=True)(ROWS + 1)
    assert torch.allclose(out, torch.nn.functional.gelu(ROWS + 1).cos())
