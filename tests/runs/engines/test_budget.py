from __future__ import annotations

from pathlib import Path

from adaptxfer.files import write_json
from adaptxfer.runs.engines.budget import Budget
from adaptxfer.runs.engines.job import Outcome
from adaptxfer.runs.engines.schedule import Schedule
from adaptxfer.runs.grid import Grid, Node
from adaptxfer.runs.run import FIELDS
from adaptxfer.runs.settings import Ask


def write_run(runs: Path, name: str, tokens: int = 0) -> str:
    """A finished run that cost ten steps, so many tokens and half an hour."""
    kinds = {str: "", dict: {}, list: [], int: 1}
    manifest = {key: kinds.get(kind, None) for key, kind in FIELDS.items()}
    manifest |= {"schema": 1, "status": "finished", "started": "", "duration_s": 1800.0}
    write_json(
        runs / name / "manifest.json", manifest | ({"training": {"steps": 10, "tokens": tokens}} if tokens else {})
    )
    return name


def stages(runs: Path) -> list[Node]:
    ask = Ask(runs=runs)
    return [
        Node(key, kind, key, key, 1, ask, (key,), parents)
        for name in "ab"
        for key, kind, parents in ((name, "target", ()), (f"{name} scored", "evaluate", (name,)))
    ]


def test_no_training_begins_after_the_budget_but_what_is_trained_is_scored(tmp_path) -> None:
    schedule = Schedule(Grid("drawn", tuple(stages(tmp_path))), {}, budget=Budget({"tokens": 1000}))
    assert schedule.next().key == "a"
    schedule.take("a", Outcome("finished", write_run(tmp_path, "a", tokens=1000)))
    assert schedule.next().key == "a scored" and schedule.next() is None
    schedule.take("a scored", Outcome("finished", write_run(tmp_path, "as")))
    assert not schedule.open() and schedule.exit_code() == 0
    assert [(e.node.key, e.state) for e in schedule.failures()] == [("b", "unaffordable"), ("b scored", "unaffordable")]
    assert "1,000 tokens is used up" in schedule.entries["b"].error
    spent = schedule.document()["budget"]["spent"]
    assert spent == {"steps": 10, "tokens": 1000, "hours": 1.0}, "scoring costs hours too"


def test_what_earlier_commands_did_counts(tmp_path) -> None:
    name = write_run(tmp_path, "a", tokens=5)
    for hours, trains in ((0.5, False), (0.6, True)):
        schedule = Schedule(Grid("drawn", tuple(stages(tmp_path))), {"a": name}, budget=Budget({"hours": hours}))
        assert schedule.next().key == "a scored"
        assert ((found := schedule.next()) is not None and found.key == "b") == trains


def test_a_begun_training_is_finished(tmp_path) -> None:
    schedule = Schedule(Grid("drawn", tuple(stages(tmp_path))), {}, budget=Budget({"steps": 1}))
    assert [schedule.next().key, schedule.next().key] == ["a", "b"]
    schedule.take("b", Outcome("lost", again=True))
    schedule.take("a", Outcome("finished", write_run(tmp_path, "a", tokens=5)))
    assert [schedule.next().key, schedule.next().key] == ["a scored", "b"]
