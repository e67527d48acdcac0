from __future__ import annotations

import io
import json
from collections.abc import Mapping

import pytest

from adaptxfer.console import Console, set_console
from adaptxfer.runs.engines.drive import drive
from adaptxfer.runs.engines.job import INTERRUPTION, Outcome
from adaptxfer.runs.engines.schedule import Schedule
from adaptxfer.runs.grid import Grid, Node
from adaptxfer.runs.settings import Ask


class Scripted:
    """An engine whose outcomes are written down beforehand, by stage."""

    def __init__(self, outcomes: Mapping[str, list[Outcome]]) -> None:
        self.outcomes = {key: list(items) for key, items in outcomes.items()}
        self.running: list[str] = []

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def has_room(self) -> bool:
        return not self.running

    def working(self) -> int:
        return len(self.running)

    def submit(self, node: Node, places: Mapping[str, str]) -> None:
        self.running.append(node.key)

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        done, self.running = self.running, []
        return [(key, self.outcomes[key].pop(0)) for key in done]

    def live(self) -> dict[str, dict[str, float]]:
        return {key: {"step": 3, "steps": 9, "tokens_per_s": 50.0} for key in self.running}

    def interrupt(self) -> None:
        pass


@pytest.fixture
def screen(monkeypatch):
    """A console in json mode whose output can be read, put back afterwards."""
    import adaptxfer.console as module

    monkeypatch.setattr(module, "_current", None)
    return set_console(Console("json", io.StringIO(), io.StringIO()))


def stage(key: str, *parents: str) -> Node:
    return Node(key, "target", f"stage {key}", key, 1, Ask(), (key,), parents)


def events(screen: Console) -> list[dict]:
    return [json.loads(line) for line in screen.out.getvalue().splitlines()]


def test_what_happens_is_told_in_order(screen) -> None:
    nodes = (stage("old"), stage("a"), stage("b"), stage("c", "b"), stage("d", "c"))
    engine = Scripted({
        "a": [Outcome("lost", error="killed", again=True), INTERRUPTION, Outcome("finished", "target-a-00000000")],
        "b": [Outcome("failed", error="no data", code=2)],
    })  # fmt: skip
    schedule = Schedule(Grid("drawn", nodes, ("fuse with lora",)), {"old": "target-old-00000000"})
    drive(schedule, engine)
    screen.result({"counts": {}})
    told = events(screen)
    assert [(item["event"], item.get("stage")) for item in told] == [
        ("planned", None), ("reused", "stage old"), ("started", "stage a"), ("retried", "stage a"),
        ("started", "stage a"), ("interrupted", "stage a"), ("started", "stage a"), ("finished", "stage a"),
        ("started", "stage b"), ("failed", "stage b"), ("skipped", "stage c"), ("skipped", "stage d"), ("end", None),
    ]  # fmt: skip
    assert told[0]["stages"] == 5 and told[0]["left_out"] == ["fuse with lora"]
    assert told[7]["run"] == "target-a-00000000" and (told[7]["done"], told[7]["of"]) == (2, 5)
    assert [item["attempt"] for item in told if item["event"] == "started"] == [1, 2, 3, 1]
    assert told[9]["code"] == 2 and all("at" in item for item in told[:-1])


def test_signs_of_life(screen, monkeypatch) -> None:
    import adaptxfer.runs.engines.events as module

    monkeypatch.setattr(module, "PULSE", 0.0)

    class Slow(Scripted):
        """Needs one look before it ends."""

        def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
            if self.running and not self.looked:
                self.looked = True
                return []
            return super().wait(seconds)

        looked = False

    drive(Schedule(Grid("drawn", (stage("a"),)), {}), Slow({"a": [Outcome("finished", "target-a-00000000")]}))
    pulse = next(item for item in events(screen) if item["event"] == "progress")
    assert pulse["running"] == [{"stage": "stage a", "step": 3, "steps": 9, "tokens_per_s": 50.0}]
    assert (pulse["done"], pulse["of"], pulse["tokens_per_s"]) == (0, 1, 50.0)
