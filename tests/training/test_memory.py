from __future__ import annotations

import sys

import pytest

from adaptxfer.training import memory


def test_pages_are_returned_every_few_steps(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "_trim", lambda: calls.append)
    for step in range(2 * memory.EVERY + 1):
        memory.release_memory(step)
    assert calls == [0, 0, 0]


def test_another_c_library_is_left_alone(monkeypatch):
    memory._trim.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory._trim() is None
    memory.release_memory(0)
    memory._trim.cache_clear()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_the_real_call_works():
    memory._trim.cache_clear()
    memory.release_memory(0)
