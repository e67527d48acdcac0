"""A loopback Hub that the real client talks to, and bundles to send there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaptxfer.modules.bundle import Bundle, save_bundle
from tests.hub.server import TOKEN, Hub
from tests.tiny import arrange, randomise, tiny_dir, tiny_encoder  # two of them fixtures

__all__ = ["tiny_dir", "tiny_encoder"]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A fresh Hub, with this process's client pointed at it, an empty cache, and no real waiting."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    with Hub() as server:
        changed = {"ENDPOINT": server.url, "HF_HUB_CACHE": str(tmp_path / "hub-cache"), "HF_HUB_DISABLE_XET": True,
                   "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_TELEMETRY": True}  # fmt: skip
        for name, value in changed.items():
            monkeypatch.setattr(constants, name, value)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
        yield server


@pytest.fixture(scope="session")
def shelf(tiny_encoder, tmp_path_factory) -> Callable[..., Path]:
    """Makes a bundle of the tiny encoder, once per kind; to be read only."""
    root = tmp_path_factory.mktemp("bundles")

    def make(method: str = "bottleneck", how: str = "none") -> Path:
        folder = root / f"{method}-{how}"
        if not (folder / "bundle.json").exists():
            model, tree, trained = arrange(tiny_encoder, method, how)
            randomise(trained, 3)
            heads = {"goal": model.head("goal").spec}
            save_bundle(model, Bundle(folder, tiny_encoder.base, method, tree, "goal", heads))
        return folder

    return make


@pytest.fixture
def bundle(shelf, tmp_path: Path) -> Path:
    """A bottleneck bundle that a test may change."""
    return Path(shutil.copytree(shelf(), tmp_path / "mine"))


class Machine:
    """Another machine: commands run in their own process, with an empty cache of the Hub's client."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        folder.mkdir()
        dropped = ("ADAPTXFER", "HF_", "TRANSFORMERS_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        self.environment |= {
            "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_ENDPOINT": url, "HF_HOME": str(folder / "hf"),
            "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "ADAPTXFER_CACHE": str(folder / "cache"),
        }  # fmt: skip

    def run(self, script: str, *words: str) -> Any:
        """What a script prints as its last line, as JSON."""
        done = subprocess.run(
            [sys.executable, "-c", script, *words], cwd=self.folder, env=self.environment, text=True,
            capture_output=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert TOKEN not in done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Makes machines that talk to one Hub."""
    with Hub() as server:
        yield server, lambda name: Machine(tmp_path_factory.mktemp("machine") / name, server.url)
