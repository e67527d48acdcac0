from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.engines.drive import drive
from adaptxfer.runs.engines.job import Outcome
from adaptxfer.runs.engines.local import LocalEngine
from adaptxfer.runs.engines.schedule import Schedule
from adaptxfer.runs.grid import Grid, Node
from adaptxfer.runs.settings import Ask


def node(key: str, *parents: str) -> Node:
    return Node(key, "target", f"stage {key}", key, 1, Ask(), (key,), parents)


def schedule_of(*nodes: Node, places: Mapping[str, str] | None = None, retries: int = 1) -> Schedule:
    return Schedule(Grid("drawn", nodes), places or {}, retries)


def counts(**given: int) -> dict[str, int]:
    return dict.fromkeys(("finished", "failed", "skipped", "unaffordable", "reused"), 0) | given


def test_a_stage_waits_for_its_parents() -> None:
    schedule = schedule_of(node("a"), node("b", "a"), node("c"))
    assert [schedule.next().key, schedule.next().key, schedule.next()] == ["a", "c", None]
    schedule.take("a", Outcome("finished", "target-a-00000000"))
    later = schedule.next()
    assert later.key == "b" and schedule.places(later) == {"a": "target-a-00000000"}


def test_a_failure_stops_only_what_builds_on_it() -> None:
    schedule = schedule_of(node("a"), node("b", "a"), node("c", "b"), node("d"))
    schedule.next()
    schedule.take("a", Outcome("failed", error="no data", code=2))
    assert [(entry.node.key, entry.state) for entry in schedule.failures()] == [
        ("a", "failed"), ("b", "skipped"), ("c", "skipped"),
    ]  # fmt: skip
    assert schedule.next().key == "d" and schedule.open()
    schedule.take("d", Outcome("finished", "target-d-00000000"))
    assert not schedule.open() and schedule.exit_code() == 2
    document = schedule.document()
    assert document["counts"] == counts(finished=1, failed=1, skipped=2)
    assert document["stages"][2]["error"] == "builds on stage a"


def test_a_lost_stage_is_tried_again_but_not_for_ever() -> None:
    schedule = schedule_of(node("a"), retries=2)
    for number in range(3):
        assert schedule.next().key == "a"
        entry, _ = schedule.take("a", Outcome("lost", error="killed", code=70, again=True, seconds=1.5))
        assert entry.state == ("waiting" if number < 2 else "failed")
    assert (entry.attempts, entry.seconds) == (3, 4.5)


def test_a_stage_that_another_process_has_is_asked_for_again_later(monkeypatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    schedule = schedule_of(node("a"), node("b"), retries=0)
    for pause in (1.0, 2.0, 4.0):
        assert schedule.next().key == "a"
        schedule.take("a", Outcome("busy"))
        assert schedule.entries["a"].attempts == 0
        if pause == 1.0:
            assert schedule.next().key == "b", "others come first"
        clock[0] += pause - 0.01
        assert schedule.next() is None
        clock[0] += 0.02
    assert schedule.next().key == "a"


def test_what_was_finished_before_is_not_done_again() -> None:
    schedule = schedule_of(node("a"), node("b", "a"), places={"a": "target-a-00000000"})
    assert schedule.next().key == "b" and schedule.document()["counts"]["reused"] == 1


class Interrupted(LocalEngine):
    """Ctrl-C comes just when a stage is handed over."""

    def submit(self, node: Node, places: Mapping[str, str]) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_while_a_stage_is_handed_over() -> None:
    with pytest.raises(AdaptxferError, match="0 of 1 stages are finished") as caught:
        drive(schedule_of(node("a")), Interrupted(1))
    assert caught.value.code == 130
