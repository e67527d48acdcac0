"""Predicted gains: what is planted is found, and intervals and P(harm) hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.pairs import SELECTOR
from adaptxfer.studies.select.predict import fit, gains_by_target, left_out, predict, signal, signals
from adaptxfer.studies.table import RecordTable, Row


def records(gains: np.ndarray, said: np.ndarray | None = None) -> RecordTable:
    """A table of gains (T, I) over a baseline of 50 points in German and English, and LogME (T, I)."""
    rows = []
    for t, by in enumerate(gains):
        for language, factor in (("de", 1.0), ("en", 0.0)):
            rows.append(Row(f"t{t}", language, "accuracy", 50.0, 1))
            rows += [Row(f"t{t}", language, "accuracy", 50 + factor * g, 1, f"i{i}") for i, g in enumerate(by)]
        if said is not None:
            rows += [Row(f"t{t}", "en", "logme", z, 0, f"i{i}", study=SELECTOR) for i, z in enumerate(said[t])]
    return RecordTable(tuple(rows))


def logme(values) -> dict:
    return {"logme": {f"i{i}": float(z) for i, z in enumerate(values)}}


def test_languages() -> None:
    table = records(np.array([[2.0, -1.0], [4.0, 0.0]]))
    assert gains_by_target(table)["t0"] == {"i0": 1.0, "i1": -0.5}
    assert gains_by_target(table, "de")["t1"] == {"i0": 4.0, "i1": 0.0}
    with pytest.raises(AdaptxferError):
        gains_by_target(table, "sw")


def test_signals_are_standardised_within_a_target() -> None:
    found = signal({"logme": {"a": -5.0, "b": -7.0}, "tokens": {"a": 1e6, "b": 3e6}})
    assert found == {"a": 0.0, "b": 0.0}  # they disagree
    assert signal({"logme": {"a": -5.0, "b": -7.0}, "text": {"a": 0.9}}) == {"a": 1.0, "b": -1.0}  # text lacks b
    assert signal({"logme": {"a": 1.0, "b": 1.0}}) == {"a": 0.0, "b": 0.0} and signal({}) == {}
    table = records(np.zeros((1, 2)), np.array([[3.0, 1.0]]))
    assert signals(table) == {"t0": {"i0": 1.0, "i1": -1.0}}


def test_a_planted_slope_and_planted_effects() -> None:
    random = np.random.default_rng(1)
    said = random.normal(size=(40, 6))
    said = (said - said.mean(1, keepdims=True)) / said.std(1, keepdims=True)
    effects = np.array([2.0, 1.0, 0.0, 0.0, -1.0, -2.0])
    gains = 0.5 + effects + 1.5 * said + random.normal(0, 0.1, (40, 6))
    table = records(gains, said)
    model = fit(gains_by_target(table, "de"), signals(table))
    assert model.mean == pytest.approx(0.5, abs=0.1) and model.slope == pytest.approx(1.5, abs=0.1)
    assert [model.effects[f"i{i}"] for i in range(6)] == pytest.approx(effects, abs=0.15)
    best, *_ = predict(table, "new", logme([-9, -9, 9, -9, -9, -9]), "de")
    assert best.intermediate == "i2" and best.low < best.gain < best.high and best.p_harm < 0.01 and best.reliable


def test_effects_that_are_noise_are_shrunk_away() -> None:
    random, kept = np.random.default_rng(2), []
    for _ in range(40):
        gains = random.normal(1, 1, (9, 8))
        model = fit(gains_by_target(records(gains), "de"), {})
        raw = (gains - gains.mean(1, keepdims=True)).mean(0)
        kept.append(np.std(list(model.effects.values())) / raw.std())
        assert model.slope == 0
    assert np.mean(kept) < 0.25


def test_the_target_itself_teaches_nothing() -> None:
    gains = np.random.default_rng(3).normal(size=(4, 3))
    changed = gains.copy()
    changed[3] += [50, -50, 0]
    one, two = (predict(records(g), "t3", logme([1, 2, 3])) for g in (gains, changed))
    assert one == two and one[0].n_units == 3 and not one[0].reliable
    said = dict(left_out(gains_by_target(records(gains)), {}))["t3"]
    assert said == pytest.approx(dict(left_out(gains_by_target(records(changed)), {}))["t3"])


def test_an_unknown_candidate_is_expected_to_be_average() -> None:
    table = records(np.array([[4.0, 0.0], [4.2, 0.1], [3.9, -0.1]]))
    by_name = {p.intermediate: p.gain for p in predict(table, "new", {"logme": {"i0": 0.0, "i1": 0.0, "x": 0.0}}, "de")}
    assert by_name["i1"] < by_name["x"] < by_name["i0"]


def test_too_few_targets() -> None:
    gains = np.random.default_rng(4).normal(size=(2, 3))
    (first, *_) = predict(records(gains), "new", logme([1, 2, 3]))
    assert math.isnan(first.low) and math.isnan(first.p_harm) and first.n_units == 2
    with pytest.raises(AdaptxferError, match="1 other target tasks"):
        predict(records(gains), "t0", logme([1, 2, 3]))


@pytest.mark.parametrize(("targets", "between", "slope"), [(5, 1.0, 0.0), (9, 0.5, 0.8)])
def test_intervals_and_harm_hold_what_they_promise(targets: int, between: float, slope: float) -> None:
    random = np.random.default_rng(5)
    inside, harm, harmed = [], [], []
    for _ in range(60):
        said = random.normal(size=(targets + 1, 6))
        level = random.normal(0.3, 0.4, (targets + 1, 1))
        gains = level + random.normal(0, between, 6) + slope * said + random.normal(0, 0.7, said.shape)
        for item in predict(records(gains[:-1], said[:-1]), "new", logme(said[-1]), "de"):
            true = gains[-1][int(item.intermediate[1:])]
            inside.append(item.low <= true <= item.high)
            harm.append(item.p_harm)
            harmed.append(true < 0)
    assert 0.93 <= np.mean(inside) <= 0.999
    sure, unsure = np.array(harm) < 0.2, np.array(harm) > 0.6
    assert np.array(harmed)[sure].mean() < 0.25 and np.array(harmed)[unsure].mean() > 0.5
