"""``--kernels`` and ``--graphs`` on the command line."""

from __future__ import annotations

import json

import pytest
import torch

from adaptxfer.cli import main
from adaptxfer.kernels import dispatch
from adaptxfer.runs.store import RunStore
from tests.world import open_world

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    with open_world(tmp_path_factory.mktemp("engine"), mini_dir) as made:
        yield made


@pytest.fixture(autouse=True)
def no_interpreter(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    dispatch._device_refusal.cache_clear()
    yield
    dispatch._device_refusal.cache_clear()


def answer(capsys, *words):
    capsys.readouterr()
    return main(list(words)), *capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kernels", "tritn"], ["for --kernels, found 'tritn'", "Did you mean 'triton'"]),
        (["--kernels", "triton"], ["The Triton kernels cannot be used: ", "--kernels auto"]),
        (["--graphs", "yes"], ["--graphs must be auto, on or off, got 'yes'"]),
        (["--graphs", "on"], ["CUDA graphs cannot be used: there is no CUDA device", "--graphs auto"]),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(world, capsys, words, said):
    before = sorted(world.root.rglob("*"))
    code, out, err = answer(capsys, "train-intermediate", "endings", *world.words(), *words)
    assert code == 1 and not out and "Traceback" not in err
    assert all(part in err for part in said), err
    assert sorted(world.root.rglob("*")) == before


def test_the_mode_is_recorded_but_decides_nothing(world, capsys):
    words = ["transfer", "--to", "weather", "--how", "none", *world.words(), "--json"]
    assert answer(capsys, *words, "--kernels", "torch", "--graphs", "off")[0] == 0
    code, out, _ = answer(capsys, *words)  # finished already
    assert code == 0
    runs = {run.manifest["kind"]: run for run in RunStore(world.root / "runs").list()}
    assert len(runs) == 2 and len(json.loads(out)["runs"]) == 1
    for run in runs.values():
        assert run.manifest["request"]["kernels"] == {"value": "torch", "from": "you"}
    assert runs["target"].manifest["request"]["graphs"] == {"value": "off", "from": "you"}
