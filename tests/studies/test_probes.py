"""Vectors and labels behind `select`, on the embedded encoder."""

from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.api import make_ask, merge, train_intermediate
from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.estimators import logme
from adaptxfer.studies.pairs import SELECTOR
from adaptxfer.studies.probes import Probe, fit_modules
from adaptxfer.studies.select.vectors import depths, labelled_vectors
from adaptxfer.tasks.find import load_task
from tests.world import open_world, rows


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    with open_world(tmp_path_factory.mktemp("probes"), mini_dir) as made:
        for language in ("de", "sw"):
            made.write("twins", "test", language, rows("twins", 6, language))
        yield made


def test_what_is_known_about_modules(world) -> None:
    bundles = [train_intermediate("endings", **world.training), train_intermediate("weather", **world.training)]
    bundles.append(merge(bundles, **world.options))
    ask = make_ask(**world.options)
    fits = fit_modules(load_task("climate", ask.tasks), bundles, ask, 24, parallel="twins")
    assert [fit.values["logme"] for fit in fits] == sorted((fit.values["logme"] for fit in fits), reverse=True)
    by_name = {fit.intermediate: fit for fit in fits}
    assert {*by_name["none"].values} == {"logme", "h_score", "alignment"} and by_name["none"].values["alignment"] == 0
    assert {*by_name["average-endings-weather"].values} == {"logme", "h_score", "alignment"}  # of no one task
    full = by_name["weather"].values
    assert {*full} == {"logme", "h_score", "alignment", "tokens", "text", "task", "overlap", "variety", "lengths",
                       "labels"}  # fmt: skip
    assert full["text"] == pytest.approx(1) and full["task"] == pytest.approx(1)  # climate trains on weather's data
    other = by_name["endings"].values
    assert "labels" not in other and other["text"] < 0.999 and 0 < other["overlap"] < full["overlap"] <= 1
    table = by_name["weather"].rows("climate", "tiny", "bottleneck")
    assert {row.metric: row.value for row in table} == full and {row.study for row in table} == {SELECTOR}


def test_without_translations_and_for_one_language(world) -> None:
    ask = make_ask(**world.options)
    (fit,) = fit_modules(load_task("names", ask.tasks), [], ask, 24, ["sw"])
    assert fit.intermediate == "none" and fit.vectors == 72 and {*fit.values} == {"logme", "h_score"}


def test_several_layers(world) -> None:
    ask = make_ask(**world.options)
    task = load_task("climate", ask.tasks)
    probe = Probe(task, ask, 24, None, None, "best")
    by_layer, labels, _ = labelled_vectors(probe.bare, probe.target.features, probe.layers)
    values = [logme(vectors, labels) for vectors in by_layer.values()]
    assert len(values) == len(depths(probe.base.layers)) > 1 and values[-1] != max(values) != np.mean(values)
    for layers, wanted in (("last", values[-1]), ("best", max(values)), ("mean", np.mean(values))):
        (fit,) = fit_modules(task, [], ask, 24, layers=layers)
        assert fit.values["logme"] == pytest.approx(wanted)
    assert depths(24) == [6, 12, 18, 24] and depths(2) == [1, 2]


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(AdaptxferError, match="retrieval"):
        fit_modules(load_task("tatoeba"), [], make_ask(model="mini"))
    with pytest.raises(AdaptxferError, match="--layers all"):
        fit_modules(load_task("sample_claims"), [], make_ask(model="mini"), layers="all")
    with pytest.raises(AdaptxferError, match="no language 'zz'"):
        fit_modules(load_task("sample_claims"), [], make_ask(model="mini"), languages=["zz"])
    with pytest.raises(AdaptxferError, match="10 labelled vectors"):
        fit_modules(load_task("sample_claims"), [], make_ask(model="mini"), 10)
