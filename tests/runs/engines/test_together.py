"""Workers that train several stages at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs import together as runs_together
from adaptxfer.runs.engines.job import Outcome, lost
from adaptxfer.runs.engines.local import LocalEngine
from adaptxfer.runs.engines.together import TogetherEngine, attempt_together
from adaptxfer.runs.grid import Node
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.store import RunStore
from tests.runs.engines.grids import STAGES, grid_of


def node(key: str, kind: str = "intermediate", **ask) -> Node:
    return Node(key, kind, key, key, 1, Ask(model="mini", **ask), (key,))


class Desk(TogetherEngine):
    """Notes what goes to which worker; nobody works."""

    def __init__(self, workers: int, together: int) -> None:
        super().__init__(workers, (), together)
        self.free, self.out = workers, []

    def idle(self) -> int:
        return self.free

    def give(self, key, job) -> None:
        self.free -= 1
        self.out.append([one.key for one, _ in job.args[0]])


def handed_out(nodes, workers, together, monkeypatch):
    monkeypatch.setattr(LocalEngine, "wait", lambda self, seconds: [])
    desk, left = Desk(workers, together), list(nodes)
    while left and desk.has_room():
        desk.submit(left.pop(0), {})
    desk.wait(0)
    return desk.out, [one.key for one, _ in desk._queued], [one.key for one in left]


@pytest.mark.parametrize(
    ("workers", "together", "out", "queued", "left"),
    [
        (1, 3, [["a", "b", "c"]], [], ["d", "e"]),
        (2, 4, [["a", "b", "c"], ["d", "e"]], [], []),
        (2, 2, [["a", "b"], ["c", "d"]], [], ["e"]),
        (3, 1, [["a"], ["b"], ["c"]], [], ["d", "e"]),
    ],
)
def test_stages_alike_are_shared_out_evenly(workers, together, out, queued, left, monkeypatch):
    assert handed_out(map(node, "abcde"), workers, together, monkeypatch) == (out, queued, left)


def test_only_trainings_of_one_encoder_and_method_go_together(monkeypatch):
    nodes = [node("a"), node("b", method="lora"), node("c", kind="evaluate"), node("d", kind="target"),
             node("e", method="full"), node("f", method="full"), node("g", precision="bf16")]  # fmt: skip
    out, queued, left = handed_out(nodes, 1, 7, monkeypatch)
    assert out == [["a", "d"]] and queued == ["b", "c", "e", "f", "g"] and not left
    for start, one in enumerate("bcefg", 1):
        out, queued, _ = handed_out([n for n in nodes if n.key not in "ad"][start - 1 :], 1, 7, monkeypatch)
        assert out == [[one]]


def test_outcomes_of_a_group(monkeypatch):
    desk = Desk(1, 2)
    for one in (node("a"), node("b")):
        desk.submit(one, {})
    found = [("a", [Outcome("finished", "x"), Outcome("failed")])]
    monkeypatch.setattr(LocalEngine, "wait", lambda self, seconds: found)
    assert desk.wait(0) == [("a", Outcome("finished", "x")), ("b", Outcome("failed"))]
    desk.free = 1
    desk.submit(node("c"), {})
    desk.submit(node("d"), {})
    found[:] = [("c", lost("killed"))]
    assert desk.wait(0) == [("c", lost("killed")), ("d", lost("killed"))]


def trainings(plan, ask):
    """The two first trainings of the plan: a module and a baseline."""
    return [(one, {}) for one in grid_of(plan, ask).nodes if one.kind != "evaluate" and not one.parents]


def test_a_group_of_a_grid(plan, ask):
    jobs = trainings(plan, ask)
    found = attempt_together(jobs)
    assert [outcome.state for outcome in found] == ["finished"] * 2
    runs = [Run(ask.runs / outcome.run) for outcome in found]
    assert [run.manifest["together"]["with"] for run in runs] == [[runs[1].name], [runs[0].name]]
    assert {run.manifest["kind"] for run in runs} == {"intermediate", "target"}


def test_what_cannot_be_done_at_once_is_done_one_after_the_other(plan, ask, monkeypatch):
    jobs = trainings(plan, ask)

    def fails(error):
        def call(*given):
            raise error

        return call

    for error in (RuntimeError("out of memory"), AdaptxferError("They differ.")):
        monkeypatch.setattr(runs_together, "run_together", fails(error))
        assert [outcome.state for outcome in attempt_together(jobs)] == ["finished"] * 2
    for stop in (KeyboardInterrupt(), AdaptxferError("Stopped.", "", 130)):
        monkeypatch.setattr(runs_together, "run_together", fails(stop))
        assert [outcome.state for outcome in attempt_together(jobs)] == ["interrupted"] * 2
    broken = (replace(jobs[0][0], ask=replace(ask, model="./nowhere")), {})
    assert [outcome.state for outcome in attempt_together([broken, jobs[1]])] == ["failed", "finished"]


def test_one_in_other_hands_is_busy(plan, ask):
    from adaptxfer.runs.engines.job import stage_of

    jobs = trainings(plan, ask)
    stage = stage_of(*jobs[0])
    with RunStore(ask.runs).open(stage.kind, stage.name, stage.hash):
        assert [outcome.state for outcome in attempt_together(jobs)] == ["busy", "finished"]


def test_a_whole_grid(shell, whole, tmp_path):
    """The last event tells of every stage; scores are those of stages trained alone."""
    end = shell.run(tmp_path / "runs", "--together", "3", "--workers", "1")
    assert end["counts"]["finished"] == STAGES
    scores = []
    for root in (tmp_path / "runs", whole):
        runs = RunStore(root).find_finished("evaluate")
        scores.append({(run.asked("task"), run.asked("how")): run.read_scores()["mean"] for run in runs})
    assert scores[0] == pytest.approx(scores[1], abs=20) and len(scores[0]) == 4
    together = [run for run in RunStore(tmp_path / "runs").list() if "together" in run.manifest]
    assert len(together) >= 2
