from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adaptxfer.errors import DATA, USE, AdaptxferError
from adaptxfer.evaluation.export import Fault, Predictions, check_submission, export_submission
from adaptxfer.evaluation.forms import Part, submission_parts
from adaptxfer.tasks.load import read_examples
from adaptxfer.tasks.suites import load_suite
from tests.evaluation.own_suite import LANGUAGES, TASKS, WRITTEN, records_of, scores_of, write_data, write_suite


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    folders = [write_suite(tmp_path_factory.mktemp("tasks"))]
    return submission_parts(load_suite("own", folders), folders)


@pytest.fixture
def found(parts: dict[str, Part], data: Path) -> dict[str, Predictions]:
    """Predictions for every task and language."""
    prints = {
        f"tato/test/{language}": read_examples(parts["tato"].spec, "test", language, data).fingerprint
        for language in LANGUAGES
    }
    return {
        task: Predictions(
            f"evaluate-{task}-00000001", scores_of(task), lambda language, task=task: records_of(task, language), prints
        )
        for task in TASKS
    }


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def told(faults: list[Fault]) -> list[str]:
    return [str(fault) for fault in faults]


def without(found: dict[str, Predictions], task: str, language: str) -> dict[str, Predictions]:
    scores = dict(found[task].scores)
    scores["languages"] = {code: values for code, values in scores["languages"].items() if code != language}
    return {**found, task: replace(found[task], scores=scores)}


def changed(found: dict[str, Predictions], task: str, records: list[dict[str, Any]]) -> dict[str, Predictions]:
    return {**found, task: replace(found[task], read=lambda language: records)}


def test_a_whole_submission(tmp_path: Path, found, parts, data: Path) -> None:
    out = tmp_path / "to" / "submission"
    assert export_submission(found, parts, out, data_dir=data) == []
    assert files(out) == {
        f"{task}/test-{language}.{TASKS[task]['suffix']}": text.replace("{lang}", language)
        for task, text in WRITTEN.items()
        for language in LANGUAGES
    }
    assert check_submission(out, parts) == check_submission(out, parts, data_dir=data) == []
    assert [path.name for path in out.parent.iterdir()] == ["submission"]


def test_what_is_missing_is_refused_or_named(tmp_path: Path, found, parts, data: Path) -> None:
    out = tmp_path / "submission"
    del found["qa"]
    found = without(found, "nli", "sw")
    found = changed(found, "copa", records_of("copa", "de")[:1])
    missing = [
        "nli lacks the languages sw",
        "qa is missing",
        "copa/test-de.jsonl has 1 lines, expected 2",
        "copa/test-sw.jsonl has 1 lines, expected 2",
    ]
    with pytest.raises(AdaptxferError) as error:
        export_submission(found, parts, out, data_dir=data)
    assert error.value.code == DATA and "--partial" in error.value.hint
    assert error.value.message.split("\n  - ")[1:] == missing
    assert list(tmp_path.iterdir()) == []
    assert told(export_submission(found, parts, out, partial=True, data_dir=data)) == missing
    assert told(check_submission(out, parts)) == missing
    assert not (out / "qa").exists() and (out / "nli" / "test-de.tsv").is_file()


def test_predictions_for_another_split_are_not_taken(tmp_path: Path, found, parts, data: Path) -> None:
    dev = replace(found["nli"], scores=scores_of("nli", "dev"))
    with pytest.raises(AdaptxferError, match="nli is missing"):
        export_submission({**found, "nli": dev}, parts, tmp_path / "a", data_dir=data)
    mixed = scores_of("nli", "mixed")
    mixed["languages"]["de"]["split"], mixed["languages"]["sw"]["split"] = "test", "dev"
    mixed_found = {**found, "nli": replace(found["nli"], scores=mixed)}
    faults = export_submission(mixed_found, parts, tmp_path / "a", partial=True, data_dir=data)
    assert told(faults) == ["nli lacks the languages sw"]
    export_submission({"nli": dev}, parts, tmp_path / "b", "dev", partial=True)
    assert sorted(files(tmp_path / "b")) == ["nli/dev-de.tsv", "nli/dev-sw.tsv"]


@pytest.mark.parametrize(
    ("task", "record", "problem"),
    [
        ("nli", {"id": "0", "predicted": "maybe"}, "are not those of nli"),
        ("nli", {"id": "0"}, "are not those of nli"),
        ("ner", {"id": "0", "predicted": ["X"]}, "are not those of ner"),
        ("copa", {"id": "0", "predicted": None}, "are not those of copa"),
        ("tato", {"id": "0", "predicted": "x"}, "are not those of tato"),
        ("bucc", {"id": "0", "predicted": "x"}, "are not those of bucc"),
        ("copa", {"id": "0", "predicted": 7}, "has the label '7', not one of 0, 1"),
        ("qa", {"id": "q1", "predicted": ""}, "has an empty answer"),
        ("ner", {"id": "0", "predicted": []}, "has no tag"),
    ],
)
def test_wrong_predictions_are_refused_even_in_part(
    tmp_path: Path, found, parts, data: Path, task: str, record: dict[str, Any], problem: str
) -> None:
    broken = changed(found, task, [record, *records_of(task, "de")[1:]])
    with pytest.raises(AdaptxferError, match=problem) as error:
        export_submission(broken, parts, tmp_path / "out", partial=True, data_dir=data)
    assert error.value.code == DATA
    assert list(tmp_path.iterdir()) == []


def test_tatoeba_needs_the_data_of_the_run(tmp_path: Path, found, parts) -> None:
    other = write_data(tmp_path / "other")
    (other / "tato" / "de.test.eng").write_text("One.\nTwo.\nThree.\n")
    with pytest.raises(AdaptxferError, match=r"did not predict de from .*: the data differ"):
        export_submission(found, parts, tmp_path / "out", data_dir=other)
    with pytest.raises(AdaptxferError):
        export_submission(found, parts, tmp_path / "out", data_dir=tmp_path)
    assert not (tmp_path / "out").exists()


def test_predictions_without_scores_are_exported(tmp_path: Path, found, parts, data: Path) -> None:
    export_submission(found, parts, tmp_path / "scored", data_dir=data)
    for task in ("nli", "bucc"):
        scores = scores_of(task)
        scores |= {"unscored": scores["languages"], "languages": {}, "mean": None, "mean_zero_shot": None}
        found[task] = replace(found[task], scores=scores)
    assert export_submission(found, parts, tmp_path / "out", data_dir=data) == []
    assert files(tmp_path / "out") == files(tmp_path / "scored")


def test_a_threshold_tuned_on_test_is_refused(tmp_path: Path, found, parts, data: Path) -> None:
    scores = scores_of("bucc")
    scores["languages"]["sw"]["oracle"] = True
    found["bucc"] = replace(found["bucc"], scores=scores)
    with pytest.raises(AdaptxferError, match="in sw was tuned on the gold of the very set"):
        export_submission(found, parts, tmp_path / "out", data_dir=data)


def test_a_task_outside_the_suite_is_refused(tmp_path: Path, found, parts) -> None:
    with pytest.raises(AdaptxferError, match="no place for nlx") as error:
        export_submission({"nlx": found["nli"]}, parts, tmp_path / "out")
    assert error.value.hint == "Did you mean 'nli'?"


def test_only_an_earlier_submission_is_replaced(tmp_path: Path, found, parts, data: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export_submission(found, parts, out, data_dir=data)
    before = files(out)
    del found["qa"]
    for fresh in (False, True):
        with pytest.raises(AdaptxferError) as error:  # the second time for the missing task
            export_submission(found, parts, out, fresh=fresh, data_dir=data)
        assert error.value.code == (DATA if fresh else USE)
        assert files(out) == before
    export_submission(found, parts, out, partial=True, fresh=True, data_dir=data)
    assert files(out).keys() == {path for path in before if not path.startswith("qa/")}
    (out / "thesis.tex").write_text("all my work")
    with pytest.raises(AdaptxferError, match=r"holds more than a submission: thesis\.tex"):
        export_submission(found, parts, out, partial=True, fresh=True, data_dir=data)
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(out)
    for name in ("file", "link"):
        with pytest.raises(AdaptxferError, match="is not a folder"):
            export_submission(found, parts, tmp_path / name, fresh=True, data_dir=data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "out"]


def test_an_interrupted_export_leaves_what_was_there(tmp_path: Path, found, parts, data: Path) -> None:
    out = tmp_path / "out"
    export_submission(found, parts, out, data_dir=data)
    before = files(out)

    def interrupted(language: str) -> list[dict[str, Any]]:
        raise KeyboardInterrupt

    found["copa"] = replace(found["copa"], read=interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_submission(found, parts, out, fresh=True, data_dir=data)
    assert files(out) == before and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_every_fault_of_a_folder_is_told_at_once(tmp_path: Path, found, parts, data: Path) -> None:
    out = tmp_path / "out"
    export_submission(found, parts, out, data_dir=data)
    for path in (out / "ner").iterdir():
        path.unlink()
    (out / "ner").rmdir()
    (out / "nli" / "test-de.tsv").rename(out / "nli" / "test-de.txt")
    (out / "nli" / "test-sw.tsv").write_text("1\n\nyes\n0\n")
    (out / "nli" / "notes.md").write_text("x")
    (out / "qa" / "test-de.json").write_text('{"q1": "a", "q9": ""}')
    (out / "qa" / "test-sw.json").write_bytes(b"\xff")
    (out / "copa" / "test-de.jsonl").unlink()
    (out / "copa" / ".DS_Store").write_text("x")
    (out / "tato" / "test-sw.tsv").write_text("0\n1\n3\n")
    (out / "bucc" / "test-de.tsv").write_text("de-1\ten-9\n")
    (out / "buc").mkdir()
    expected = [
        "buc is not a task's folder. Did you mean 'bucc'?",
        "nli/notes.md is no file of this task",
        "nli/test-de.txt should be called test-de.tsv",
        "nli/test-sw.tsv has 4 lines, expected 3",
        "nli/test-sw.tsv has an empty label (line 2)",
        "nli/test-sw.tsv has the label 'yes', not one of 0, 1 (line 3)",
        "ner is missing",
        "qa/test-de.json has an unknown id (id q9)",
        "qa/test-de.json has no prediction (id q2)",
        "qa/test-de.json has an empty answer (question q9)",
        "qa/test-sw.json is not UTF-8 text (byte 0)",
        "copa lacks the languages de",
        "tato/test-sw.tsv has the number '3', not one of 0 to 2 (line 3)",
        "bucc/test-de.tsv has an unknown id of a sentence in en (id en-9)",
    ]
    assert told(check_submission(out, parts, data_dir=data)) == expected
    needs_data = [fault for fault in expected if "id q" in fault or "en-9" in fault]
    assert told(check_submission(out, parts)) == [fault for fault in expected if fault not in needs_data]


def test_a_folder_that_is_none(tmp_path: Path, parts) -> None:
    with pytest.raises(AdaptxferError, match="is not a folder"):
        check_submission(tmp_path / "nowhere", parts)
    assert [fault.problem for fault in check_submission(tmp_path, parts)] == ["is missing"] * len(parts)


def full_text(part: Part, language: str) -> str:
    """A file of the right size for a task of XTREME."""
    rows = part.spec.expected("test", language) or 3
    if part.form == "answers":
        return json.dumps({f"{language}{row}": "x" for row in range(rows)})
    if part.form == "pairs":
        return f"{language}-000000001\ten-000000002\n"
    if part.form == "indices":
        return "".join(f"{row}\n" for row in range(rows))
    label = next(iter(part.labels.values()))
    return "\n".join([f"{label}\n"] * rows) if part.form == "tags" else f"{label}\n" * rows


def test_a_folder_of_xtremes_own_size_has_no_fault(tmp_path: Path) -> None:
    parts = submission_parts(load_suite("xtreme"))
    for part in parts.values():
        (tmp_path / part.folder).mkdir()
        for language in part.languages:
            (tmp_path / part.path(language)).write_text(full_text(part, language))
    assert check_submission(tmp_path, parts) == []
    assert sum(1 for _ in tmp_path.glob("*/*")) == 162
    (tmp_path / "xnli" / "test-sw.tsv").write_text("neutral\n" * 5009)
    (tmp_path / "mlqa" / "test-de.json").unlink()
    assert told(check_submission(tmp_path, parts)) == [
        "xnli/test-sw.tsv has 5,009 lines, expected 5,010",
        "mlqa lacks the languages de",
    ]
