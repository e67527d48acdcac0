"""Which words of a recipe go together."""

from __future__ import annotations

import pytest

from adaptxfer.errors import USE, AdaptxferError
from adaptxfer.modules.recipe import Recipe, parse_weights


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"by": "averag"}, "'average'"),
        ({"by": "average", "density": 0.5}, "belongs to --by ties"),
        ({"by": "ties", "drop": 0.5}, "belongs to --by dare"),
        ({"by": "ties", "density": 0.0}, "above 0 up to 1"),
        ({"by": "ties", "density": float("nan")}, "above 0 up to 1"),
        ({"by": "dare", "drop": 1.0}, "below 1"),
        ({"by": "soup", "weights": (1.0, 1.0)}, "chooses the weights itself"),
        ({"by": "average", "weights": (1.0, -1.0)}, "--by arithmetic"),
        ({"by": "arithmetic", "weights": (0.0, 0.0)}, "not all zero"),
        ({"by": "arithmetic", "weights": (float("inf"), 1.0)}, "finite"),
    ],
)
def test_refused(given: dict, told: str) -> None:
    with pytest.raises(AdaptxferError) as caught:
        Recipe(**given)
    assert told in str(caught.value) and caught.value.code == USE


def test_numbers_of_modules() -> None:
    Recipe("arithmetic").check_count(1)
    with pytest.raises(AdaptxferError, match="2 or more bundles, got 1"):
        Recipe("ties").check_count(1)
    with pytest.raises(AdaptxferError, match="2 numbers for 3 bundles"):
        Recipe("average", (1.0, 2.0)).check_count(3)


def test_shares() -> None:
    assert Recipe("average", (1.0, 3.0)).shares(2) == (0.25, 0.75)
    assert Recipe("arithmetic", (1.0, -3.0)).shares(2) == (1.0, -3.0)
    assert Recipe("arithmetic").shares(2) == (1.0, 1.0) and Recipe("ties").shares(4) == (0.25,) * 4


def test_what_decides_the_result() -> None:
    assert Recipe("average", seed=3).to_dict(2) == {"by": "average", "weights": [0.5, 0.5]}
    assert Recipe("average", (2.0, 2.0)).to_dict(2) == Recipe("average").to_dict(2)
    assert Recipe("ties").to_dict(2)["density"] == 0.2 and Recipe("soup").to_dict(2) == {"by": "soup"}
    assert Recipe("dare", seed=3).to_dict(2) == {"by": "dare", "weights": [0.5, 0.5], "drop": 0.5, "seed": 3}


def test_weights_as_words() -> None:
    assert parse_weights(["1", "-0.5"]) == (1.0, -0.5) and parse_weights([]) == ()
    with pytest.raises(AdaptxferError, match="not a list of numbers"):
        parse_weights(["1", "x"])
