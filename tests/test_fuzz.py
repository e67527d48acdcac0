"""A few hundred drawn cases for each reader of foreign files; ``python -m benchmarks.fuzz`` draws thousands."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzzing import TARGETS, attempt

CASES = 60


@pytest.mark.parametrize("name", TARGETS)
def test_a_result_or_a_sentence(name: str, tmp_path) -> None:
    @seed(1)
    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(TARGETS[name].drawn)
    def run(drawn: object) -> None:
        attempt(name, drawn, tmp_path)

    run()


def test_both_ends_are_reached(tmp_path) -> None:
    ends = set()

    @seed(2)
    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(["bundle.json", "task file by hand", "safetensors"]).flatmap(
        lambda name: st.tuples(st.just(name), TARGETS[name].drawn)))  # fmt: skip
    def run(drawn: tuple) -> None:
        ends.add((drawn[0], attempt(*drawn, tmp_path) is None))

    run()
    assert len(ends) == 6, "some inputs are taken and some refused by each"
