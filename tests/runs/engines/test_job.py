from __future__ import annotations

from dataclasses import replace
from typing import Any

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.engines.job import attempt
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import RunStore
from tests.runs.engines.grids import grid_of


def test_a_stage_that_is_written_elsewhere_is_busy(plan, ask) -> None:
    first = grid_of(plan, ask).nodes[0]
    finished = attempt(first, {})
    store, folder = RunStore(ask.runs), Run(ask.runs / finished.run)
    manifest = folder.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"running"', 1))
    held = store.open(folder.manifest["kind"], folder.manifest["name"], folder.manifest["hash"])
    try:
        assert attempt(first, {}).state == "busy"
    finally:
        held.close()
    assert attempt(first, {}).state == "finished"


def test_errors_become_outcomes(plan, ask, monkeypatch) -> None:
    first = grid_of(plan, ask).nodes[0]
    told = attempt(replace(first, ask=replace(ask, model="./nowhere")), {})
    assert (told.state, told.code, told.again) == ("failed", 1, False) and "./nowhere" in told.error

    def fails(error: BaseException):
        def call(*given: Any) -> None:
            raise error

        return call

    for error, state, again in (
        (RuntimeError("out of memory"), "failed", True),
        (KeyboardInterrupt(), "interrupted", True),
        (AdaptxferError("Stopped.", code=130), "interrupted", True),
        (AdaptxferError("Diverged.", code=3), "failed", False),
    ):
        monkeypatch.setattr("adaptxfer.runs.engines.job.carry_out", fails(error))
        told = attempt(first, {})
        assert (told.state, told.again) == (state, again)
