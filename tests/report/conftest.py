"""Reports over a simulated table and over run folders written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptxfer.report.gather import Report, gather
from adaptxfer.studies import worlds
from tests.folders import add_run


@pytest.fixture(scope="session")
def world_csv(tmp_path_factory) -> Path:
    """The table of a simulated world: 4 intermediate tasks, 3 target tasks, 5 languages, 3 seeds."""
    world = replace(worlds.changed("positive"), intermediates=4, targets=3, languages=5)
    return worlds.save(worlds.simulate("positive", 3, world), tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def simulated(world_csv: Path) -> Report:
    return gather([world_csv], resamples=200)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A baseline, a run with an intermediate module, and the training of that module."""
    root = tmp_path / "runs"
    add_run(root, "intermediate", "nli", 1)
    add_run(root, "evaluate", "weather", 2, how="none")
    add_run(root, "evaluate", "weather", 5, intermediates=["nli"])
    return root
