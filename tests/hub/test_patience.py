"""Answers that never come, or come byte by byte: given up in time, with a sentence, and leaving nothing."""

from __future__ import annotations

import io

import pytest

from adaptxfer.errors import DATA, AdaptxferError
from adaptxfer.hub import client, patience
from adaptxfer.hub.pull import pull
from adaptxfer.hub.push import push

REPO = "ann/weather"
SLOW = ["stall", "trickle"]


@pytest.fixture
def hurry(monkeypatch):
    """From now on half a second of silence is too long, and there is one more try."""

    def shorten() -> None:
        monkeypatch.setattr(client, "PAUSES", (1.0,))
        monkeypatch.setattr(patience, "SILENCE", 0.5)
        monkeypatch.setattr(patience, "GRACE", 0.5)
        for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", 0.2)

    return shorten


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("part", ["/api/models/", "adapter.safetensors"])
def test_pulling(hub, bundle, tmp_path, hurry, kind, part) -> None:
    push(bundle, REPO)
    hurry()
    hub.fail(kind, part, times=999)
    with pytest.raises(AdaptxferError, match=f"Pulling from {REPO} failed") as caught:
        pull(REPO, tmp_path / "runs")
    assert caught.value.code == DATA and "again" in caught.value.hint
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())
    hub.faults.clear()
    assert pull(REPO, tmp_path / "runs").new


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("part", ["/api/repos/create", "/preupload/", "/lfs/", "/commit/"])
def test_pushing(hub, bundle, hurry, kind, part) -> None:
    hurry()
    hub.fail(kind, part, method="PUT" if part == "/lfs/" else "POST", times=999)
    with pytest.raises(AdaptxferError, match=f"{REPO} failed") as caught:
        push(bundle, REPO)
    assert caught.value.code == DATA
    hub.faults.clear()
    push(bundle, REPO)
    assert "bundle.json" in hub.repos[REPO].files


@pytest.mark.parametrize("kind", SLOW)
def test_once_slow_is_tried_again(hub, bundle, tmp_path, hurry, kind) -> None:
    push(bundle, REPO)
    hurry()
    hub.fail(kind, "/api/models/", times=1)
    assert pull(REPO, tmp_path / "runs").new


class Drops(io.RawIOBase):
    """Gives one byte a read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        buffer[:1] = b"x"
        return 1


def test_the_pace_counts_from_the_first_byte(monkeypatch) -> None:
    clock = iter([100.0, *(100 + step for step in range(1, 40))])
    monkeypatch.setattr(patience.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(patience, "GRACE", 30.0)
    paced = patience.Paced(Drops())
    read = 0
    with pytest.raises(TimeoutError, match="32 bytes came in 31 s"):
        while True:
            read += paced.readinto(bytearray(10))
    assert read == 31


def test_what_comes_at_a_pace_goes_on(monkeypatch) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(patience.time, "monotonic", lambda: float(next(clock)))
    paced = patience.Paced(io.BytesIO(bytes(200_000)))
    buffer = bytearray(2000)  # every twenty seconds
    assert sum(paced.readinto(buffer) for _ in range(100)) == 200_000
