from __future__ import annotations

import json

from adaptxfer.tasks.check import check_task


def rows(count: int, **extra) -> str:
    return "".join(json.dumps({"text": "a", "label": "yes", **extra}) + "\n" for _ in range(count))


def test_findings(task, write, here, plain):
    spec = task(plain + "[expect]\ntrain = 3\ndev = { en = 2, sw = 2 }\ntest = { en = 1 }\n")
    write("train.en.jsonl", rows(2) + '{"text": "b"}\n')
    write("dev.en.jsonl", rows(1))
    write("test.en.jsonl", rows(2))
    write("test.sw.jsonl", "broken")
    found = {(f.split, f.language): f for f in check_task(spec, here)}
    assert {key: f.state for key, f in found.items()} == {
        ("train", "en"): "ok",
        ("dev", "en"): "sample",
        ("dev", "sw"): "missing",
        ("test", "en"): "more",
        ("test", "sw"): "error",
    }
    assert found["train", "en"].count == "3"
    assert found["train", "en"].notes == {"dropped_unlabelled": 1}
    assert found["dev", "en"].count == "1 of 2"
    assert found["dev", "sw"].expected == 2
    assert "line 1 is not valid JSON" in found["test", "sw"].problem


def test_what_never_was_is_not_missed(task, here, plain):
    spec = task(plain + "[expect]\ndev = { sw = 0 }\n")
    assert {(f.split, f.language) for f in check_task(spec, here) if f.split == "dev"} == {("dev", "en")}


def test_without_reading(task, write, here):
    write("dev.sw.jsonl", "broken")
    states = {(f.split, f.language): f.state for f in check_task(task(), here, read_rows=False)}
    assert states["dev", "sw"] == "found"
    assert states["dev", "en"] == "missing"


def test_repeated_ids_are_noticed(task, write, here):
    write("dev.en.jsonl", rows(3, id="x"))
    [finding] = [f for f in check_task(task(), here) if f.state == "ok"]
    assert finding.notes == {"repeated_ids": 2}


def test_a_broken_pool_is_a_finding(task, here, plain):
    spec = task(plain[: plain.index("[columns]")] + 'pool = ["nowhere"]\n')
    [finding] = check_task(spec, here)
    assert finding.state == "error"
    assert "nowhere" in finding.problem
