from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest

from adaptxfer.evaluation.suites import expected_rows, score_suite
from adaptxfer.tasks.suites import Suite, load_suite

XLMR_LARGE = {
    "xnli": 79.2, "pawsx": 86.4, "udpos": 72.6, "panx": 65.4, "xquad": (60.8, 76.6), "mlqa": (53.2, 71.6),
    "tydiqa": (45.0, 65.1), "bucc2018": 66.0, "tatoeba": 57.3,
}  # fmt: skip
"""Test scores of XLM-R Large; question answering as (exact match, F1)."""

X_STILTS = {
    "xnli": 80.4, "pawsx": 87.7, "udpos": 74.4, "panx": 64.7, "xquad": (61.3, 77.2), "mlqa": (53.5, 72.3),
    "tydiqa": (59.5, 76.0), "bucc2018": 71.9, "tatoeba": 82.6,
}  # fmt: skip

BY_LANGUAGE = {
    "xnli": "en 88.7 ar 77.2 bg 83.0 de 82.5 el 80.8 es 83.7 fr 82.2 hi 75.6 ru 79.1 sw 71.2 th 77.4 tr 78.0 ur 71.7 "
    "vi 79.3 zh 78.2",
    "pawsx": "de 89.7 en 94.7 es 90.1 fr 90.4 ja 78.7 ko 79.0 zh 82.3",
    "udpos": "af 89.8 ar 67.5 bg 88.1 de 88.5 el 86.3 en 96.1 es 88.3 et 86.5 eu 72.5 fa 70.6 fi 85.8 fr 87.2 he 68.3 "
    "hi 76.4 hu 82.6 id 72.4 it 89.4 ja 15.9 kk 78.1 ko 53.9 mr 80.8 nl 89.5 pt 87.6 ru 89.5 ta 65.2 te 86.6 th 47.2 "
    "tl 92.2 tr 76.3 ur 70.3 vi 56.8 yo 24.6 zh 25.7",
    "xquad": "en 86.5/75.7 ar 68.6/49.0 de 80.4/63.4 el 79.8/61.7 es 82.0/63.9 hi 76.7/59.7 ru 80.1/64.3 th 74.2/62.8 "
    "tr 75.9/59.3 vi 79.1/59.0 zh 59.3/50.0",
    "mlqa": "en 83.5/70.6 ar 66.6/47.1 de 70.1/54.9 es 74.1/56.6 hi 70.6/53.1 vi 74.0/52.9 zh 62.1/37.0",
    "tydiqa": "en 71.5/56.8 ar 67.6/40.4 bn 64.0/47.8 fi 70.5/53.2 id 77.4/61.9 ko 31.9/10.9 ru 67.0/42.1 sw 66.1/48.1 "
    "te 70.1/43.6",
}
"""XLM-R Large per language, from the appendix of the XTREME paper; question answering as F1/exact match."""


@pytest.fixture(scope="module")
def xtreme() -> Suite:
    return load_suite("xtreme")


def document(languages: dict[str, dict[str, float]], split: str = "test") -> dict[str, Any]:
    rows = {code: {"n": 20000, **values} for code, values in languages.items()}
    return {"schema": 1, "task": "t", "metric": "m", "split": split, "languages": rows}


def around(suite: Suite, task: str, means: float | tuple[float, ...]) -> dict[str, Any]:
    """Scores that differ between languages and have the given means."""
    entry = suite.tasks[task]
    means = means if isinstance(means, tuple) else (means,)
    spread = dict(zip(entry.languages[len(entry.languages) % 2 :], cycle((3.0, -3.0)), strict=False))
    pairs = list(zip(entry.scores, means, strict=True))
    return document({code: {key: mean + spread.get(code, 0) for key, mean in pairs} for code in entry.languages})


def row(suite: Suite, cells: dict[str, Any]) -> dict[str, Any]:
    return {task: around(suite, task, means) for task, means in cells.items()}


@pytest.mark.parametrize(
    ("cells", "overall"), [(XLMR_LARGE, 68.1), ({**XLMR_LARGE, "udpos": 73.8}, 68.2), (X_STILTS, 73.5)]
)
def test_the_published_rows(xtreme: Suite, cells: dict[str, Any], overall: float) -> None:
    scores = score_suite(xtreme, row(xtreme, cells))
    assert scores.overall == pytest.approx(overall, abs=0.051)
    assert scores.missing() == {}
    assert scores.tasks["tydiqa"].score == pytest.approx(sum(cells["tydiqa"]) / 2)
    assert scores.tasks["tydiqa"].parts == pytest.approx(dict(zip(("exact", "f1"), cells["tydiqa"], strict=True)))


def test_the_groups_of_x_stilts(xtreme: Suite) -> None:
    groups = score_suite(xtreme, row(xtreme, X_STILTS)).groups
    expected = {"classification": 84.1, "structured": 69.6, "answering": 66.6, "retrieval": 77.3}
    assert groups == pytest.approx(expected, abs=0.051)


def test_the_languages_of_the_appendix_give_the_published_averages(xtreme: Suite) -> None:
    documents = row(xtreme, XLMR_LARGE)
    for task, text in BY_LANGUAGE.items():
        words, keys = text.split(), reversed(xtreme.tasks[task].scores)
        keys = list(keys)
        cells = zip(words[::2], words[1::2], strict=True)
        documents[task] = document(
            {code: dict(zip(keys, map(float, cell.split("/")), strict=True)) for code, cell in cells}
        )
    scores = score_suite(xtreme, documents)
    assert not scores.missing()
    for task in BY_LANGUAGE:
        published = {**XLMR_LARGE, "udpos": 73.8}[task]
        published = sum(published) / 2 if isinstance(published, tuple) else published
        assert scores.tasks[task].score == pytest.approx(published, abs=0.06), task
    assert scores.overall == pytest.approx(68.2, abs=0.06)


def test_english_counts_where_it_is_listed(xtreme: Suite) -> None:
    scores = {code: {"accuracy": 100.0 if code == "en" else 0.0} for code in xtreme.tasks["pawsx"].languages}
    assert score_suite(xtreme, {"pawsx": document(scores)}).tasks["pawsx"].score == pytest.approx(100 / 7)


def test_a_missing_task_leaves_no_overall_score_and_is_named(xtreme: Suite) -> None:
    documents = row(xtreme, X_STILTS)
    del documents["bucc2018"]
    scores = score_suite(xtreme, documents)
    assert scores.overall is None and scores.groups["retrieval"] is None
    assert scores.groups["classification"] is not None
    assert scores.missing() == {"bucc2018": "no run"}


def test_whatever_keeps_a_language_from_counting_is_named(xtreme: Suite) -> None:
    documents = row(xtreme, X_STILTS)
    languages = documents["pawsx"]["languages"]
    documents["pawsx"]["unscored"] = {"fr": {"n": 2000}}
    del languages["fr"], languages["ja"]
    languages["de"]["split"] = "dev"
    languages["ko"]["n"] = 1500
    del languages["zh"]["accuracy"]
    scores = score_suite(xtreme, documents, expected={"pawsx": dict.fromkeys(languages, 2000)})
    pawsx = scores.tasks["pawsx"]
    assert pawsx.score is None and scores.overall is None
    assert pawsx.counted == ("en", "es")
    assert pawsx.so_far == pytest.approx((languages["en"]["accuracy"] + languages["es"]["accuracy"]) / 2)
    assert scores.missing() == {
        "pawsx": "de (scored on dev); fr (no labels); ja (no score); ko (1,500 of 2,000 examples); zh (no accuracy)"
    }


def test_languages_without_the_split_are_not_missed(xtreme: Suite) -> None:
    expected = expected_rows(xtreme, "dev")
    code = {"accuracy": 80.0, "chunk_f1": 70.0, "n": 4000}
    languages = dict.fromkeys(set(xtreme.tasks["udpos"].languages) - {"kk", "th", "tl", "yo"}, code)
    document = {"udpos": {"split": "dev", "languages": languages}}
    scores = score_suite(xtreme, document, "dev", expected).tasks["udpos"]
    assert len(scores.counted) == 29 and scores.score == 70.0
    assert "th" in score_suite(xtreme, {"udpos": {**document["udpos"], "split": "test"}}).tasks["udpos"].missing


def test_languages_outside_the_suite_change_nothing(xtreme: Suite) -> None:
    documents = row(xtreme, X_STILTS)
    before = score_suite(xtreme, documents)
    documents["mlqa"]["languages"]["en-de"] = {"exact": 0.0, "f1": 0.0, "n": 5}
    assert score_suite(xtreme, documents) == before


def test_another_split(xtreme: Suite) -> None:
    documents = row(xtreme, X_STILTS)
    assert all(text == "scored on test" for text in score_suite(xtreme, documents, "dev").missing().values())
    for scores in documents.values():
        scores["split"] = "dev"
    assert score_suite(xtreme, documents, "dev").overall == pytest.approx(73.5, abs=0.051)


def test_expected_rows_are_those_of_the_task_files(xtreme: Suite) -> None:
    rows = expected_rows(xtreme)
    assert rows["xnli"] == dict.fromkeys(xtreme.tasks["xnli"].languages, 5010)
    assert rows["panx"]["yo"] == 100 and rows["tatoeba"]["jv"] == 205
    assert rows["bucc2018"] == {}


def test_xtreme_r_counts_ten_tasks() -> None:
    suite = load_suite("xtreme-r")
    scores = score_suite(suite, {name: around(suite, name, (50.0,) * len(t.scores)) for name, t in suite.tasks.items()})
    assert len(suite.tasks) == 10
    assert scores.overall == pytest.approx(50.0)
