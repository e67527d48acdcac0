"""A few hundred drawn cases for each reader of foreign files; ``python -m benchmarks.fuzz`` draws thousands."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzzing import BUNDLE, TARGETS, attempt, plain

CASES = 60


@pytest.mark.parametrize("name", TARGETS)
def test_a_result_or_a_sentence(name: str, tmp_path) -> None:
    @seed(1)
    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(TARGETS[name].drawn)
    def run(drawn: object) -> None:
        attempt(name, drawn, tmp_path)

    run()


NAMES = ("bundle.json", "task file by hand", "safetensors")


def test_both_ends_are_reached(tmp_path) -> None:
    """What is in order is taken, and of what is drawn some is refused by each reader."""
    assert attempt("bundle.json", plain(BUNDLE), tmp_path) is None
    ends = set()

    @seed(2)
    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), TARGETS[name].drawn)))
    def run(drawn: tuple) -> None:
        ends.add((drawn[0], attempt(*drawn, tmp_path) is None))

    run()
    assert {*((name, False) for name in NAMES), ("task file by hand", True)} <= ends
