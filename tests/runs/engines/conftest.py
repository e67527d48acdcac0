from __future__ import annotations

from pathlib import Path

import pytest

from adaptxfer.api import make_ask
from adaptxfer.runs.engines.job import attempt
from tests.runs.engines.grids import Shell, grid_of, write_plan
from tests.world import World


@pytest.fixture
def plan(tmp_path: Path, shared_world: World) -> Path:
    return write_plan(tmp_path, shared_world)


@pytest.fixture(scope="session")
def shell(shared_world: World, tmp_path_factory) -> Shell:
    return Shell(shared_world, write_plan(tmp_path_factory.mktemp("plans"), shared_world, steps=24))


@pytest.fixture(scope="session")
def whole(shell: Shell, tmp_path_factory) -> Path:
    """The runs of a grid that nobody disturbed: one stage after the other, without any engine."""
    runs, places = tmp_path_factory.mktemp("whole"), {}
    for node in grid_of(shell.plan, make_ask(**{**shell.world.options, "runs": runs})).nodes:
        outcome = attempt(node, places)
        assert outcome.state == "finished", outcome.error
        places[node.key] = outcome.run
    return runs
