from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.evaluation.form_faults import SHORT, WRONG, Known, check_form
from adaptxfer.evaluation.forms import Part, submission_parts, write_form
from adaptxfer.tasks.suites import load_suite

QA = {"xquad", "mlqa", "tydiqa"}


@pytest.fixture(scope="module")
def parts() -> dict[str, Part]:
    return submission_parts(load_suite("xtreme")) | submission_parts(load_suite("xtreme-r"))


def records(*predicted: Any) -> list[dict[str, Any]]:
    return [{"id": f"q{number}", "predicted": value} for number, value in enumerate(predicted)]


def test_the_nine_folders_and_their_files() -> None:
    parts = submission_parts(load_suite("xtreme"))
    assert {part.folder for part in parts.values()} == {
        "udpos", "panx", "xnli", "pawsx", "xquad", "mlqa", "tydiqa", "bucc2018", "tatoeba",
    }  # fmt: skip
    for name, part in parts.items():
        assert str(part.path("zh")) == f"{name}/test-zh.{'json' if name in QA else 'tsv'}"
    counts = {name: len(part.languages) for name, part in parts.items()}
    assert counts == {
        "xnli": 15, "pawsx": 7, "udpos": 33, "panx": 40, "xquad": 11, "mlqa": 7, "tydiqa": 9, "bucc2018": 4,
        "tatoeba": 36,
    }  # fmt: skip


def test_the_folders_of_xtreme_r() -> None:
    parts = submission_parts(load_suite("xtreme-r"))
    files = {part.folder: part.suffix for part in parts.values()}
    assert files == {
        "xnli": "tsv", "xcopa": "jsonl", "udpos": "tsv", "panx": "tsv", "xquad": "json", "mlqa": "json",
        "tydiqa": "json", "tatoeba": "tsv", "mewslix": "json",
    }  # fmt: skip


def test_a_task_without_an_export_entry_is_named(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "own.toml").write_text('name = "own"\n[groups]\n[tasks.flores200]\nscores = ["accuracy"]\n')
    with pytest.raises(AdaptxferError, match="does not say how flores200 is exported"):
        submission_parts(load_suite("own", [tmp_path]), [tmp_path])


@pytest.mark.parametrize(
    ("task", "given", "text"),
    [
        ("xnli", records("neutral", "entailment", "contradiction"), "neutral\nentailment\ncontradiction\n"),
        ("pawsx", records("paraphrase", "different"), "1\n0\n"),
        ("panx", records(["O", "B-ORG"], ["B-LOC", "I-LOC"]), "O\nB-ORG\n\nB-LOC\nI-LOC\n"),
        ("xquad", records("北", "b"), '{\n "q0": "\\u5317",\n "q1": "b"\n}\n'),
        ("xcopa", records(1, 0), '{"label": 1}\n{"label": 0}\n'),
        ("tatoeba", records("c", "a"), "2\n0\n"),
        ("bucc2018", [{"source": "de-000413461", "target": "en-000367951"}], "de-000413461\ten-000367951\n"),
        ("mewslix", records(["Q1", "Q2"]), '{\n "q0": [\n  "Q1",\n  "Q2"\n ]\n}\n'),
    ],
)
def test_each_form_as_the_script_reads_it(parts: dict[str, Part], task: str, given: Any, text: str) -> None:
    written = write_form(parts[task], given, {"a": 0, "b": 1, "c": 2})
    assert written == text
    known = Known(3 if task == "tatoeba" else None)
    assert [kind for kind, _ in check_form(parts[task], "de", written, known)] == ([SHORT] if known.rows else [])


@pytest.mark.parametrize(
    ("task", "text", "known", "problems"),
    [
        ("xnli", "neutral\n\nmaybe\nentails\n", Known(4), [
            "has an empty label (line 2)",
            "has the label 'maybe', not one of contradiction, entailment, neutral (line 3 and 1 more)"]),
        ("xnli", "neutral\n" * 3, Known(2), ["has 3 lines, expected 2"]),
        ("xnli", "", Known(2), ["has no lines"]),
        ("pawsx", "1\nparaphrase\n", Known(2), ["has the label 'paraphrase', not one of 0, 1 (line 2)"]),
        ("panx", "O\n\n\nB-MISC\n", Known(3, words=(1, 1, 2)), [
            "has no tag (sentence 2)", "has another number of tags than words (sentence 3)",
            "has the tag 'B-MISC', not one of B-LOC, B-ORG, B-PER, I-LOC, I-ORG, I-PER, O (line 4)"]),
        ("xquad", '{"a": "x", "a": "x", "b": " ", "c": 3, "d": "y"}', Known(5, {"a", "b", "c", "e"}), [
            "has an id twice (id a)", "has 4 questions, expected 5", "has an unknown id (id d)",
            "has no prediction (id e)", "has an answer that is no text (question c)",
            "has an empty answer (question b)"]),
        ("xquad", '["a"]', Known(1), ["is no JSON object from id to prediction"]),
        ("xquad", "[]", Known(1), ["is no JSON object from id to prediction"]),
        ("xquad", "{}", Known(1), ["has no questions"]),
        ("mewslix", '{"a": ["Q1", "Q1"], "b": [], "c": "Q1"}', Known(), [
            "has something else than 1 to 20 different ids (query a and 2 more)"]),
        ("xcopa", '{"label": 2}\n{"label": 0}\n1\n0.5\n', Known(4), [
            "has the label '2', not one of 0, 1 (line 1 and 2 more)"]),
        ("xcopa", '{"label": "1"}\n{"label": true}\n{"label": 1, \n\n', Known(4), [
            "has an empty label (line 4)", "has the label '\"1\"', not one of 0, 1 (line 1 and 2 more)"]),
        ("tatoeba", "0\n3\n-1\n", Known(3), ["has the number '3', not one of 0 to 2 (line 2 and 1 more)"]),
        ("bucc2018", "de-1\ten-1\nde-1\ten-1\nde-2\nfr-3\ten-x\n", Known(), [
            "has something else than two ids with a tab between (line 3)", "has a pair twice (pair de-1 en-1)",
            "has an unknown id of a sentence in de (id fr-3)", "has an unknown id of a sentence in en (id en-x)"]),
        ("bucc2018", "de-1\ten-2\n", Known(None, {"de-1"}, {"en-1"}), [
            "has an unknown id of a sentence in en (id en-2)"]),
        ("bucc2018", "", Known(), ["has no pair"]),
    ],
)  # fmt: skip
def test_everything_wrong_with_a_file_is_told_at_once(
    parts: dict[str, Part], task: str, text: str, known: Known, problems: list[str]
) -> None:
    assert [problem for _, problem in check_form(parts[task], "de", text, known)] == problems


def test_fewer_examples_are_short_and_not_wrong(parts: dict[str, Part]) -> None:
    assert check_form(parts["xnli"], "de", "neutral\n", Known(2)) == [(SHORT, "has 1 lines, expected 2")]
    assert [kind for kind, _ in check_form(parts["xnli"], "de", "", Known(2))] == [WRONG]


def test_a_last_empty_line_does_no_harm_between_sentences_only(parts: dict[str, Part]) -> None:
    assert check_form(parts["panx"], "de", "O\n\nO\n\n", Known(2)) == []
    assert check_form(parts["xnli"], "de", "neutral\r\nneutral", Known(2)) == []
    assert check_form(parts["xnli"], "de", "neutral\n\n", Known(1)) != []
