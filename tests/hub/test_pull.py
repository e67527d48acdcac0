"""Pulling: verified before it has a name here, whole or not at all, and from the cache without a network."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from adaptxfer.errors import DATA, USE, AdaptxferError
from adaptxfer.hub.pull import fetch, pull
from adaptxfer.hub.push import push
from adaptxfer.hub.shelf import list_bundles
from adaptxfer.modules.bundle import load_bundle, read_bundle
from adaptxfer.runs.store import RunStore
from tests.hub.server import TOKEN
from tests.tiny import fresh, hash_of, save_tiny

REPO = "ann/weather"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def sent(hub, bundle):
    """The repository of a pushed bottleneck bundle."""
    push(bundle, REPO)
    return hub.repos[REPO]


def change(repo, name: str, content: bytes | None) -> None:
    """A commit that changes or removes one file."""
    files = {**repo.files, name: content}
    repo.add({path: value for path, value in files.items() if value is not None})


@pytest.mark.parametrize(
    ("method", "how"),
    [("bottleneck", "none"), ("bottleneck", "stack"), ("bottleneck", "fuse"), ("lora", "stack"), ("full", "none")],
)
def test_what_was_sent_comes_back(hub, shelf, runs, tiny_encoder, method, how):
    push(shelf(method, how), REPO)
    done = pull(REPO, runs)
    commit = hub.repos[REPO].branches["main"]
    assert done.new and done.source.verified and done.bundle.folder == runs / f"hub-ann-weather-{commit[:8]}"
    mine = read_bundle(shelf(method, how))
    assert done.bundle.files == mine.files and done.bundle.tree == mine.tree
    one, two = (hash_of(load_bundle(item, fresh(tiny_encoder)).state_dict()) for item in (mine, done.bundle))
    assert one == two
    assert [path.name for path in runs.iterdir()] == [done.bundle.folder.name]


def test_a_second_pull_fetches_nothing(hub, sent, runs):
    first = pull(REPO, runs)
    hub.asked.clear()
    again = pull(REPO, runs)
    assert (
        not again.new
        and again.bundle == first.bundle
        and not [p for _, p in hub.asked if "/resolve/" in p and "json" not in p]
    )
    assert fetch(f"hub:{REPO}", runs) == first.bundle.folder


def test_a_new_commit_is_another_folder_and_a_revision_the_old_one(hub, sent, runs):
    old = sent.branches["main"]
    first = pull(REPO, runs).bundle.folder
    change(sent, "README.md", b"new")
    assert pull(REPO, runs).bundle.folder != first
    assert pull(REPO, runs, revision=old).bundle.folder == first == fetch(f"hub:{REPO}@{old}", runs)
    with pytest.raises(AdaptxferError, match="has no such revision"):
        pull(REPO, runs, revision="nowhere")


def test_to_a_folder_of_ones_own(hub, sent, runs, tmp_path):
    where = tmp_path / "here" / "it"
    assert pull(REPO, runs, to=where).bundle.folder == where and not runs.exists()
    change(sent, "README.md", b"new")
    with pytest.raises(AdaptxferError, match="holds ann/weather at"):
        pull(REPO, runs, to=where)
    assert pull(REPO, runs, to=where, fresh=True).source.commit == sent.branches["main"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for fresh_too in (False, True):
        with pytest.raises(AdaptxferError, match="exists and was not pulled") as caught:
            pull(REPO, runs, to=tmp_path / "full", fresh=fresh_too)
        assert caught.value.code == USE and (tmp_path / "full" / "thesis.txt").exists()


def test_offline_from_the_cache(hub, sent, runs, monkeypatch, tmp_path):
    done = pull(REPO, runs)
    shutil.rmtree(runs)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.asked.clear()
    assert pull(REPO, runs).bundle.files == done.bundle.files and hub.asked == []
    with pytest.raises(AdaptxferError, match="--offline is set and it is not in the cache") as caught:
        pull("ann/other", runs)
    assert caught.value.code == DATA
    (blob,) = (tmp_path / "hub-cache").rglob("snapshots/*/adapter.safetensors")
    blob.unlink()
    shutil.rmtree(runs)
    with pytest.raises(AdaptxferError, match=r"Only a part of ann/weather is in the cache"):
        pull(REPO, runs)


def test_the_base_model_is_compared(hub, sent, runs, tiny_dir, mini_dir, tmp_path):
    other = save_tiny(tmp_path / "other", mini_dir, seed=1)
    with pytest.raises(AdaptxferError, match=r"was trained on tiny .* not on other"):
        pull(REPO, runs, model=str(other))
    assert list(runs.iterdir()) == []
    assert pull(REPO, runs, model=str(tiny_dir)).new
    with pytest.raises(AdaptxferError, match=r"was trained on tiny .* not on other"):
        pull(REPO, runs, model=str(other))


def test_a_damaged_copy_is_fetched_again(hub, sent, runs):
    folder = pull(REPO, runs).bundle.folder
    (folder / "head.safetensors").write_bytes(b"x")
    assert pull(REPO, runs).new and read_bundle(folder)


def test_it_is_listed_but_never_taken_for_a_result_of_ones_own(hub, sent, runs):
    folder = pull(REPO, runs).bundle.folder
    store = RunStore(runs)
    (run,) = store.list()
    assert run.name == folder.name and run.status == "finished" and run.manifest["kind"] == "pulled"
    assert store.newest_intermediate("tiny", "bottleneck") is None and store.find(folder.name).path == folder
    (item,) = list_bundles(runs)
    assert (item.name, item.verified, item.task, item.method) == (folder.name, True, "goal", "bottleneck")
    assert item.origin == f"{REPO}@{sent.branches['main'][:8]}"


def test_it_can_be_removed_and_pulled_again(hub, sent, runs):
    folder = pull(REPO, runs).bundle.folder
    (runs / "hub-notes").mkdir()
    (runs / "hub-notes" / "mine.txt").write_text("x")
    with pytest.raises(AdaptxferError, match="not a run folder"):
        RunStore(runs).remove(["hub-notes"], force=True)
    assert RunStore(runs).remove([folder.name]) == [folder.name] and not folder.exists()
    assert pull(REPO, runs).new and (runs / "hub-notes" / "mine.txt").exists()


def test_a_private_repository(hub, bundle, runs, monkeypatch, tmp_path):
    push(bundle, REPO, private=True)
    assert pull(REPO, runs).new
    monkeypatch.setenv("HF_TOKEN", "hf_" + "anotherOne")
    with pytest.raises(AdaptxferError, match="it does not exist, or it is private") as caught:
        pull(REPO, tmp_path / "others")
    assert "anotherOne" not in str(caught.value) and not (tmp_path / "others").exists()


FAULTS = [
    (429, "/api/models/", "asks to slow down"),
    (503, "/api/models/", "has a fault"),
    (403, "/api/models/", "your token does not allow it"),
    ("drop", "/api/models/", "the connection was lost"),
    (500, "/resolve/", "Pulling from ann/weather failed"),
    ("drop", "/resolve/", "Pulling from ann/weather failed|connection was lost"),
    ("cut", "adapter.safetensors", "Pulling from ann/weather failed"),
]


@pytest.mark.parametrize(("kind", "part", "expected"), FAULTS)
def test_faults_that_last_leave_nothing(hub, sent, runs, kind, part, expected):
    hub.fail(kind, part, times=999)
    with pytest.raises(AdaptxferError, match=expected) as caught:
        pull(REPO, runs)
    assert caught.value.code == DATA and TOKEN not in str(caught.value)
    assert not runs.exists() or not list(runs.iterdir())
    hub.faults.clear()
    assert pull(REPO, runs).new


def test_a_connection_that_breaks_at_any_request(hub, sent, runs, tmp_path):
    hub.asked.clear()
    pull(REPO, tmp_path / "first")
    requests = len(hub.asked)
    for number in range(requests):
        shutil.rmtree(tmp_path / "hub-cache")
        where = tmp_path / f"cut{number}"
        hub.drop_number(number)
        try:
            pull(REPO, where)
        except AdaptxferError:
            assert not where.exists() or not list(where.iterdir())
            pull(REPO, where)
        (found,) = where.iterdir()
        assert read_bundle(found)
    assert requests >= 8


def test_a_file_that_arrives_too_short(hub, sent, runs):
    hub.fail("cut", "head.safetensors", method="GET", times=2)
    assert pull(REPO, runs).new  # the client continues where it was cut


REPOS = {
    "no module": ({"README.md": b"hello"}, "holds no module"),
    "only a pickle": ({"adapter_config.json": b"{}", "pytorch_adapter.bin": b"\x80\x04"}, "holds no safetensors"),
    "a whole encoder": ({"config.json": b"{}", "model.safetensors": b""}, "holds no module"),
    "of prefix tuning": (
        {"adapter_config.json": b'{"peft_type": "PREFIX_TUNING"}', "adapter_model.safetensors": b""},
        "neither a LoRA of `peft` nor a bottleneck",
    ),
}


@pytest.mark.parametrize("name", REPOS)
def test_repositories_without_a_module(hub, runs, name):
    files, expected = REPOS[name]
    hub.repo(REPO, files)
    with pytest.raises(AdaptxferError, match=expected):
        pull(REPO, runs, model="mini")
    assert not [path for _, path in hub.asked if "pytorch_adapter.bin" in path]


def described(repo) -> dict:
    return json.loads(repo.files["bundle.json"])


def listed(repo, name: str, digest: str = "0" * 64) -> bytes:
    found = described(repo)
    return json.dumps({**found, "files": {**found["files"], name: digest}}).encode()


OFFERED = [
    *[
        (name, "is no part of a bundle")
        for name in ("../x.json", "/etc/passwd", "module/../x.json", "module/a/b/c.json", "module/x.bin",
                     "module/x.pkl", "module/.hidden.json", "module/x y.json", "module/x\0.json", "module\\x.json",
                     "module/pytorch_model.bin", "setup.py", "module/[a-z].json", "module/*.json",
                     "module/" + "x" * 300 + ".json")
    ],
    ("module/head.safetensors", "two files for the place"),
    ("module/README.md", "is no part of a bundle"),
    ("module/bundle.json", "two files for the place"),
    ("module/missing.json", "lacks its file missing.json"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), OFFERED)
def test_names_that_a_stranger_lists(hub, sent, runs, name, expected):
    change(sent, "bundle.json", listed(sent, name))
    with pytest.raises(AdaptxferError, match=expected):
        pull(REPO, runs)
    assert not runs.exists()


@pytest.mark.parametrize("what", ["bundle.json", "manifest.json", "adapter_config.json"])
@pytest.mark.parametrize("size", [1 << 21, 1 << 40])
def test_sizes_that_no_configuration_has(hub, sent, runs, what, size):
    sent.commits[sent.branches["main"]].setdefault(what, b"{}")
    sent.claimed[what] = size
    with pytest.raises(AdaptxferError, match="which no configuration has"):
        pull(REPO, runs)


def test_more_than_fits_on_the_disk(hub, sent, runs):
    sent.claimed["adapter.safetensors"] = 1 << 60
    with pytest.raises(AdaptxferError, match=r"needs [\d,]+ bytes, [\d,]+ are free"):
        pull(REPO, runs)


def test_a_hostile_record_is_believed_in_nothing(hub, sent, runs):
    record = {"schema": 99, "kind": "intermediate", "status": "running", "seed": "x", "name": "../../x", "hash": [],
              "request": {"max_length": {"value": "no number", "from": 3}, "how": {"value": "<script>"},
                          "model": {"value": {"a": 1}}, "../x": {"value": 1}, "limit": {"value": True}},
              "parents": ["../x", "good"], "versions": {"torch": 2}, "base_model": {"id": "y"},
              "dev": {"a b": {}, "goal": {"main": "x", "accuracy": "high", "loss": 10**400}},
              "pulled": {"repo": "x/y"}}  # fmt: skip
    change(sent, "manifest.json", json.dumps(record).encode())
    done = pull(REPO, runs)
    found = json.loads((done.bundle.folder / "manifest.json").read_text())
    assert found["kind"] == "pulled" and found["status"] == "finished" and found["seed"] == 0
    assert (
        found["request"] == {}
        and found["parents"] == ["good"]
        and found["versions"] == {}
        and found["base_model"] == {}
    )
    assert found["pulled"]["repo"] == REPO and found["dev"] == {"goal": {}}
    assert RunStore(runs).find(done.bundle.folder.name).status == "finished"


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff\xfe", b"\x1f\x8b" + b"0" * 50, b'{"a":' + b"9" * 5000 + b"}"])
def test_records_that_are_none(hub, sent, runs, content):
    change(sent, "manifest.json", content)
    with pytest.raises(AdaptxferError):
        pull(REPO, runs)
    assert not runs.exists() or not list(runs.iterdir())


def test_a_record_of_another_base_model(hub, sent, runs):
    base = {**described(sent)["base_model"], "fingerprint": "f" * 32}
    change(sent, "manifest.json", json.dumps({"base_model": base}).encode())
    with pytest.raises(AdaptxferError, match="contradicts itself about its base model"):
        pull(REPO, runs)


@pytest.mark.parametrize("text", ["hub:", "hub:x", "hub:a/b/c", "hub:a/b@", "hub:a/../b", "hub:a/b@../x", "hub:a/b@-x"])
def test_places_that_are_none(hub, runs, text):
    with pytest.raises(AdaptxferError, match=r"is no repository of the Hub|is no revision|does not exist"):
        fetch(text, runs)
    assert re.match("hub:", text) and not runs.exists()
