from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptxfer.api import make_ask, train_intermediate
from adaptxfer.runs.grid import Grid, expand
from adaptxfer.runs.gridfile import read_grid
from adaptxfer.runs.settings import Ask
from tests.runs.plans import PLAN
from tests.world import World, open_world


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory, mini_dir):
    """One world for all tests here; its data is not changed."""
    with open_world(tmp_path_factory.mktemp("shared"), mini_dir) as made:
        yield made


@pytest.fixture
def ask(shared_world: World, tmp_path: Path):
    """A request with a folder of runs of its own."""
    return make_ask(**{**shared_world.training, "runs": tmp_path / "runs"})


@pytest.fixture(scope="session")
def modules(shared_world: World):
    """Two intermediate bundles of each method, trained once."""
    made = {}

    def get(method: str) -> list:
        if method not in made:
            options = {**shared_world.training, "method": method}
            made[method] = [train_intermediate(name, **options) for name in ("endings", "weather")]
        return made[method]

    return get


@pytest.fixture
def world(tmp_path: Path, mini_dir: Path):
    """A world of one's own, whose data may be changed."""
    with open_world(tmp_path, mini_dir) as made:
        yield made


@pytest.fixture
def own_ask(world: World):
    return make_ask(**world.training)


@pytest.fixture
def grid_of(tmp_path: Path, ask):
    """The grid of a plan's text."""

    def make(text: str = PLAN, base: Ask = ask, **overrides) -> Grid:
        path = tmp_path / "plan.toml"
        path.write_text(text.replace("MODEL", base.model))
        return expand(read_grid(path), replace(base, max_steps=None), overrides)

    return make
