from __future__ import annotations

from dataclasses import replace

import pytest

from adaptxfer.api import Result
from adaptxfer.runs import evaluate as evaluates
from adaptxfer.runs.evaluate import run_evaluation
from adaptxfer.runs.plan import find_task, plan_evaluation
from adaptxfer.runs.records import read_record
from adaptxfer.runs.run import Run
from adaptxfer.runs.tables import scores_table
from tests.world import World, no_training, rows


def plan(ask, bundles, on="weather", **options):
    head = bundles[0].task if on == "weather" else None
    return plan_evaluation(find_task(on, ask, "target"), ask, 1, "none", bundles, head=head, **options)


def test_an_evaluation_leaves_scores_and_records(ask, modules) -> None:
    run = run_evaluation(plan(ask, modules("bottleneck")[1:]))
    assert run.status == "finished" and run.predicted() == ["de", "en", "sw"]
    assert set(run.manifest["data"]) == {"weather/test/en", "weather/test/de", "weather/test/sw"}
    scores = run.read_scores()
    for language in ("en", "de", "sw"):
        records = run.read_predictions(language)
        share = 100 * sum(record["gold"] == record["predicted"] for record in records) / len(records)
        assert scores["languages"][language] == {"accuracy": pytest.approx(share), "n": 6}
    assert scores["mean"] == pytest.approx(sum(v["accuracy"] for v in scores["languages"].values()) / 3)
    assert run.manifest["parents"] == [modules("bottleneck")[1].folder.name]
    assert run.manifest["n_params"] > 0


def test_a_finished_evaluation_is_not_repeated(ask, modules, monkeypatch) -> None:
    stage = plan(ask, modules("bottleneck")[1:])
    first = run_evaluation(stage)
    monkeypatch.setattr(evaluates, "load_encoder", no_training)
    assert run_evaluation(stage).manifest == first.manifest
    with pytest.raises(AssertionError):
        run_evaluation(replace(stage, ask=replace(ask, fresh=True)))


def stop_after(monkeypatch, count: int) -> None:
    real = evaluates.evaluate_languages

    def some(*given):
        for number, result in enumerate(real(*given)):
            if number == count:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(evaluates, "evaluate_languages", some)


@pytest.mark.parametrize("damaged", [False, True])
def test_an_interrupted_evaluation_does_the_rest(ask, modules, tmp_path, monkeypatch, damaged: bool) -> None:
    stage = plan(ask, modules("bottleneck")[1:])
    whole = run_evaluation(replace(stage, ask=replace(ask, runs=tmp_path / "other")))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 2)
        run_evaluation(stage)
    stopped = Run(next(ask.runs.iterdir()))
    assert stopped.status == "interrupted" and stopped.predicted() == ["de", "en"]
    if damaged:
        (stopped.path / "predictions" / "en.jsonl").write_text('{"id": ')
    done, real = [], evaluates.evaluate_languages

    def spied(model, head, task, languages, *rest):
        done.extend(languages)
        return real(model, head, task, languages, *rest)

    monkeypatch.setattr(evaluates, "evaluate_languages", spied)
    run = run_evaluation(stage)
    assert done == (["en", "sw"] if damaged else ["sw"])
    assert run.read_scores() == whole.read_scores()
    assert run.manifest["data"] == whole.manifest["data"] and run.manifest["splits"] == whole.manifest["splits"]


def test_retrieval_with_the_bare_encoder_a_module_and_an_average(ask, modules) -> None:
    bundles = modules("bottleneck")
    for how, given in (("none", []), ("stack", bundles[:1]), ("merge", bundles)):
        stage = plan_evaluation(find_task("twins", ask, "target"), ask, 1, how, given, layer="1")
        scores = run_evaluation(stage).read_scores()
        assert set(scores["languages"]) == {"de", "sw"} and scores["mean"] == scores["mean_zero_shot"]
        assert set(scores["languages"]["de"]) == {"accuracy", "accuracy_reverse", "accuracy_mean", "n"}


def test_all_layers_side_by_side(ask) -> None:
    stage = plan_evaluation(find_task("twins", ask, "target"), ask, 1, "none", [], layer="all")
    sweep = run_evaluation(stage).read_scores()["languages"]["de"]
    assert set(sweep["layers"]) == {"0", "1", "2"} and sweep["layers"]["2"] == sweep["accuracy"]
    single = plan_evaluation(find_task("twins", ask, "target"), ask, 1, "none", [], layer="0")
    assert run_evaluation(single).read_scores()["languages"]["de"]["accuracy"] == sweep["layers"]["0"]


def test_a_limit_takes_the_first_examples(ask, modules) -> None:
    run = run_evaluation(plan(ask, modules("bottleneck")[1:], limit=2, languages=["de"]))
    assert [record["id"] for record in run.read_predictions("de")] == ["test0", "test1"]


def test_a_test_set_without_labels_is_predicted_and_not_scored(ask, modules, tmp_path, monkeypatch) -> None:
    own = World(tmp_path)
    for code in ("en", "de", "sw"):
        hidden = {} if code == "sw" else {"label": None}
        own.write("weather", "test", code, [row | hidden for row in rows("weather", 6, "test")])
    asked = replace(ask, data_dir=tmp_path / "data")
    stage = plan(asked, modules("bottleneck")[1:], split="test")
    whole = run_evaluation(replace(stage, ask=replace(asked, runs=tmp_path / "other")))
    scores = whole.read_scores()
    assert list(scores["languages"]) == ["sw"] and scores["unscored"] == {"en": {"n": 6}, "de": {"n": 6}}
    assert {record["predicted"] for record in whole.read_predictions("de")} <= {"dry", "wet"}
    assert read_record(whole).unscored == scores["unscored"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 2)
        run_evaluation(stage)
    assert run_evaluation(stage).read_scores() == scores
    bare = run_evaluation(plan(asked, modules("bottleneck")[1:], split="test", languages=["de"]))
    assert "without a score: predicted, no labels" in Result((bare,), (bare,)).to_markdown()
    assert bare.read_scores()["mean"] is None and ["de", "–", "6"] == scores_table([read_record(bare)]).texts()[0]
