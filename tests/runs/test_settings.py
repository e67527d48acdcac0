from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.encoder.load import ModelHints
from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.settings import DEFAULT_MODEL, FUSE_RATE, UNHASHED, Ask, model_name, resolve
from adaptxfer.tasks.find import load_task


@pytest.fixture
def task(shared_world):
    return load_task("weather", [shared_world.root / "tasks"])


def test_what_was_asked_wins_then_the_base_model_then_the_task_file(task) -> None:
    hints = ModelHints(max_length=32, learning_rate={"bottleneck": 0.5})
    for ask, given, value, origin in (
        (Ask(learning_rate=0.25), hints, 0.25, "you"),
        (Ask(), hints, 0.5, "base model"),
        (Ask(), ModelHints(), 1e-3, "task file"),
        (Ask(method="lora"), hints, 1e-3, "task file"),
    ):
        found = resolve(ask, task, given).values["learning_rate"]
        assert (found.value, found.origin) == (value, origin)
    bare = replace(task, train=replace(task.train, learning_rate={}))
    assert resolve(Ask(), bare, ModelHints(), "fuse")["learning_rate"] == FUSE_RATE


def test_a_base_model_shortens_texts_but_does_not_lengthen_them(task) -> None:
    assert resolve(Ask(), task, ModelHints(max_length=32))["max_length"] == 32
    assert resolve(Ask(), task, ModelHints(max_length=512))["max_length"] == task.text.max_length == 48
    assert resolve(Ask(max_length=16), task, ModelHints(max_length=32))["max_length"] == 16


def test_only_what_decides_the_result_is_part_of_the_identity(task) -> None:
    plain = resolve(Ask(), task, ModelHints()).identity()
    assert resolve(Ask(batch_tokens=77, on_chance="warn"), task, ModelHints()).identity() == plain
    for changed in (Ask(batch_size=7), Ask(reduction=4), Ask(dev_limit=3), Ask(warmup=0.0), Ask(clip=2.0)):
        assert resolve(changed, task, ModelHints()).identity() != plain
    assert not set(UNHASHED) & set(plain)


def test_module_options_leave_out_what_was_not_given(task) -> None:
    assert resolve(Ask(reduction=8), task, ModelHints()).module_options("bottleneck") == {"reduction": 8}
    lora = resolve(Ask(method="lora", target_modules=("query",)), task, ModelHints())
    assert lora.module_options("lora") == {"target_modules": ("query",)}
    assert lora.to_request()["target_modules"] == {"value": ["query"], "from": "you"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "prefix"}, "bottleneck, lora, full"),
        ({"method": "lora", "reduction": 4.0}, "--reduction does not belong to --method lora"),
        ({"method": "full", "r": 4}, "--r does not belong"),
        ({"target_modules": ("query",)}, "--target-modules does not belong to --method bottleneck"),
        ({"limit": 0}, "--limit must be positive"),
        ({"max_length": -1}, "--max-length must be positive"),
    ],
)
def test_options_that_cannot_be(options, said: str) -> None:
    with pytest.raises(AdaptxferError, match=said) as caught:
        Ask(**options)
    assert caught.value.code == 1


def test_a_base_model_in_a_folder_is_recorded_by_its_name(tmp_path) -> None:
    (tmp_path / "mymodel").mkdir()
    request = Ask(model=str(tmp_path / "mymodel"), method="lora").to_request()
    assert request.pop("kernels") == {"value": "auto", "from": "default"}
    assert request == {"model": {"value": "mymodel", "from": "you"}, "method": {"value": "lora", "from": "you"}}
    assert Ask().to_request()["model"] == {"value": DEFAULT_MODEL, "from": "default"}
    assert model_name("mini") == "mini" and model_name("owner/name") == "owner/name"


def test_the_kernels_are_recorded_with_their_origin(monkeypatch) -> None:
    assert Ask(kernels="torch").to_request()["kernels"] == {"value": "torch", "from": "you"}
    monkeypatch.setenv("ADAPTXFER_KERNELS", "triton")
    assert Ask().to_request()["kernels"] == {"value": "triton", "from": "environment"}
    assert Ask(kernels="torch").to_request()["kernels"]["value"] == "torch"
    with pytest.raises(AdaptxferError, match=r"--kernels, found 'cuda'"):
        Ask(kernels="cuda")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_precision": "fp16"}, "'fp16' is unknown"),
        ({"base_precision": "bf16", "method": "full"}, "is for frozen base models"),
        ({"sharded": True}, "freezes it"),
        ({"sharded": True, "method": "lora"}, "freezes it"),
    ],
)
def test_how_a_base_model_is_held_goes_with_some_methods_alone(options, said: str) -> None:
    with pytest.raises(AdaptxferError, match=said) as caught:
        Ask(**options)
    assert caught.value.hint


def test_saving_memory_does_not_decide_the_result_but_holding_in_less_does(task) -> None:
    from adaptxfer.runs.stage import held_identity

    thrifty = Ask(method="full", recompute=True, sharded=True)
    assert resolve(thrifty, task, ModelHints()).identity() == resolve(Ask(method="full"), task, ModelHints()).identity()
    assert held_identity(Ask()) == {} and held_identity(Ask(base_precision="bf16")) == {"base_precision": "bf16"}
    assert "base_precision" not in Ask().to_request()
    assert Ask(base_precision="bf16").to_request()["base_precision"] == {"value": "bf16", "from": "you"}
    assert Ask(base_precision="bf16").confounds == {}


def test_a_quantised_base_model_is_a_confound(monkeypatch) -> None:
    monkeypatch.setattr("adaptxfer.runs.settings.check_held", lambda precision: None)  # whether it is installed or not
    assert Ask(base_precision="nf4").confounds == {"confounds": ["the base model is quantised to nf4"]}
