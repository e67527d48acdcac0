from __future__ import annotations

import pytest

from adaptxfer.encoder.load import load_encoder
from adaptxfer.evaluation.evaluate import Setting
from adaptxfer.modules.composition import Leaf
from adaptxfer.modules.heads import HeadSpec, build_head
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.tasks.find import load_task
from tests.world import open_world


@pytest.fixture(scope="session")
def world(tmp_path_factory, mini_dir):
    with open_world(tmp_path_factory.mktemp("evaluation"), mini_dir) as made:
        yield made


@pytest.fixture(scope="session")
def encoder(world):
    return load_encoder(str(world.root / "tiny"))


@pytest.fixture
def task(world):
    return lambda name: load_task(name, [world.root / "tasks"])


@pytest.fixture
def setting(world, encoder):
    return Setting(encoder.tokenizer, world.root / "data", 256)


@pytest.fixture(scope="session")
def model(world, encoder):
    """An untrained model with a head for every task of our world."""
    method = make_method("bottleneck", encoder.network)
    method.add("fresh", {}, 0)
    method.activate(Leaf("fresh"))
    heads = {}
    for name in ("weather", "endings", "names", "facts"):
        spec = load_task(name, [world.root / "tasks"])
        heads[name] = build_head(HeadSpec(spec.kind, encoder.base.width, spec.labels, 0.0, 0.5), 1, name)
    return AdaptedModel(method, heads).eval()
