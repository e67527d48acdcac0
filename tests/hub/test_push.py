"""Pushing: exactly the listed files in one commit, and a clean sentence for every way it can fail."""

from __future__ import annotations

import json

import pytest

from adaptxfer.errors import DATA, USE, AdaptxferError
from adaptxfer.hub import client
from adaptxfer.hub.push import push
from adaptxfer.modules.bundle import read_bundle
from tests.hub.server import TOKEN

REPO = "ann/weather"
LEAF = ["README.md", "adapter.safetensors", "adapter_config.json", "bundle.json", "head.safetensors"]


def test_one_commit_with_the_native_layout_at_the_root(hub, bundle):
    done = push(bundle, REPO)
    repo = hub.repos[REPO]
    assert len(repo.commits) == 2 and done.commit == repo.branches["main"]
    assert sorted(set(repo.files) - {".gitattributes"}) == LEAF == list(done.files)
    assert repo.files["adapter.safetensors"] == (bundle / "module" / "adapter.safetensors").read_bytes()
    assert json.loads(repo.files["bundle.json"]) == json.loads((bundle / "bundle.json").read_text())
    assert {name: len(repo.files[name]) for name in LEAF} == done.files


@pytest.mark.parametrize(
    ("method", "how", "expected"),
    [
        ("lora", "none", {"adapter_config.json", "adapter_model.safetensors"}),
        ("full", "none", {"config.json", "model.safetensors"}),
        ("bottleneck", "stack", {"one/adapter.safetensors", "goal/adapter_config.json"}),
        ("bottleneck", "fuse", {"two/adapter.safetensors", "fusion/model_adapter_fusion.safetensors"}),
    ],
)
def test_dry_run_lists_exactly_what_would_be_sent(hub, shelf, method, how, expected):
    told = push(shelf(method, how), REPO, dry_run=True)
    assert hub.asked == [] and told.commit is None and expected <= set(told.files)
    push(shelf(method, how), REPO)
    files = hub.repos[REPO].files
    assert told.files == {name: len(files[name]) for name in set(files) - {".gitattributes"}}


def test_nothing_else_of_the_folder_is_sent(hub, bundle):
    for name in ("log.jsonl", "predictions/sw.jsonl", ".env", "checkpoint/state.json"):
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text(f"secret {TOKEN}")
    push(bundle, REPO)
    assert sorted(set(hub.repos[REPO].files) - {".gitattributes"}) == LEAF


def test_a_changed_bundle_is_not_sent(hub, bundle):
    (bundle / "head.safetensors").write_bytes(b"x")
    with pytest.raises(AdaptxferError, match="is not the file that was saved"):
        push(bundle, REPO)
    assert hub.asked == []


def test_the_same_again_makes_no_commit_and_sends_no_weights(hub, bundle):
    first = push(bundle, REPO)
    hub.asked.clear()
    assert push(bundle, REPO).commit == first.commit
    assert len(hub.repos[REPO].commits) == 2 and not [path for verb, path in hub.asked if verb == "PUT"]


def test_private_and_branch(hub, bundle):
    push(bundle, REPO, private=True, revision="v2/tests")
    repo = hub.repos[REPO]
    assert repo.private and set(repo.branches) == {"main", "v2/tests"}
    assert "bundle.json" not in repo.files and "bundle.json" in repo.commits[repo.branches["v2/tests"]]


def test_private_never_publishes(hub, bundle):
    hub.repo(REPO, {"README.md": b"public"})
    with pytest.raises(AdaptxferError, match=r"exists and is public, but --private is set"):
        push(bundle, REPO, private=True)
    assert set(hub.repos[REPO].files) == {"README.md"}


@pytest.mark.parametrize(
    "repo", ["weather", "a/b/c", "../x/y", "ann/we ather", "", "ann/", "ann/..", "https://x/y", "a" * 200]
)
def test_repositories_that_are_none(hub, bundle, repo):
    with pytest.raises(AdaptxferError, match="is no repository of the Hub") as caught:
        push(bundle, repo)
    assert caught.value.code == USE and hub.asked == []


@pytest.mark.parametrize("revision", ["", "-x", "a..b", "a b", "x" * 200, "a\nb"])
def test_revisions_that_are_none(hub, bundle, revision):
    with pytest.raises(AdaptxferError, match="is no revision"):
        push(bundle, REPO, revision=revision)
    assert hub.asked == []


FAULTS = [
    (401, "/commit/", "it is private and you are not known"),
    (403, "/commit/", "your token does not allow it"),
    (409, "/commit/", "changed by somebody else"),
    (412, "/commit/", "changed by somebody else"),
    (429, "/commit/", "asks to slow down"),
    (429, "/api/repos/create", "asks to slow down"),
    (500, "/api/models/", "has a fault"),
    (503, "objects/batch", "has a fault"),
    (400, "/lfs/", "Pushing to ann/weather failed"),
    ("drop", "/commit/", "the connection was lost"),
    ("cut", "/preupload/", "Pushing to ann/weather failed"),
]


@pytest.mark.parametrize(("kind", "part", "expected"), FAULTS)
def test_faults_that_last(hub, bundle, kind, part, expected):
    hub.fail(kind, part, times=99)
    with pytest.raises(AdaptxferError, match=expected) as caught:
        push(bundle, REPO)
    assert caught.value.code == DATA and TOKEN not in str(caught.value) and "signature" not in str(caught.value)
    assert len(hub.repos[REPO].commits if REPO in hub.repos else []) <= 1


@pytest.mark.parametrize("part", ["/api/repos/create", "/api/models/", "/commit/"])
def test_a_busy_hub_is_waited_for(hub, bundle, part, monkeypatch):
    waits = []
    monkeypatch.setattr(client.time, "sleep", waits.append)
    hub.fail(429, part, times=2, **{"Retry-After": "7"})
    assert push(bundle, REPO).commit == hub.repos[REPO].branches["main"]
    assert waits[:2] == [7.0, 7.0]


def test_a_commit_of_somebody_else_in_between(hub, bundle, monkeypatch):
    push(bundle, REPO)
    repo = hub.repos[REPO]
    hub.fail(200, "/nothing")
    card = bundle / "README.md"
    assert not card.exists()
    real = hub.fault

    def other(method, path):
        if "/preupload/" in path:
            repo.add({**repo.files, "note.txt": b"theirs"})
        return real(method, path)

    monkeypatch.setattr(hub, "fault", other)
    repo.add({"README.md": b"old"})
    with pytest.raises(AdaptxferError, match="changed by somebody else meanwhile"):
        push(bundle, REPO)
    assert repo.files["note.txt"] == b"theirs" and "bundle.json" not in repo.files


def test_a_connection_that_breaks_at_any_request_leaves_all_or_nothing(hub, bundle):
    push(bundle, "ann/whole")
    wanted, requests = hub.repos["ann/whole"].files, len(hub.asked)
    outcomes = []
    for number in range(requests):
        repo = f"ann/cut{number}"
        hub.large.clear()
        hub.drop_number(number)
        try:
            push(bundle, repo)
            outcomes.append("sent")
        except AdaptxferError as error:
            assert "the connection was lost" in error.message
            outcomes.append("lost")
            files = hub.repos[repo].files
            assert set(files) == {".gitattributes"} or set(files) == set(wanted)
            push(bundle, repo)
        assert set(hub.repos[repo].files) == set(wanted)
    assert outcomes.count("sent") >= 3 and "lost" in outcomes


def test_without_a_token(hub, bundle, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(AdaptxferError, match="you are not known") as caught:
        push(bundle, REPO)
    assert "set HF_TOKEN" in caught.value.hint and hub.repos == {}


def test_offline(hub, bundle, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AdaptxferError, match="--offline is set"):
        push(bundle, REPO)
    assert hub.asked == []


def test_the_card_and_the_record_hold_no_token(hub, bundle, monkeypatch):
    push(bundle, REPO)
    assert not [name for name, content in hub.repos[REPO].files.items() if TOKEN.encode() in content]
    assert read_bundle(bundle)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"no {TOKEN} here", "no *** here"),
        ("Bearer abc.def", "Bearer ***"),
        ("at https://x.y/z?X-Amz-Signature=1234&a=b now", "at https://x.y/z now"),
    ],
)
def test_redaction(monkeypatch, text, expected):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert client.redact(text) == expected
