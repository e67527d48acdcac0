from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from adaptxfer.cli import BUG, main
from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.store import RunStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder of runs and tasks, at a terminal of 100 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("ADAPTXFER_RUNS", "ADAPTXFER_TASKS", "ADAPTXFER_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)


class Spoken:
    """What a command printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> Spoken:
        capsys.readouterr()
        code = main(words)
        return Spoken(code, *capsys.readouterr())

    return run


def add_run(hash8: str, seed: int, points: float, intermediates: tuple[str, ...] = (), kind: str = "evaluate") -> str:
    request = {"method": "lora", "how": "stack" if intermediates else "none", "intermediates": list(intermediates)}
    with RunStore(Path("runs")).open(kind, "xnli", hash8) as run:
        run.start({key: {"value": value, "from": "you"} for key, value in request.items()}, seed=seed)
        languages = {"en": {"accuracy": points, "n": 10}, "sw": {"accuracy": points - 10, "n": 10}}
        scores = {"schema": 1, "task": "xnli", "metric": "accuracy", "split": "test", "languages": languages}
        run.write_scores({**scores, "mean": points - 5, "mean_zero_shot": points - 10})
        run.finish()
    return run.name


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["tsks"], "Did you mean 'tasks'?"),
        (["tasks", "lst"], "Did you mean 'list'?"),
        (["tasks", "list", "--kidn", "tag"], "Did you mean '--kind'?"),
        (["tasks", "list", "--kind", "tagg"], "Did you mean 'tag'?"),
        (["tasks", "show", "xnlii"], "Did you mean 'xnli'?"),
        (["tasks", "show"], "See adaptxfer tasks show --help."),
        (["tasks", "show", "xnli", "xquad"], "See adaptxfer tasks show --help."),
        (["runs", "list", "--status", "zzz"], "Known: failed, finished"),
        (["runs", "show", "x"], "None is known."),
        (["qqq"], "Commands: "),
    ],
)
def test_wrong_use_offers_the_nearest_name(say, words: list[str], hint: str) -> None:
    spoken = say(*words)
    assert spoken.code == 1
    assert spoken.out == ""
    first, second = spoken.err.splitlines()
    assert first.startswith("error: ") and hint in second
    with_json = say(*words, "--json")
    assert with_json.code == 1
    assert with_json.document["error"]["code"] == 1


def test_an_option_without_its_value_is_wrong_use(say) -> None:
    spoken = say("runs", "list", "--runs")
    assert spoken.code == 1 and "requires an argument" in spoken.err and "--help" in spoken.err


@pytest.mark.parametrize("words", [["--help"], ["tasks", "--help"], ["runs", "compare", "-h"], ["doctor", "--help"]])
def test_help(say, words: list[str]) -> None:
    spoken = say(*words)
    assert spoken.code == 0 and "Usage: adaptxfer" in spoken.out


def test_no_command_shows_help(say) -> None:
    for words in ([], ["tasks"]):
        spoken = say(*words)
        assert spoken.code == 1 and "Usage: " in spoken.out and "error" not in spoken.err


def test_version(say) -> None:
    from adaptxfer import __version__

    assert say("version").out == f"{__version__}\n"
    assert say("version", "--json").document == {"schema": 1, "version": __version__}


def test_version_as_an_option(say) -> None:
    from adaptxfer import __version__

    assert say("--version").out == f"{__version__}\n"


def test_tasks_list(say) -> None:
    every = say("tasks", "list")
    assert every.code == 0 and "xnli" in every.out and "hellaswag" in every.out
    document = say("tasks", "list", "--kind", "span", "--role", "target", "--json").document
    assert "xquad" in {task["name"] for task in document["tasks"]}
    assert {task["kind"] for task in document["tasks"]} == {"span"}


def test_tasks_show_says_which_file_won(say) -> None:
    document = say("tasks", "show", "xnli", "--json").document
    assert document["train"]["task"] == "mnli" and document["labels"][0] == "entailment"
    text = say("tasks", "show", "xnli").out
    for word in ("accuracy", "facebook/xnli", "not verified", "learning_rate.lora", "ar, bg, de"):
        assert word in text
    Path("tasks").mkdir()
    own = Path(document["file"]).read_text(encoding="utf-8").replace("fifteen", "FIFTEEN")
    Path("tasks/xnli.toml").write_text(own, encoding="utf-8")
    shown = say("tasks", "show", "xnli", "--json").document
    assert shown["file"] == "tasks/xnli.toml" and shown["searched"][0] == "tasks"


def test_a_broken_task_file_is_named(say) -> None:
    Path("mine").mkdir()
    Path("mine/broken.toml").write_text("name = 3")
    for words in (["list"], ["show", "broken"]):
        spoken = say("tasks", *words, "--tasks", "mine")
        assert spoken.code in (1, 2) and "broken.toml" in spoken.err and "Traceback" not in spoken.err


def write_reviews(rows: int = 4) -> Path:
    Path("data").mkdir()
    path = Path("data/reviews.train.jsonl")
    lines = [json.dumps({"text": f"text {i}", "label": "good" if i % 2 else "bad"}) for i in range(rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_tasks_new_writes_a_file_that_checks(say) -> None:
    path = write_reviews()
    spoken = say("tasks", "new", "reviews", "--from", str(path))
    assert spoken.code == 0, spoken.err
    assert "2 labels (bad, good)" in spoken.out
    assert "adaptxfer tasks check reviews --data-dir data" in spoken.out
    checked = say("tasks", "check", "reviews", "--data-dir", "data", "--json")
    assert checked.code == 0 and checked.document["ok"] is True
    (entry,) = [entry for entry in checked.document["tasks"]["reviews"] if entry["state"] == "ok"]
    assert entry["rows"] == 4 and entry["split"] == "train"
    again = say("tasks", "new", "reviews", "--from", str(path))
    assert again.code == 1 and "exists already" in again.err
    assert "reviews" in say("tasks", "list").out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["a/b", "--from", "data/reviews.train.jsonl"], "not usable as a name"),
        (["x", "--from", "data/none.jsonl"], "does not exist"),
        (["x", "--from", "data/reviews.train.jsonl", "--kind", "clasify"], "Did you mean 'classify'?"),
        (["x", "--from", "data/reviews.train.jsonl", "--role", "targets"], "Did you mean 'target'?"),
        (["x"], "--from"),
    ],
)
def test_tasks_new_with_wrong_use(say, words: list[str], hint: str) -> None:
    write_reviews()
    spoken = say("tasks", "new", *words)
    assert spoken.code in (1, 2) and hint in spoken.err
    assert not Path("tasks").exists()


def test_tasks_check_fails_on_what_cannot_be_read(say) -> None:
    path = write_reviews()
    say("tasks", "new", "reviews", "--from", str(path))
    path.write_text('{"text": "a", "label": "good"}\n{"text": "b", "lab', encoding="utf-8")
    spoken = say("tasks", "check", "reviews", "--data-dir", "data")
    assert spoken.code == 2
    assert "error" in spoken.out and "reviews.train.jsonl" in spoken.err
    document = say("tasks", "check", "reviews", "--data-dir", "data", "--json").document
    assert document["ok"] is False


def test_tasks_check_lists_what_is_missing(say) -> None:
    Path("data").mkdir()
    spoken = say("tasks", "check", "xquad", "--data-dir", "data")
    assert spoken.code == 0 and "missing" in spoken.out and "el" in spoken.out
    everything = say("tasks", "check", "--data-dir", "data")
    assert everything.code == 0 and "Nothing there of" in everything.out
    without = say("tasks", "check", "xnli")
    assert without.code == 0 and "found" in without.out


def test_tasks_check_real_data(say, data_dir: Path) -> None:
    document = say("tasks", "check", "xnli", "xcopa", "--data-dir", str(data_dir), "--json").document
    found = {(entry["split"], entry["language"]): entry for entry in document["tasks"]["xnli"]}
    assert found["test", "sw"]["rows"] == 600 and found["test", "sw"]["expected"] == 5010
    assert found["test", "ur"]["state"] == "missing"
    assert document["ok"] is True


def test_runs_list(say) -> None:
    assert say("runs", "list").out == "No runs in runs.\n"
    assert say("runs", "list", "--json").document == {"schema": 1, "folder": "runs", "runs": []}
    name = add_run("00000001", 1, 80.0)
    with RunStore(Path("runs")).open("target", "x", "00000002") as run:
        run.start({}, seed=2)
    Path("runs/notes").mkdir()
    rows = {row["run"]: row for row in say("runs", "list", "--json").document["runs"]}
    assert {key: row["status"] for key, row in rows.items()} == {
        name: "finished",
        run.name: "interrupted",
        "notes": "unreadable",
    }
    assert rows[name]["score"] == 75.0 and rows[name]["split"] == "test" and rows[run.name]["score"] is None
    text = say("runs", "list").out
    assert "75.0" in text and "is not a run folder" in text
    only = say("runs", "list", "--status", "finished", "--kind", "evaluate", "--json").document["runs"]
    assert [row["run"] for row in only] == [name]


def test_runs_list_filters(say) -> None:
    add_run("00000001", 1, 80.0)
    other = add_run("00000002", 2, 80.0, ("mnli",))
    for words in (("--seed", "2"), ("--how", "stack"), ("--method", "lora", "--seed", "2")):
        assert [row["run"] for row in say("runs", "list", *words, "--json").document["runs"]] == [other]
    assert "2 do not" in say("runs", "list", "--task", "absent").out


def test_runs_list_tells_compositions_apart(say) -> None:
    add_run("00000001", 1, 80.0)
    other = add_run("00000002", 2, 80.0, ("mnli",))
    rows = say("runs", "list", "--json").document["runs"]
    assert {row["run"]: row["composition"] for row in rows}[other] == "stack on mnli"
    text = say("runs", "list").out
    assert "stack on mnli" in text and "none" in text and "of all: status finished" in text


def test_runs_list_shows_the_dev_score_of_training(say) -> None:
    with RunStore(Path("runs")).open("target", "x", "00000002") as run:
        run.start({}, seed=2)
        run.finish({"dev": {"a": {"accuracy": 70.0, "main": "accuracy"}, "b": {"f1": 60.0, "main": "f1"}}})
    (row,) = say("runs", "list", "--json").document["runs"]
    assert (row["score"], row["split"]) == (65.0, "dev")


def test_runs_list_survives_broken_scores(say) -> None:
    name = add_run("00000001", 1, 80.0)
    Path("runs", name, "scores.json").write_text("{}")
    spoken = say("runs", "list", "--json")
    assert spoken.code == 0
    (row,) = spoken.document["runs"]
    assert row["score"] is None and "not a valid scores document" in row["problem"]


def test_runs_show(say) -> None:
    name = add_run("00000001", 1, 80.0, ("mnli",))
    for text in (name, "00000001", f"runs/{name}"):
        spoken = say("runs", "show", text)
        assert spoken.code == 0
    for word in ("finished", "method", "lora", "you", "stack on mnli", "80.0", "70.0", "zero-shot"):
        assert word in spoken.out
    document = say("runs", "show", name, "--json").document
    assert document["manifest"]["seed"] == 1 and document["scores"]["mean"] == 75.0
    Path("runs", name, "manifest.json").write_text("[]")
    broken = say("runs", "show", name)
    assert broken.code == 0 and "unreadable" in broken.out


def test_runs_compare_two(say) -> None:
    base, other = add_run("00000001", 1, 80.0), add_run("00000002", 1, 81.5, ("mnli",))
    for words in ((base, other), (other, base)):  # the baseline is known by having no intermediate task
        document = say("runs", "compare", *words, "--json").document
        assert document["languages"]["sw"]["gain"]["mean"] == 1.5
        assert document["runs"] == {"baseline": [base], "with": [other]}
    text = say("runs", "compare", base, other).out
    assert "+1.5" in text and f"baseline: {base}" in text


def test_runs_compare_over_seeds(say) -> None:
    names = [add_run(f"0000000{seed}", seed, 80.0 + seed) for seed in (1, 2, 3)]
    names += [add_run(f"0000001{seed}", seed, 82.0 + seed, ("mnli",)) for seed in (1, 2, 3)]
    document = say("runs", "compare", *names, "--json").document
    assert document["seeds"] == [1, 2, 3]
    assert document["languages"]["en"]["gain"] == {"mean": 2.0, "sd": 0.0, "seeds": 3}
    assert "± 1.0" in say("runs", "compare", *names).out
    spoken = say("runs", "compare", *names[:3])
    assert spoken.code == 1 and "found 1" in spoken.err
    spoken = say("runs", "compare", names[0])
    assert spoken.code == 1


def test_runs_rm(say, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = add_run("00000001", 1, 80.0), add_run("00000002", 2, 80.0)
    spoken = say("runs", "rm", one)
    assert spoken.code == 1 and "--force" in spoken.err
    assert Path("runs", one).exists()
    spoken = say("runs", "rm", "00000001", "--force", "--json")
    assert spoken.document == {"schema": 1, "removed": [one]}
    assert not Path("runs", one).exists() and Path("runs", two).exists()
    for bad in ("..", "/", "../runs", "runs"):
        assert say("runs", "rm", bad, "--force").code == 1
    assert Path("runs", two).exists()


def test_doctor(say) -> None:
    spoken = say("doctor", "--offline", "--json")
    assert spoken.code == 0
    found = {item["what"]: item for item in spoken.document["findings"]}
    assert found["Hub"]["found"].startswith("not asked: offline")
    assert found["encoder mini"]["found"] == "embedded"
    assert found["torch"]["state"] == "ok" and found["runs"]["found"].endswith("not there yet")
    text = say("doctor").out
    assert "torch" in text and "memory" in text


@pytest.mark.parametrize(
    ("versions", "word"),
    [
        ({"adapters": "1.3.0", "transformers": "5.23.0"}, "transformers 4.57 only"),
        ({"transformers": "4.57.6", "huggingface_hub": "1.31.0"}, "huggingface_hub below 1.0"),
        ({"numpy": "1.26.4", "datasets": "5.0.1"}, "numpy 2 only"),
    ],
)
def test_doctor_knows_bad_combinations(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], word: str) -> None:
    from adaptxfer.cli import doctor

    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, ""))
    assert [item.state for item in doctor._combinations() if word in item.hint] in (["bad"], ["note"])


def test_doctor_without_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptxfer.cli import doctor

    monkeypatch.delenv("HF_HUB_OFFLINE")
    for address in ("http://127.0.0.1:9", "nonsense"):
        monkeypatch.setenv("HF_ENDPOINT", address)
        (finding,) = doctor._network()
        assert finding.state == "note" and "does not answer" in finding.found


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def list_runs(self: RunStore) -> None:
        raise error

    monkeypatch.setattr(RunStore, "list", list_runs)


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (AdaptxferError("Diverged.", "Lower it.", 3), 3, "error: Diverged."),
        (KeyboardInterrupt(), 130, "stopped: Interrupted."),
        (AdaptxferError("Stopped at step 3.", "", 130), 130, "stopped: Stopped at step 3."),
        (PermissionError(13, "Permission denied", "x/y"), 2, "error: Permission denied: x/y."),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
        (ZeroDivisionError("division by zero"), BUG, "This is a bug in adaptxfer"),
        (RecursionError(), BUG, "Unexpected RecursionError"),
    ],
)
def test_exit_codes(say, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, word: str) -> None:
    raising(monkeypatch, error)
    spoken = say("runs", "list")
    assert spoken.code == code and word in spoken.err and "Traceback" not in spoken.err
    spoken = say("runs", "list", "--json")
    assert spoken.document["error"]["code"] == code


def test_traceback_on_demand(say, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ZeroDivisionError())
    monkeypatch.setenv("ADAPTXFER_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in say("runs", "list").err


def process(*words: str, **options: Any) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    command = [sys.executable, "-m", "adaptxfer.cli", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **{**pipes, **options})


def test_a_closed_pipe_is_quiet() -> None:
    read, write = os.pipe()
    os.close(read)
    child = process("tasks", "list", stdout=write)
    os.close(write)
    assert child.communicate()[1] == ""


SHOWN = (["runs", "list"], ["runs", "show", "00000001"], ["tasks", "list"], ["tasks", "show", "xnli"])


@pytest.mark.parametrize("width", ["40", "60", "80", "120"])
def test_output_fits_the_terminal(say, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    monkeypatch.setenv("COLUMNS", width)
    add_run("00000001", 1, 80.0)
    for words in SHOWN:
        spoken = say(*words)
        assert spoken.code == 0 and max(map(len, spoken.out.splitlines())) <= int(width)


def test_output_in_a_locale_without_our_symbols() -> None:
    add_run("00000001", 1, 80.0)
    child = process("runs", "show", "00000001", env={"PYTHONIOENCODING": "ascii"})
    out, err = child.communicate()
    assert child.returncode == 0 and err == "" and "80.0" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_a_signal_ends_like_ctrl_c(number: signal.Signals, code: int, tmp_path: Path) -> None:
    script = tmp_path / "wait.py"
    script.write_text(
        "import sys, time\nfrom adaptxfer.cli import main\nfrom adaptxfer.runs.store import RunStore\n"
        "def wait(self):\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "RunStore.list = wait\nsys.exit(main(['runs', 'list']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen([sys.executable, str(script)], env=environment, **pipes)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    time.sleep(0.05)
    child.send_signal(number)
    _, err = child.communicate(timeout=30)
    assert child.returncode == code and err.startswith("stopped: Interrupted.")


def test_folders_of_runs_below_are_named_and_are_no_runs(say) -> None:
    with RunStore(Path("runs/quickstart")).open("evaluate", "xnli", "a1b2c3d4") as run:
        run.start({}, seed=1)
    told = say("runs", "list").out
    assert "No runs in runs." in told and f"--runs {Path('runs/quickstart')}" in told
    assert say("runs", "list", "--json").document["runs"] == []


def test_listing_offers_the_nearest_task_and_method(say) -> None:
    add_run("a1b2c3d4", 1, 70.0)
    assert "Did you mean 'xnli'?" in say("runs", "list", "--task", "xnly").out
    assert "Did you mean 'lora'?" in say("runs", "list", "--method", "lra").err
    assert "stack" in say("runs", "list", "--how", "zzz").err
    assert say("runs", "list", "--kind", "pulled").code == 0


def test_comparing_a_training_says_what_to_compare(say) -> None:
    name = add_run("a1b2c3d4", 1, 70.0, kind="target")
    spoken = say("runs", "compare", name, name)
    assert spoken.code == 1 and "trains and has no scores" in spoken.err and "--kind evaluate" in spoken.err


def test_data_dir_of_a_check_must_be_a_folder(say, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "nothing"):
        spoken = say("tasks", "check", "xnli", "--data-dir", str(tmp_path / place))
        assert spoken.code == 1 and "is not a folder" in spoken.err


def test_a_no_removes_nothing_and_is_no_interruption(say, monkeypatch: pytest.MonkeyPatch) -> None:
    name = add_run("a1b2c3d4", 1, 70.0)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    spoken = say("runs", "rm", name)
    assert spoken.code == 1 and "Nothing was removed." in spoken.err and "continues" not in spoken.err
    assert (Path("runs") / name).exists()


@pytest.mark.parametrize(("command", "told"), [("train-intermediate", True), ("tasks", False), ("report", False)])
def test_only_commands_that_continue_say_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, told: bool
) -> None:
    def stop(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("adaptxfer.cli._run", stop)
    assert main([command]) == 130
    assert ("continues it" in capsys.readouterr().err) is told
