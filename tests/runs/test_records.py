from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adaptxfer.console import jsonable
from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.records import MEAN, ZERO_SHOT, Points, Record, compare, read_record, seed_summary
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.tables import comparison_document, domain_table, gain_table, scores_table


def record(seed: int = 1, intermediates: tuple[str, ...] = (), task: str = "xnli", **points: float) -> Record:
    """A record scored on 100 test examples per language."""
    others = [value for language, value in points.items() if language != "en"]
    return Record(
        run=f"evaluate-{task}_{'_'.join(intermediates) or 'none'}-{seed:08x}",
        task=task,
        metric="accuracy",
        method="lora",
        how="stack" if intermediates else "none",
        seed=seed,
        intermediates=intermediates,
        split="test",
        languages={language: {"accuracy": value, "n": 100} for language, value in points.items()},
        mean=statistics.fmean(points.values()),
        mean_zero_shot=statistics.fmean(others) if others else None,
    )


def write_run(store: RunStore, status: str = "finished", **scores: Any) -> str:
    request = {key: {"value": value, "from": "you"} for key, value in (("method", "lora"), ("how", "fuse"))}
    document = {"schema": 1, "task": "xquad", "metric": "f1", "split": "test", "mean": 50.0, "mean_zero_shot": 40.0}
    languages = {"en": {"f1": 60.0, "em": 50.0, "n": 10, "split": "dev"}, "sw": {"f1": 40.0, "em": 30.0, "n": 9}}
    with store.open("target", "xquad", "00000000", fresh=True) as run:
        run.start(request, seed=7, parents=["intermediate-squad-v1-00000001", "intermediate-a_b-00000002", "elsewhere"])
        run.write_scores({**document, "languages": languages, **scores})
        if status == "finished":
            run.finish()
    return run.name


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


def test_read_record(store: RunStore) -> None:
    found = read_record(store.find(write_run(store)))
    assert (found.task, found.metric, found.method, found.how, found.seed) == ("xquad", "f1", "lora", "fuse", 7)
    assert found.intermediates == ("squad-v1", "a_b")
    assert found.points() == {"en": 60.0, "sw": 40.0, MEAN: 50.0, ZERO_SHOT: 40.0}
    assert found.examples("en") == (10, "dev")
    assert found.examples("sw") == (9, "test")


def test_intermediates_from_the_request_win(store: RunStore) -> None:
    with store.open("evaluate", "x", "00000000") as run:
        run.start({"intermediates": {"value": ["hellaswag"], "from": "you"}}, seed=1, parents=["target-x-00000001"])
        languages = {"sw": {"accuracy": 1.0, "n": 1}}
        scores = {"schema": 1, "task": "x", "metric": "accuracy", "split": "test", "languages": languages}
        run.write_scores({**scores, "mean": 1.0, "mean_zero_shot": None})
        run.finish()
    assert read_record(store.find("00000000")).intermediates == ("hellaswag",)


def test_only_finished_runs_with_valid_scores_are_results(store: RunStore) -> None:
    name = write_run(store, status="running")
    with pytest.raises(AdaptxferError, match="has no result: it is interrupted"):
        read_record(store.find(name))
    name = write_run(store)
    (store.root / name / "scores.json").write_text('{"schema": 1')
    with pytest.raises(AdaptxferError, match="not valid JSON"):
        read_record(store.find(name))
    (store.root / name / "scores.json").unlink()
    with pytest.raises(AdaptxferError, match="does not exist"):
        read_record(store.find(name))
    (store.root / name / "manifest.json").write_text("{")
    with pytest.raises(AdaptxferError, match="has no result"):
        read_record(store.find(name))


def test_seed_summary_is_mean_and_sample_deviation() -> None:
    summary = seed_summary([record(3, en=80.0, sw=62.0), record(1, en=82.0, sw=60.0), record(2, en=84.0, sw=58.0)])
    assert summary["en"] == Points(82.0, 2.0, 3)
    assert summary["sw"] == Points(60.0, 2.0, 3)
    assert summary[MEAN] == Points(71.0, 0.0, 3)
    assert summary[ZERO_SHOT] == Points(60.0, 2.0, 3)
    assert str(summary["en"]) == "82.0 ± 2.0"
    assert str(seed_summary([record(en=80.0)])["en"]) == "80.0"


def test_seed_summary_refuses_what_are_no_repeats() -> None:
    with pytest.raises(AdaptxferError, match="no record"):
        seed_summary([])
    with pytest.raises(AdaptxferError, match="both have seed 1"):
        seed_summary([record(1, en=1.0), record(1, en=2.0)])
    with pytest.raises(AdaptxferError, match="differ in more than the seed"):
        seed_summary([record(1, en=1.0), record(2, ("mnli",), en=2.0)])
    with pytest.raises(AdaptxferError, match="Choose runs of one task"):
        seed_summary([record(1, en=1.0), record(2, task="xcopa", en=2.0)])


def test_gain_is_paired_by_seed() -> None:
    baseline = [record(1, sw=60.0), record(2, sw=70.0), record(9, sw=0.0)]
    with_modules = [record(2, ("mnli",), sw=71.0), record(1, ("mnli",), sw=62.0)]
    found = compare(baseline, with_modules)
    gain = found.gains[0]
    assert found.paired and found.seeds == (1, 2) and found.left_out == ("seed 9",)
    assert gain.row == "sw"
    assert (gain.baseline.mean, gain.with_modules.mean, gain.gain.mean) == (65.0, 66.5, 1.5)
    assert gain.gain.sd == pytest.approx(statistics.stdev([2.0, 1.0]))  # that of the differences
    assert gain.baseline.sd == pytest.approx(statistics.stdev([60.0, 70.0]))


def test_gain_without_a_common_seed_has_no_deviation() -> None:
    found = compare([record(1, sw=60.0), record(2, sw=62.0)], [record(3, ("mnli",), sw=64.0)])
    assert not found.paired and found.seeds == ()
    assert found.gains[0].gain == Points(3.0, None, 0)
    assert "not paired" in gain_table(found).caption


def test_means_are_compared_over_the_same_languages_only() -> None:
    same = compare([record(en=80.0, sw=60.0)], [record(1, ("mnli",), en=81.0, sw=63.0)])
    assert [gain.row for gain in same.gains] == ["en", "sw", MEAN, ZERO_SHOT]
    other = compare([record(en=80.0, sw=60.0)], [record(1, ("mnli",), en=81.0, ur=63.0)])
    assert [gain.row for gain in other.gains] == ["en"]
    assert other.left_out == ("sw", "ur")
    with pytest.raises(AdaptxferError, match="share no language"):
        compare([record(sw=1.0)], [record(1, ("mnli",), ur=1.0)])


def test_what_was_measured_differently_is_not_compared() -> None:
    shorter = record(1, ("mnli",), sw=60.0)
    shorter = Record(**{**vars(shorter), "languages": {"sw": {"accuracy": 60.0, "n": 50}}})
    with pytest.raises(AdaptxferError, match=r"100 examples of test in .* 50 of test"):
        compare([record(sw=60.0)], [shorter])
    with pytest.raises(AdaptxferError, match="Choose runs of one task"):
        compare([record(sw=60.0)], [record(1, ("mnli",), task="xcopa", sw=60.0)])


def test_scores_table_of_one_run(store: RunStore) -> None:
    table = scores_table([read_record(store.find(write_run(store)))])
    assert table.title == "xquad, test: lora, fuse on squad-v1, a_b"
    assert table.names() == ["language", "f1", "em", "n", "split"]
    assert table.texts() == [
        ["en", "60.0", "50.0", "10", "dev"],
        ["sw", "40.0", "30.0", "9", "test"],
        ["mean", "50.0", "40.0", "–", "–"],
        ["mean zero-shot", "40.0", "30.0", "–", "–"],
    ]
    assert table.caption == "points (0-100), seed 7"


def test_scores_table_of_repeats() -> None:
    table = scores_table([record(1, en=80.0), record(2, en=81.0)])
    assert table.title == "xnli, test: lora, no intermediate task"
    assert table.texts()[0] == ["en", "80.5 ± 0.7", "100"]
    assert table.caption == "points (0-100), mean ± standard deviation over 2 seeds (1, 2)"


def test_domain_table_over_seeds() -> None:
    def with_domains(seed: int, news: float, travel: float) -> Record:
        found = record(seed, sw=50.0, ur=40.0)
        domains = {"news": {"accuracy": news, "n": 60}, "travel": {"accuracy": travel, "n": 40}}
        return replace(found, languages={**found.languages, "sw": {**found.languages["sw"], "domains": domains}})

    table = domain_table([with_domains(1, 70.0, 20.0), with_domains(2, 60.0, 30.0)])
    assert table is not None and table.names() == ["language", "news", "travel"]
    assert table.texts() == [["sw", "65.0", "25.0"], ["mean", "65.0", "25.0"]]
    assert table.caption == "points (0-100); news 60, travel 40 queries"
    assert domain_table([record(1, en=80.0)]) is None


def test_gain_table_and_document() -> None:
    found = compare([record(1, en=80.0), record(2, en=82.0)], [record(1, ("a",), en=81.0), record(2, ("a",), en=81.0)])
    table = gain_table(found)
    assert table.names() == ["language", "baseline", "with", "gain"]
    assert table.texts()[0] == ["en", "81.0 ± 1.4", "81.0 ± 0.0", "+0.0 ± 1.4"]
    document = jsonable(comparison_document(found))
    assert document["languages"]["en"]["gain"] == {"mean": 0.0, "sd": pytest.approx(2**0.5), "seeds": 2}
    assert document["mean"]["baseline"]["mean"] == 81.0
    assert document["paired"] is True and document["seeds"] == [1, 2]
    down = compare([record(en=80.0)], [record(1, ("a",), en=79.0)])
    assert gain_table(down).texts()[0][-1] == "-1.0"
