"""The mode of the kernels and where it comes from."""

from __future__ import annotations

import subprocess
import sys

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.kernels.modes import MODES, VARIABLE, effective_mode, known_mode


def test_what_was_asked_beats_the_environment(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert effective_mode() == ("auto", "default")
    monkeypatch.setenv(VARIABLE, "torch")
    assert effective_mode() == ("torch", "environment") and effective_mode("triton") == ("triton", "you")


@pytest.mark.parametrize("mode", MODES)
def test_known_modes(mode):
    assert known_mode(mode) == mode


def test_unknown_modes_are_told_with_their_place(monkeypatch):
    monkeypatch.setenv(VARIABLE, "cuda")
    with pytest.raises(AdaptxferError, match=f"for {VARIABLE}, found 'cuda'"):
        effective_mode()
    with pytest.raises(AdaptxferError, match="for --kernels, found 'tritn'") as caught:
        effective_mode("tritn")
    assert "triton" in caught.value.hint


def test_neither_torch_nor_triton_is_needed():
    code = "import sys, adaptxfer.kernels.modes; sys.exit({'torch', 'triton'} & sys.modules.keys() != set())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
