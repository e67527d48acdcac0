"""Weight files: exactly what is expected, or a sentence."""

from __future__ import annotations

import pytest
import torch
from safetensors import SafetensorError

from adaptxfer.errors import DATA, AdaptxferError
from adaptxfer.modules.weights import copy_into, load_into, read_tensors, save_tensors


@pytest.fixture
def parameters():
    return {"a": torch.nn.Parameter(torch.ones(2, 3)), "b": torch.nn.Parameter(torch.zeros(2))}


def test_round_trip(parameters, tmp_path):
    save_tensors(tmp_path / "w.safetensors", parameters)
    wanted = {name: value.detach().clone() for name, value in parameters.items()}
    for value in parameters.values():
        value.data.fill_(7)
    load_into(parameters, tmp_path / "w.safetensors")
    assert all(torch.equal(parameters[name], wanted[name]) for name in wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"a": torch.ones(2, 3)}, "lacks 1 of 2 weights, e.g. b"),
        ({"a": torch.ones(2, 3), "b": torch.zeros(2), "c": torch.zeros(1)}, "1 weights that have no place here.*c"),
        ({"a": torch.ones(3, 2), "b": torch.zeros(2)}, r"a should have the shape \[2, 3\], found \[3, 2\]"),
        ({"a": torch.ones(2, 3), "b": torch.tensor([1.0, float("nan")])}, "b holds NaN or infinite"),
        ({"a": torch.ones(2, 3), "b": torch.tensor([1.0, float("inf")])}, "b holds NaN or infinite"),
        ({"a": torch.ones(2, 3), "b": torch.zeros(2, dtype=torch.int64)}, "b is of type torch.int64"),
    ],
)
def test_what_does_not_fit_changes_nothing(parameters, found, expected):
    with pytest.raises(AdaptxferError, match=expected) as caught:
        copy_into(parameters, found, "here")
    assert caught.value.code == DATA and caught.value.message.startswith("here")
    assert bool((parameters["a"] == 1).all()) and bool((parameters["b"] == 0).all())


def test_half_precision_files_load(parameters):
    copy_into(parameters, {"a": torch.full((2, 3), 0.5).half(), "b": torch.ones(2).bfloat16()}, "here")
    assert parameters["a"].dtype == torch.float32 and float(parameters["a"].detach()[0, 0]) == 0.5


def test_files_that_cannot_be_read(parameters, tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(AdaptxferError, match="is missing"):
        read_tensors(path)
    save_tensors(path, parameters)
    (tmp_path / "link.safetensors").symlink_to(path)
    with pytest.raises(AdaptxferError, match="is missing"):
        read_tensors(tmp_path / "link.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(AdaptxferError, match="is damaged"):
        read_tensors(path)


def test_a_full_disk_leaves_the_old_file(parameters, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_tensors(path, parameters)
    before = path.read_bytes()

    def full(*_args, **_options):
        raise SafetensorError('Error while serializing: IoError(Os { code: 28, message: "No space left on device" })')

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(AdaptxferError, match="No space left"):
        save_tensors(path, parameters)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["w.safetensors"]
