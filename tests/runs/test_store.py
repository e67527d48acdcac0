from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from adaptxfer.errors import INTERRUPTED, AdaptxferError
from adaptxfer.runs.lock import is_held, read_owner
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import RunStore

REQUEST = {"method": {"value": "lora", "from": "--method"}, "task": {"value": "xnli", "from": "command"}}
MODEL = {"id": "mini", "revision": None, "fingerprint": "f" * 16}
SCORES = {
    "schema": 1,
    "task": "xnli",
    "metric": "accuracy",
    "split": "test",
    "languages": {"sw": {"accuracy": 71.2, "n": 5010}},
    "mean": 71.2,
    "mean_zero_shot": 71.2,
}


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


def finished(store: RunStore, kind: str, name: str, hash8: str, parents=(), method="lora", model=MODEL) -> str:
    with store.open(kind, name, hash8) as run:
        request = {**REQUEST, "method": {"value": method, "from": "--method"}}
        run.start(request, seed=1, base_model=model, parents=parents)
        run.write_scores(SCORES)
        run.finish()
    return run.name


def other_process(store: RunStore, body: str, wait: bool = True) -> subprocess.Popen:
    """A process that opens target-x-00000000, says 'ready' and goes on with ``body``."""
    code = f"""
        import os, sys, time
        from pathlib import Path
        from adaptxfer.runs.store import RunStore
        with RunStore(Path({str(store.root)!r})).open("target", "x", "00000000") as run:
            run.start({REQUEST!r}, seed=1)
            print("ready", flush=True)
            {body}
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_life_of_a_run(store: RunStore) -> None:
    with store.open("target", "xnli", "0123abcd") as run:
        assert run.path == store.root / "target-xnli-0123abcd"
        assert run.status == "new"
        run.start(REQUEST, seed=3, base_model=MODEL, data={"xnli": "d"}, parents=["intermediate-a-00000000"])
        assert run.status == "running"
        assert store.look("target", "xnli", "0123abcd").status == "running"
        run.append_log({"step": 1, "loss": float("nan")})
        run.write_scores(SCORES)
        run.write_predictions("sw", [{"id": "1", "right": True}, {"id": "2\u2028", "right": False}])
        (run.path / "checkpoint").mkdir()
        run.finish({"steps": 10})
        assert not (run.path / "checkpoint").exists()
    again = store.look("target", "xnli", "0123abcd")
    assert again.status == "finished"
    manifest = again.manifest
    assert manifest["steps"] == 10 and manifest["seed"] == 3 and manifest["parents"] == ["intermediate-a-00000000"]
    assert manifest["versions"]["torch"] and manifest["versions"]["adaptxfer"]
    assert manifest["finished"] >= manifest["started"] and manifest["duration_s"] >= 0
    assert again.asked("method") == "lora" and again.asked("absent") is None
    assert again.read_log() == [{"step": 1, "loss": None}]
    assert again.read_scores() == SCORES
    assert again.predicted() == ["sw"]
    assert again.read_predictions("sw")[1] == {"id": "2\u2028", "right": False}
    assert not is_held(run.path)


def leave_checkpoint(run: Run) -> Path:
    """Write a checkpoint into a run; the folder."""
    path = run.path / "checkpoint" / "step-00000001"
    path.mkdir(parents=True)
    (path / "weights.safetensors").write_bytes(b"0" * 100)
    return run.path / "checkpoint"


def test_a_checkpoint_that_outlived_its_run_is_removed_when_somebody_looks(store: RunStore) -> None:
    """A process may be killed between the two."""
    finished(store, "target", "x", "00000000")
    left = leave_checkpoint(store.look("target", "x", "00000000"))
    with store.open("target", "x", "00000000"):
        assert store.look("target", "x", "00000000").status == "finished" and left.exists(), "its holder sees to it"
    assert not left.exists()
    leave_checkpoint(store.look("target", "x", "00000000"))
    assert store.is_finished("target", "x", "00000000") and not left.exists()
    with store.open("target", "y", "00000000") as run:
        run.start(REQUEST, seed=1)
        left = leave_checkpoint(run)
    assert store.look("target", "y", "00000000").status == "interrupted" and left.exists(), "that one is needed"


def test_ctrl_c_at_the_very_end_leaves_no_checkpoint(store: RunStore, monkeypatch) -> None:
    remove, calls = shutil.rmtree, []

    def interrupted(path: Path, **given: bool) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        remove(path, **given)

    with pytest.raises(KeyboardInterrupt), store.open("target", "x", "00000000") as run:
        run.start(REQUEST, seed=1)
        left = leave_checkpoint(run)
        monkeypatch.setattr("adaptxfer.runs.run.shutil.rmtree", interrupted)
        run.finish()
    assert run.status == "finished" and left in calls and not left.exists()


def test_finished_run_is_not_started_again(store: RunStore) -> None:
    finished(store, "target", "x", "00000000")
    with store.open("target", "x", "00000000") as run, pytest.raises(AdaptxferError, match="is finished"):
        run.start(REQUEST, seed=1)
    assert run.status == "finished"


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(1), "interrupted"),
        (AdaptxferError("stop", code=INTERRUPTED), "interrupted"),
        (AdaptxferError("loss is not finite"), "failed"),
        (ValueError("odd"), "failed"),
    ],
)
def test_leaving_by_an_exception(store: RunStore, raised: BaseException, status: str) -> None:
    with pytest.raises(type(raised)), store.open("target", "x", "00000000") as run:
        run.start(REQUEST, seed=1)
        raise raised
    assert store.look("target", "x", "00000000").status == status
    assert run.manifest["error"] == (str(raised) if status == "failed" else None)
    with store.open("target", "x", "00000000") as run:
        run.start(REQUEST, seed=1)
        assert run.manifest["error"] is None


def test_leaving_without_finish_is_interrupted_and_time_adds_up(store: RunStore) -> None:
    with store.open("target", "x", "00000000") as run:
        run.start(REQUEST, seed=1)
        started = run.manifest["started"]
    spent = run.manifest["duration_s"]
    with store.open("target", "x", "00000000") as run:
        assert run.status == "interrupted"
        run.start(REQUEST, seed=1)
        run.finish()
    assert run.manifest["started"] == started
    assert run.manifest["duration_s"] >= spent


def test_ending_needs_a_start(store: RunStore) -> None:
    with store.open("target", "x", "00000000") as run, pytest.raises(RuntimeError):
        run.finish()


def test_second_writer_is_refused_and_told_who_writes(store: RunStore) -> None:
    process = other_process(store, "time.sleep(60)")
    try:
        with pytest.raises(AdaptxferError, match=f"process {process.pid} on ") as caught:
            store.open("target", "x", "00000000", fresh=True)
        assert caught.value.code == 2
        assert store.look("target", "x", "00000000").status == "running"
        assert read_owner(store.root / "target-x-00000000")["process"] == process.pid
        with pytest.raises(AdaptxferError, match="is being written"):
            store.remove(["target-x-00000000"], force=True)
    finally:
        process.kill()
        process.wait()
    assert store.look("target", "x", "00000000").status == "interrupted"
    with store.open("target", "x", "00000000") as run:  # the dead process's lock is taken over
        assert run.status == "interrupted"


def test_forked_child_does_not_keep_the_lock(store: RunStore) -> None:
    body = "child = os.fork(); time.sleep(60) if child == 0 else print(child, flush=True); time.sleep(60)"
    process = other_process(store, body)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        os.kill(child, 0)  # the child lives on
        store.open("target", "x", "00000000").close()
    finally:
        os.kill(child, signal.SIGKILL)


def test_looking_at_a_free_run_does_not_disturb_a_writer(store: RunStore) -> None:
    finished(store, "target", "x", "00000000")
    for _ in range(50):
        store.list()
        store.open("target", "x", "00000000").close()


def test_a_torn_last_line_is_ignored_and_mended(store: RunStore) -> None:
    with store.open("target", "x", "00000000") as run:
        run.start(REQUEST, seed=1)
        run.append_log({"step": 1})
        run.append_log({"step": 2})
        with (run.path / "log.jsonl").open("a") as handle:
            handle.write('{"step": 3, "lo')
        assert [entry["step"] for entry in run.read_log()] == [1, 2]
        run.append_log({"step": 3})
        assert [entry["step"] for entry in run.read_log()] == [1, 2, 3]
        run.cut_log(2)
        assert [entry["step"] for entry in run.read_log()] == [1, 2]


def test_a_log_that_is_only_a_torn_line(store: RunStore) -> None:
    with store.open("target", "x", "00000000") as run:
        (run.path / "log.jsonl").write_text('{"st')
        run.append_log({"step": 1})
        assert run.read_log() == [{"step": 1}]


def test_damage_in_the_middle_is_named(store: RunStore) -> None:
    with store.open("target", "x", "00000000") as run:
        (run.path / "log.jsonl").write_text('{"step": 1}\nxx\n{"step": 2}\n')
        with pytest.raises(AdaptxferError, match="damaged in line 2"):
            run.read_log()
        run.write_predictions("sw", [{"id": 1}])
        (run.path / "predictions" / "sw.jsonl").write_text('{"id": 1}\n{"id')
        with pytest.raises(AdaptxferError, match="damaged in line 2"):
            run.read_predictions("sw")
        with pytest.raises(AdaptxferError, match="not usable as a name"):
            run.write_predictions("../sw", [])


def test_failed_predictions_leave_the_old_ones(store: RunStore) -> None:
    def rows():
        yield {"id": 2}
        raise ValueError

    with store.open("target", "x", "00000000") as run:
        run.write_predictions("sw", [{"id": 1}])
        with pytest.raises(ValueError):
            run.write_predictions("sw", rows())
        assert run.read_predictions("sw") == [{"id": 1}]
        assert [path.name for path in (run.path / "predictions").iterdir()] == ["sw.jsonl"]


def test_a_run_that_fails_before_it_starts_leaves_no_folder(store: RunStore) -> None:
    with pytest.raises(KeyError), store.open("target", "x", "00000000"):
        raise KeyError("no data")
    assert not store.folder("target", "x", "00000000").exists() and store.list() == []
    with store.open("target", "x", "00000000") as run:
        run.append_log({"step": 1})
    assert (run.path / "log.jsonl").exists(), "what was written stays"


def test_fresh_forgets_everything_but_only_in_run_folders(store: RunStore) -> None:
    name = finished(store, "target", "x", "00000000")
    with store.open("target", "x", "00000000", fresh=True) as run:
        assert run.status == "new"
        assert [path.name for path in run.path.iterdir()] == ["lock"]
    foreign = store.root / "target-y-00000000"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    with pytest.raises(AdaptxferError, match="is not a run folder"):
        store.open("target", "y", "00000000", fresh=True)
    assert (foreign / "thesis.tex").exists()
    (store.root / "target-z-00000000").symlink_to(store.root / name)
    with pytest.raises(AdaptxferError, match="is not a run folder"):
        store.open("target", "z", "00000000", fresh=True)


@pytest.mark.parametrize("bad", [("stage", "x", "00000000"), ("target", "a/b", "00000000"), ("target", "x", "../..")])
def test_bad_names_are_refused(store: RunStore, bad: tuple[str, str, str]) -> None:
    with pytest.raises(AdaptxferError):
        store.open(*bad)
    assert not store.root.exists()


@pytest.mark.parametrize(
    "manifest",
    ["", "{", "[]", "null", '{"schema": 2}', '{"schema": 1, "status": "finished"}', "[" * 100_000],
)
def test_broken_manifests_are_shown_and_never_read_as_results(store: RunStore, manifest: str) -> None:
    finished(store, "target", "x", "00000000")
    path = store.root / "target-x-00000000"
    (path / "manifest.json").write_text(manifest)
    (run,) = store.list()
    assert run.status == "unreadable" and run.problem
    assert store.find_finished() == []
    with pytest.raises(AdaptxferError):
        store.open("target", "x", "00000000")
    store.open("target", "x", "00000000", fresh=True).close()


@pytest.mark.parametrize(
    ("key", "value"),
    [("parents", 3), ("finished", 1), ("request", []), ("status", "done"), ("seed", "1"), ("base_model", None)],
)
def test_manifest_with_a_wrong_field(store: RunStore, key: str, value: object) -> None:
    name = finished(store, "target", "x", "00000000")
    path = store.root / name / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    (run,) = store.list()
    assert run.status == "unreadable" and key in run.problem


def test_list_is_tolerant(store: RunStore) -> None:
    assert store.list() == []
    name = finished(store, "target", "x", "00000000")
    (store.root / "notes").mkdir()
    (store.root / ".hidden").mkdir()
    (store.root / "file.txt").write_text("x")
    (store.root / "target-empty-00000000").mkdir()
    assert {run.name: run.status for run in store.list()} == {
        name: "finished",
        "notes": "unreadable",
        "target-empty-00000000": "new",
    }


def test_find_by_name_hash_and_path(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    one = finished(store, "target", "x", "00000001")
    finished(store, "target", "x", "00000002")
    finished(store, "evaluate", "x", "00000002")
    assert store.find(one).name == one
    assert store.find("00000001").name == one
    monkeypatch.chdir(store.root.parent)
    assert store.find(f"runs/{one}/").name == one
    with pytest.raises(AdaptxferError, match="several runs"):
        store.find("00000002")
    with pytest.raises(AdaptxferError, match="Did you mean 'target-x-0000000"):
        store.find(one[:-1] + "9")


def test_newest_intermediate(store: RunStore) -> None:
    finished(store, "intermediate", "hellaswag", "00000001")
    finished(store, "intermediate", "mnli", "00000002", method="full")
    finished(store, "intermediate", "squad", "00000003", model={**MODEL, "fingerprint": "0" * 16})
    newest = finished(store, "intermediate", "aaa", "00000004")
    with store.open("intermediate", "zzz", "00000005") as run:
        run.start(REQUEST, seed=1, base_model=MODEL)
    assert store.newest_intermediate("mini", "lora", "f" * 16).name == newest
    assert store.newest_intermediate("mini", "lora").name == newest
    assert store.newest_intermediate("mini", "full").name == "intermediate-mnli-00000002"
    assert store.newest_intermediate("other", "lora") is None
    assert [run.asked("method") for run in store.find_finished("intermediate", method="full")] == ["full"]


def test_remove(store: RunStore) -> None:
    parent = finished(store, "intermediate", "a", "00000000")
    child = finished(store, "target", "b", "00000000", parents=[parent])
    with pytest.raises(AdaptxferError, match=f"{child} built on {parent}"):
        store.remove([parent])
    assert len(store.list()) == 2
    assert store.remove([parent, child]) == [parent, child]
    assert store.list() == []


def test_remove_stays_inside_the_root(store: RunStore, tmp_path: Path) -> None:
    name = finished(store, "target", "x", "00000000")
    outside = tmp_path / "target-out-00000000"
    outside.mkdir()
    (outside / "manifest.json").write_text("{}")
    (store.root / "target-link-00000000").symlink_to(outside)
    (store.root / "notes").mkdir()
    (store.root / name / "module").symlink_to(outside)
    for bad in ("target-link-00000000", "notes", "../target-out-00000000", str(outside), ".", ""):
        with pytest.raises(AdaptxferError):
            store.remove([bad], force=True)
    store.remove([name])
    assert (outside / "manifest.json").exists()
    assert not (store.root / name).exists()


def test_remove_unreadable_needs_force(store: RunStore) -> None:
    name = finished(store, "target", "x", "00000000")
    (store.root / name / "manifest.json").write_text("{")
    with pytest.raises(AdaptxferError, match="unreadable"):
        store.remove([name])
    store.remove([name], force=True)
    assert store.list() == []


def test_scores_are_checked_on_writing_and_reading(store: RunStore) -> None:
    with store.open("target", "x", "00000000") as run:
        for broken in (
            {**SCORES, "languages": {"sw": {"accuracy": 171.2, "n": 1}}},
            {**SCORES, "languages": {"sw": {"n": 1}}},
            {**SCORES, "languages": {}},
            {**SCORES, "mean": float("nan")},
            {key: value for key, value in SCORES.items() if key != "mean"},
        ):
            with pytest.raises(AdaptxferError, match="not a valid scores document"):
                run.write_scores(broken)
        assert not (run.path / "scores.json").exists()
        (run.path / "scores.json").write_text("[]")
        with pytest.raises(AdaptxferError, match="expected an object, found list"):
            run.read_scores()


def test_what_killed_writers_left_goes_with_the_next_start(store: RunStore) -> None:
    body = (
        "import signal; from adaptxfer import files; "
        "files.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL); run.update(half=True)"
    )
    process = other_process(store, body)
    assert process.wait(60) == -signal.SIGKILL
    folder = store.root / "target-x-00000000"
    assert len(list(folder.glob(".manifest.json.*"))) == 1  # and the manifest is as it was
    (folder / "predictions").mkdir()
    (folder / "predictions" / ".sw.jsonl.a1b2c3d4").write_text('{"id": 1}\n{"i')
    assert store.look("target", "x", "00000000").status == "interrupted"
    with store.open("target", "x", "00000000") as run:
        assert "half" not in run.manifest and run.predicted() == []
        assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["lock", "manifest.json"]


@pytest.mark.parametrize("left", ['{"process": 999999, "host": "elsewhere", "start": "2099-01-01T00:00:00Z"}', "", "{"])
def test_a_lock_file_of_the_dead_holds_nobody_up(store: RunStore, left: str) -> None:
    """Whatever it says of process, host and time: clocks may differ, and only a living process holds the lock."""
    folder = store.root / "target-x-00000000"
    folder.mkdir(parents=True)
    (folder / "lock").write_text(left)
    assert not is_held(folder)
    with store.open("target", "x", "00000000") as run:
        assert read_owner(run.path)["process"] == os.getpid()


def test_a_full_disk_leaves_the_manifest_as_it_was(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.open("target", "x", "00000000") as run:
        run.start(REQUEST, seed=1)

        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("adaptxfer.files.os.fsync", full)
            with pytest.raises(AdaptxferError, match="No space left while writing") as caught:
                run.finish()
        assert caught.value.code == 2
        assert store.look("target", "x", "00000000").status == "running"
        assert sorted(path.name for path in run.path.iterdir()) == ["lock", "manifest.json"]
        run.finish()
    assert store.look("target", "x", "00000000").status == "finished"
