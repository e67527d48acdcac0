from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.console import Table
from adaptxfer.encoder.load import load_encoder
from adaptxfer.modules.bundle import load_bundle
from adaptxfer.runs.describe import describe_training, describe_transfer, plan_views
from adaptxfer.runs.memory import peak_memory
from adaptxfer.runs.plan import find_task, plan_intermediate, plan_target
from adaptxfer.runs.quiet import LOGGERS, quiet_libraries
from adaptxfer.runs.sizes import SAVED
from adaptxfer.runs.train import run_training
from adaptxfer.runs.transfer import Wish, plan_transfer


@pytest.mark.parametrize(
    ("method", "how", "count"),
    [("bottleneck", "stack", 1), ("bottleneck", "fuse", 2), ("lora", "stack", 1), ("full", "continue", 1)],
)
def test_sizes_are_those_of_the_real_model(ask, modules, method: str, how: str, count: int) -> None:
    ask = replace(ask, method=method, max_steps=1)
    stage = plan_target(find_task("weather", ask, "target"), ask, 1, how, modules(method)[:count], False)
    told = describe_training(stage)
    assert told["state"] == "to do" and told["steps"] == 1
    bundle = run_training(stage)
    model = load_bundle(bundle, load_encoder(ask.model))
    assert told["weights_total"] == sum(p.numel() for p in model.network.parameters())
    from adaptxfer.modules.composition import trained_parts

    trained = model.method.set_trainable(*trained_parts(how, stage.tree, stage.module))
    assert told["weights_training"] == sum(p.numel() for p in trained.values()) > 0
    assert describe_training(stage)["state"] == "finished, will be reused"
    again = replace(stage, ask=replace(ask, fresh=True))
    assert describe_training(again)["state"] == "finished, will be done again"


def test_no_weights_are_read(own_ask, world, monkeypatch) -> None:
    monkeypatch.setattr("safetensors.torch.load_file", None)
    monkeypatch.setattr("safetensors.safe_open", None)
    for path in (world.root / "tiny").glob("*.safetensors"):
        path.write_bytes(b"these are no weights")
    told = describe_training(plan_intermediate(["weather"], own_ask, 1))
    assert told["training_examples"] == {"weather": 24}
    assert told["weights_of_base_model"] > 500_000
    assert not own_ask.runs.exists()


def test_steps_follow_epochs_and_batches(ask) -> None:
    ask = replace(ask, max_steps=None)
    assert describe_training(plan_intermediate(["weather"], replace(ask, epochs=2.5), 1))["steps"] == 15
    assert describe_training(plan_intermediate(["weather", "endings"], replace(ask, limit=9), 1))["steps"] == 6
    facts = describe_training(plan_target(find_task("facts", ask, "target"), ask, 1, "none", [], False))
    assert not facts["steps_exact"], "a long context becomes several windows"


def test_the_stages_of_a_transfer(ask, modules) -> None:
    place = (str(modules("bottleneck")[0].folder),)
    first, second = describe_transfer(plan_transfer(Wish("weather", place, languages=("sw",)), ask, 1))
    assert first["stage"].startswith("target-weather-") and second["languages"] == ["sw"]
    assert first["composition"].splitlines() == ["stack", "  weather  (trains)", "  endings  (frozen)"]
    (only,) = describe_transfer(plan_transfer(Wish("twins", place, layer="1"), ask, 1))
    assert only["stage"].startswith("evaluate-twins-") and only["state"] == "to do"
    views = plan_views([first, second])
    assert isinstance(views[0], Table) and views[1] == first["composition"]
    assert views[2] == f"{second['stage']}: after training; languages sw"
    assert any("(from you)" in str(cell) for row in views[0].rows for cell in row)


def test_peak_memory_is_that_of_a_process_with_torch() -> None:
    assert 50 < peak_memory()["peak_memory_mib"] < 1_000_000


def test_loggers_speak_again_afterwards() -> None:
    import logging

    levels = [logging.getLogger(name).level for name in LOGGERS]
    with pytest.raises(ValueError), quiet_libraries():
        assert all(logging.getLogger(name).level == logging.ERROR for name in LOGGERS)
        raise ValueError
    assert [logging.getLogger(name).level for name in LOGGERS] == levels
    assert SAVED.keys() == {"bottleneck", "lora", "full", "fuse"}
