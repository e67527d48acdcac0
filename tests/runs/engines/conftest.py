from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.engines.grids import STAGES, Shell, write_plan
from tests.world import World


@pytest.fixture
def plan(tmp_path: Path, shared_world: World) -> Path:
    return write_plan(tmp_path, shared_world)


@pytest.fixture(scope="session")
def shell(shared_world: World, tmp_path_factory) -> Shell:
    return Shell(shared_world, write_plan(tmp_path_factory.mktemp("plans"), shared_world, steps=24))


@pytest.fixture(scope="session")
def whole(shell: Shell, tmp_path_factory) -> Path:
    """The runs of a grid that nobody disturbed."""
    runs = tmp_path_factory.mktemp("whole")
    document = shell.run(runs)
    assert document["counts"]["finished"] == STAGES
    assert all("mean" in stage["scores"] for stage in document["stages"] if stage["kind"] == "evaluate")
    return runs
