"""Bundles: composition and head travel together, and nothing damaged or foreign is loaded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from adaptxfer.encoder import load_encoder
from adaptxfer.errors import DATA, AdaptxferError
from adaptxfer.modules.bundle import FILE, Bundle, load_bundle, read_bundle, save_bundle
from adaptxfer.modules.composition import Leaf
from adaptxfer.modules.heads import HeadSpec
from tests.tiny import WAYS, arrange, fresh, hash_of, packed, randomise, save_tiny


def save(encoder, folder, method, how, own=False, spec=None):
    """A bundle whose every part was moved away from its start, as after training."""
    model, tree, trained = arrange(encoder, method, how, own, spec=spec)
    randomise(trained, 3)
    heads = {"goal": model.head("goal").spec}
    return model.eval(), save_bundle(model, Bundle(folder, encoder.base, method, tree, "goal", heads))


@torch.no_grad()
@pytest.mark.parametrize(("method", "how", "own"), WAYS)
def test_round_trip_is_bit_equal(tiny_encoder, tmp_path, method, how, own):
    model, saved = save(tiny_encoder, tmp_path, method, how, own)
    found = read_bundle(tmp_path)
    assert found == saved
    again = load_bundle(found, fresh(tiny_encoder))
    ids, bounds = packed()
    assert torch.equal(again("goal", ids, bounds), model("goal", ids, bounds))
    assert hash_of(again.state_dict()) == hash_of(model.state_dict())
    assert not again.training and not any(value.requires_grad for value in again.network.parameters())


def test_saving_twice_gives_the_same_files(tiny_encoder, tmp_path):
    _, first = save(tiny_encoder, tmp_path / "1", "lora", "stack")
    _, second = save(tiny_encoder, tmp_path / "2", "lora", "stack")
    assert first.files == second.files and len(first.files) == 5


def test_nothing_saved_names_a_place_on_this_machine(tiny_encoder, tiny_dir, tmp_path):
    for method, how in (("bottleneck", "fuse"), ("lora", "stack"), ("full", "none")):
        save(tiny_encoder, tmp_path / method, method, how)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(tiny_dir.parent).encode() not in content and str(tmp_path).encode() not in content, path


def test_a_module_of_several_tasks_is_called_by_all_of_them(tiny_encoder, tmp_path):
    _, saved = save(tiny_encoder, tmp_path, "bottleneck", "none")
    name, spec = saved.single(), saved.heads["goal"]
    both = replace(saved, heads={name: spec, "other": spec})
    assert (saved.called(), both.called()) == (name, f"{name}-other")
    assert replace(saved, heads={"left": spec, "right": spec}).called() == name  # a merged one has a name of its own


@pytest.fixture
def folder(tiny_encoder, tmp_path):
    save(tiny_encoder, tmp_path / "run", "bottleneck", "fuse", True)
    return tmp_path / "run"


def change(folder, **changed):
    path = folder / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_another_base_model_of_the_same_width(folder, mini_dir, tmp_path):
    other = load_encoder(str(save_tiny(tmp_path / "other", mini_dir, seed=1)))
    with pytest.raises(AdaptxferError, match=r"was trained on tiny .* not on other") as caught:
        load_bundle(read_bundle(folder), other)
    assert caught.value.code == DATA and caught.value.hint == "Use --model tiny."


@pytest.mark.parametrize(
    "part",
    ["head.safetensors", "module/one/adapter.safetensors", "module/fusion/model_adapter_fusion.safetensors"],
)
def test_changed_missing_and_linked_parts(folder, tmp_path, part):
    path = folder / part
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(AdaptxferError, match="is not the file that was saved"):
        read_bundle(folder)
    path.unlink()
    with pytest.raises(AdaptxferError, match="lacks its file"):
        read_bundle(folder)
    outside = tmp_path / "outside"
    outside.write_bytes(content)
    path.symlink_to(outside)
    with pytest.raises(AdaptxferError, match=r"outside its folder|lacks its file"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "module/../../x"])
def test_files_outside_the_folder(folder, name):
    change(folder, files={name: "0"})
    with pytest.raises(AdaptxferError, match="outside its folder"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"schema": 99}, "schema 99, expected 1"),
        ({"method": "prefix"}, "unknown method 'prefix'"),
        ({"method": "lora"}, "peft has no fuse"),
        ({"method": ["lora"]}, "not a complete bundle|unknown method"),
        ({"composition": {"fuse": [{"stack": ["a", "b"]}, "c"]}}, "is not a composition"),
        ({"composition": {"fuse": ["a"]}}, "is not a composition"),
        ({"composition": "../a"}, "not usable as a name"),
        ({"heads": {"a/b": {}}}, "not usable as a name"),
        ({"heads": []}, "not a complete bundle"),
        ({"base_model": {"id": "x"}}, "not a complete bundle"),
        ({"base_model": None}, "not a complete bundle"),
        ({"files": 3}, "not a complete bundle"),
    ],
)
def test_descriptions_that_make_no_sense(folder, changed, expected):
    change(folder, **changed)
    with pytest.raises(AdaptxferError, match=expected):
        read_bundle(folder)


def test_a_fingerprint_must_be_there(folder):
    base = json.loads((folder / FILE).read_text())["base_model"]
    change(folder, base_model=base | {"fingerprint": None})
    with pytest.raises(AdaptxferError, match="not a complete bundle"):
        read_bundle(folder)


def test_a_head_of_another_width_or_number_of_labels(folder, tiny_encoder):
    spec = json.loads((folder / FILE).read_text())["heads"]["goal"]
    change(folder, heads={"goal": spec | {"width": 10**6}})
    with pytest.raises(AdaptxferError, match="head for goal has width 1000000, the base model 32"):
        load_bundle(read_bundle(folder), fresh(tiny_encoder))
    change(folder, heads={"goal": spec | {"labels": ["a", "b", "c"]}})
    with pytest.raises(AdaptxferError, match="should have the shape"):
        load_bundle(read_bundle(folder), fresh(tiny_encoder))


def test_a_folder_without_bundle(tmp_path):
    with pytest.raises(AdaptxferError, match="holds no bundle") as caught:
        read_bundle(tmp_path)
    assert "finished run" in caught.value.hint


def test_saving_that_fails_leaves_nothing_readable(folder, tiny_encoder, monkeypatch):
    model, tree, _ = arrange(tiny_encoder, "bottleneck", "none")

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model.network, "save_adapter", full)
    with pytest.raises(AdaptxferError, match="No space left") as caught:
        save_bundle(model, Bundle(folder, tiny_encoder.base, "bottleneck", tree, "goal"))
    assert caught.value.code == DATA
    with pytest.raises(AdaptxferError, match="holds no bundle"):
        read_bundle(folder)


def test_a_composition_is_no_intermediate(folder, tiny_encoder, tmp_path):
    with pytest.raises(AdaptxferError, match="composition of 3 modules and cannot be an intermediate"):
        read_bundle(folder).single()
    _, single = save(tiny_encoder, tmp_path / "one", "bottleneck", "none")
    assert single.single() == "goal" and single.tree == Leaf("goal")


@torch.no_grad()
def test_a_choose_head_of_four_choices_scores_two(tiny_encoder, tmp_path):
    _, saved = save(tiny_encoder, tmp_path, "bottleneck", "none", spec=HeadSpec("choose", 32))
    again = load_bundle(read_bundle(tmp_path), fresh(tiny_encoder))
    for choices in (4, 2):
        assert again("goal", *packed((5,) * choices)).shape == (choices,)
    assert saved.heads["goal"].labels == ()


def test_a_bundle_can_be_moved(folder, tiny_encoder, tmp_path):
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(folder, moved)
    shutil.rmtree(folder)
    assert load_bundle(read_bundle(moved), fresh(tiny_encoder)).head("goal")
