from __future__ import annotations

import json
from pathlib import Path

import pytest

import adaptxfer.api as ax
from adaptxfer.errors import AdaptxferError
from adaptxfer.runs import evaluate as evaluates
from adaptxfer.runs import train as trains
from tests.world import World, no_training, open_world


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    with open_world(tmp_path_factory.mktemp("api"), mini_dir) as made:
        yield made


@pytest.fixture(scope="module")
def bundle(world: World):
    return ax.train_intermediate("endings", **world.training)


@pytest.fixture(scope="module")
def results(world: World, bundle):
    """A baseline, then a transfer from the bundle, with two seeds."""
    baseline = ax.transfer("weather", how="none", seeds=(1, 2), **world.training)
    return baseline, ax.transfer("weather", [bundle], seeds=(1, 2), **world.training)


def test_a_bundle_can_be_given_in_three_ways(world, bundle, results) -> None:
    first = results[1].runs[0].name
    for given in (bundle, bundle.folder, bundle.folder.name):
        assert ax.transfer("weather", [given], **world.training).runs[0].name == first
    assert ax.load_bundle(bundle.folder).files == bundle.files


def test_gains_come_with_the_baseline(results) -> None:
    baseline, result = results
    assert baseline.comparison is None and len(baseline.tables()) == 1
    assert [run.name for run in result.baselines] == [run.name for run in baseline.runs]
    gains = {gain.row: gain for gain in result.comparison.gains}
    assert set(gains) == {"en", "de", "sw", "mean", "mean zero-shot"} and result.comparison.seeds == (1, 2)
    with_scores = [run.read_scores()["mean"] for run in result.runs]
    without = [run.read_scores()["mean"] for run in baseline.runs]
    expected = sum(a - b for a, b in zip(with_scores, without, strict=True)) / 2
    assert gains["mean"].gain.mean == pytest.approx(expected)


def test_a_result_as_document_and_as_text(results) -> None:
    document = json.loads(json.dumps(results[1].to_dict()))
    assert [run["seed"] for run in document["runs"]] == [1, 2] and document["gain"]["paired"] is True
    assert document["runs"][0]["scores"]["task"] == "weather"
    text = results[1].to_markdown()
    assert "| language" in text and "bottleneck, stack on endings" in text and "over 2 seeds" in text


def test_the_same_again_is_answered_from_the_records(world, bundle, results, monkeypatch) -> None:
    monkeypatch.setattr(trains, "load_encoder", no_training)
    monkeypatch.setattr(evaluates, "load_encoder", no_training)
    again = ax.transfer("weather", [bundle], seeds=(1, 2), **world.training)
    assert again.to_dict() == results[1].to_dict()


def test_a_trained_bundle_is_evaluated_as_it_is(world, bundle, results) -> None:
    trained = world.root / "runs" / results[1].runs[0].manifest["parents"][0]
    result = ax.evaluate(trained, "weather", **world.options)
    assert result.runs[0].name == results[1].runs[0].name, "the transfer has done this"
    assert result.comparison is not None
    seasons = ax.evaluate(trained, "seasons", languages=["sw"], **world.options)
    assert list(seasons.records[0].languages) == ["sw"] and seasons.records[0].intermediates == ("endings",)
    climate = ax.evaluate(trained, "climate", languages=["sw"], **world.options)
    assert climate.runs[0].read_scores()["mean"] == seasons.runs[0].read_scores()["mean"], "labels map by name"
    with pytest.raises(AdaptxferError, match="names is of kind tag") as caught:
        ax.evaluate(trained, "names", **world.options)
    assert "adaptxfer transfer --to names" in caught.value.hint


def test_retrieval_says_which_module_embeds(world, bundle) -> None:
    one = ax.evaluate(bundle, "twins", layer=1, **world.options)
    two = ax.transfer("twins", [bundle], layer="1", **world.options)
    assert one.runs[0].name == two.runs[0].name
    assert (one.records[0].how, one.records[0].intermediates) == ("stack", ("endings",))


def test_a_base_model_in_a_folder_must_be_named_again(world, bundle) -> None:
    options = {name: value for name, value in world.options.items() if name != "model"}
    with pytest.raises(AdaptxferError, match="base model tiny, which was a folder") as caught:
        ax.evaluate(bundle, "twins", layer=1, **options)
    assert "--model" in caught.value.hint


def test_the_report_of_trainings(bundle) -> None:
    document, table = ax.training_report([bundle])
    (entry,) = document["runs"]
    assert entry["run"] == bundle.folder.name and entry["training"]["steps"] == 6
    assert table.rows[0][:3] == [bundle.folder.name, 1, "endings"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batchsize": 4}, "Did you mean 'batch_size'?"),
        ({"data_dir": "nowhere"}, "--data-dir nowhere is not a folder"),
        ({"method": "adapter"}, "--method 'adapter' is unknown"),
    ],
)
def test_options_that_do_not_exist(options, said: str) -> None:
    with pytest.raises(AdaptxferError, match=said) as caught:
        ax.make_ask(**options)
    assert caught.value.code == 1


def test_options_may_be_text() -> None:
    ask = ax.make_ask(data_dir=str(Path.cwd()), runs="here", tasks=["a"], epochs=None)
    assert (ask.data_dir, ask.runs, ask.tasks, ask.epochs) == (Path.cwd(), Path("here"), ("a",), None)
    with pytest.raises(AdaptxferError, match="No task was named"):
        ax.train_intermediate()
