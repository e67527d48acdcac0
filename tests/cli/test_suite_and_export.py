from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptxfer.cli import main
from adaptxfer.runs.store import RunStore
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import read_examples
from tests.evaluation.own_suite import LANGUAGES, TASKS, records_of, scores_of, write_data, write_suite


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with own task files, their data and nothing else; offline."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("ADAPTXFER_RUNS", raising=False)
    monkeypatch.setenv("ADAPTXFER_TASKS", str(write_suite(tmp_path / "own")))
    write_data(tmp_path / "data")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return main(words), *capsys.readouterr()

    return run


def add_run(task: str, hash8: str = "00000001", **changed: Any) -> str:
    """A finished evaluate run with predictions in every language."""
    facts = {"kind": "evaluate", "model": "mini", "method": "lora", "how": "stack", "split": "test", **changed}
    request = {"task": task, "limit": None, **{key: facts[key] for key in ("model", "method", "how")}}
    prints = {}
    if task == "tato":
        spec = load_task("tato")
        prints = {f"tato/test/{c}": read_examples(spec, "test", c, Path("data")).fingerprint for c in LANGUAGES}
    with RunStore(Path("runs")).open(facts["kind"], task, hash8) as run:
        base = {"id": facts["model"], "fingerprint": "0"}
        run.start({k: {"value": v, "from": "you"} for k, v in request.items()}, seed=1, base_model=base, data=prints)
        for language in LANGUAGES:
            run.write_predictions(language, records_of(task, language))
        run.write_scores(facts.get("scores") or scores_of(task, facts["split"]))
        if facts.get("finished", True):
            run.finish()
    return run.name


def test_a_suite_without_runs_lists_its_tasks(say) -> None:
    code, out, _ = say("suite", "xtreme")
    assert code == 0
    assert "Nine tasks" in out and "tatoeba" in out and "0/36" in out and "chunk_f1" in out
    code, _, err = say("suite", "xtrem")
    assert code == 1 and "Did you mean 'xtreme'?" in err


def test_a_complete_suite_has_a_score(say) -> None:
    for task in TASKS:
        add_run(task)
    code, out, _ = say("suite", "own", "--json")
    document = json.loads(out)
    assert code == 0 and document["overall"] == 50.0 and document["groups"] == {"all": 50.0}
    assert document["missing"] == {} and document["note"] == ""
    assert document["tasks"]["qa"] == {
        "score": 50.0, "so_far": 50.0, "metrics": {"f1": 50.0}, "languages": ["de", "sw"], "missing": {},
        "run": "evaluate-qa-00000001",
    }  # fmt: skip
    _, out, _ = say("suite", "own")
    assert ["=", "overall", "50.0"] == next(line for line in out.splitlines() if "overall" in line).split()[:3]


def test_the_newest_run_of_each_task_counts_unless_runs_are_named(say) -> None:
    old = scores_of("nli")
    old["languages"]["de"]["accuracy"] = 30.0
    del old["languages"]["sw"]
    add_run("nli", "0000000b", scores=old)
    newest = json.loads(say("suite", "own", "--json")[1])["tasks"]["nli"]
    assert newest["so_far"] == 30.0 and newest["score"] is None and newest["missing"] == {"sw": "no score"}
    manifest = Path("runs/evaluate-nli-0000000b/manifest.json")
    manifest.write_text(manifest.read_text().replace('"finished": "2', '"finished": "1'))
    add_run("nli", "0000000a")
    assert json.loads(say("suite", "own", "--json")[1])["tasks"]["nli"]["score"] == 50.0
    assert json.loads(say("suite", "own", "0000000b", "--json")[1])["tasks"]["nli"]["so_far"] == 30.0
    code, out, _ = say("suite", "own", "0000000b")
    assert code == 0 and "nli: sw (no score)" in out and "No run of ner, qa, copa, tato, bucc." in out
    code, _, err = say("suite", "own", "0000000a", "0000000b")
    assert code == 1 and "are both runs of nli" in err


def test_a_newer_run_on_another_split_does_not_hide_the_one_asked_for(say) -> None:
    hidden = scores_of("nli")
    hidden |= {"unscored": hidden["languages"], "languages": {}, "mean": None, "mean_zero_shot": None}
    predicted = add_run("nli", "0000000a", scores=hidden)
    scored = add_run("nli", "0000000b", split="dev")
    assert json.loads(say("suite", "own", "--split", "dev", "--json")[1])["tasks"]["nli"]["run"] == scored
    assert json.loads(say("suite", "own", "--json")[1])["tasks"]["nli"]["run"] == scored, "nothing is scored on test"
    out = say("export", "xtreme", "--suite", "own", "--out", "out", "--partial", "--json")[1]
    assert json.loads(out)["runs"]["nli"] == predicted and Path("out/nli/test-de.tsv").is_file()


@pytest.mark.parametrize(
    ("changed", "wanted", "told"),
    [({"kind": "target"}, 1, "is a run that trains"), ({"finished": False}, 2, "has no result: it is interrupted")],
)
def test_runs_without_a_result_are_refused(say, changed: dict[str, Any], wanted: int, told: str) -> None:
    name = add_run("nli", **changed)
    for words in (["suite", "own", name], ["export", "xtreme", name, "--suite", "own", "--out", "out"]):
        code, _, err = say(*words)
        assert code == wanted and told in err
    assert not Path("out").exists()


def test_a_run_of_another_task_is_refused(say) -> None:
    code, _, err = say("suite", "xtreme", add_run("nli"))
    assert code == 1 and "is a run of nli, which is not in the suite" in err and "Did you mean 'xnli'?" in err


def test_runs_of_different_settings_are_told(say) -> None:
    add_run("nli")
    add_run("qa", method="full", model="other")
    assert "The runs differ in base model (mini, other), method (full, lora)." in say("suite", "own")[1]
    err = say("export", "xtreme", "--suite", "own", "--out", "out", "--partial")[2]
    assert "warning: The runs differ in base model" in err


def test_export_and_check(say) -> None:
    for task in TASKS:
        add_run(task)
    words = ("export", "xtreme", "--suite", "own", "--out", "out", "--data-dir", "data")
    code, out, _ = say(*words, "--json")
    document = json.loads(out)
    assert code == 0 and document["valid"] and document["files"] == 12 and document["missing"] == []
    assert document["runs"]["tato"] == "evaluate-tato-00000001"
    assert Path("out/tato/test-de.tsv").read_text() == "1\n2\n0\n"
    code, out, _ = say("export", "check", "out", "--suite", "own", "--data-dir", "data")
    assert code == 0 and "The submission is complete." in out
    code, _, err = say(*words)
    assert code == 1 and "out is not empty" in err
    assert say(*words, "--fresh")[0] == 0


def test_a_faulty_folder_has_exit_code_2_and_every_fault(say) -> None:
    add_run("nli")
    assert say("export", "xtreme", "--suite", "own", "--out", "out", "--partial")[0] == 0
    Path("out/nli/test-de.tsv").write_text("1\n\n")
    code, out, _ = say("export", "check", "out", "--suite", "own", "--json")
    document = json.loads(out)
    assert code == 2 and not document["valid"]
    told = [f"{fault['place']} {fault['problem']}" for fault in document["faults"]]
    assert told[:2] == ["nli/test-de.tsv has 2 lines, expected 3", "nli/test-de.tsv has an empty label (line 2)"]
    assert told[2:] == [f"{task} is missing" for task in TASKS if task != "nli"]
    assert say("export", "check", "nowhere", "--suite", "own")[0] == 2


def test_an_incomplete_export_needs_partial_and_claims_nothing(say) -> None:
    add_run("nli")
    words = ("export", "xtreme", "--suite", "own", "--out", "out")
    code, _, err = say(*words)
    assert code == 2 and "--partial" in err and not Path("out").exists()
    assert all(f"{task} is missing" in err for task in TASKS if task != "nli")
    code, out, _ = say(*words, "--partial", "--json")
    document = json.loads(out)
    assert code == 0 and document["valid"] is False and len(document["missing"]) == 5
    code, out, _ = say(*words, "--partial", "--fresh")
    assert code == 0 and "Not a valid submission" in out and "qa is missing" in out


def test_only_test_makes_a_submission(say) -> None:
    add_run("nli", split="dev")
    words = ("export", "xtreme", "--suite", "own", "--out", "out", "--partial", "--json")
    document = json.loads(say(*words, "--split", "dev")[1])
    assert document["files"] == 2 and document["split"] == "dev" and not document["valid"]
    assert Path("out/nli/dev-sw.tsv").is_file()
    assert "nli" not in str(json.loads(say("export", "check", "out", "--suite", "own", "--split", "dev", "--json")[1]))
    code, _, err = say("export", "xtreme", "--suite", "own", "--out", "out", "--split", "train")
    assert code == 1 and "--split 'train' is not known." in err
