"""An encoder of XL's layout through the whole command line, with what saves memory."""

from __future__ import annotations

import json

import pytest

from adaptxfer.cli import main
from adaptxfer.runs.store import RunStore
from tests.tiny import save_tiny
from tests.world import World, open_world


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    with open_world(tmp_path_factory.mktemp("large"), mini_dir) as made:
        save_tiny(made.root / "xl", mini_dir, kind="XLMRobertaXL")
        yield made


@pytest.mark.parametrize(
    ("method", "how", "thrift"),
    [
        ("bottleneck", "stack", ("--base-precision", "bf16")),
        ("lora", "stack", ("--base-precision", "bf16", "--recompute")),
        ("full", "continue", ("--recompute",)),
    ],
)
def test_train_transfer_and_evaluate(world: World, capsys, method: str, how: str, thrift: tuple[str, ...]) -> None:
    words = [str(world.root / "xl") if word == str(world.root / "tiny") else word for word in world.words()]
    given = [*words, "--method", method, *thrift, "--json"]
    assert main(["train-intermediate", "weather", *given]) == 0
    capsys.readouterr()
    for task in ("names", "twins"):
        layer = ["--layer", "1"] if task == "twins" else []
        assert main(["transfer", "--to", task, "--how", how, *layer, *given]) == 0
        (run,) = json.loads(capsys.readouterr().out)["runs"]
        assert set(run["scores"]["languages"]) >= {"de", "sw"}
    if method != "full":  # scored again as it was trained
        (trained,) = RunStore(world.root / "runs").find_finished("target", method=method)
        assert trained.asked("base_precision") == "bf16"
        start = words.index("--max-steps")  # evaluate takes no options of training
        assert main(["evaluate", str(trained.path), "--on", "names", *words[:start], "--split", "test", "--json"]) == 0
        (again,) = json.loads(capsys.readouterr().out)["runs"]
        assert RunStore(world.root / "runs").find(again["run"]).asked("base_precision") == "bf16"
