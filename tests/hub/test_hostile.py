"""Bundles from strangers: each trick is refused with a sentence of its own, before a weight is used."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adaptxfer.errors import AdaptxferError
from adaptxfer.files import file_hash
from adaptxfer.modules.bundle import load_bundle, read_bundle
from adaptxfer.modules.weights import check_file
from tests.tiny import fresh

WEIGHTS, CONFIG = "module/adapter.safetensors", "module/adapter_config.json"
Trick = Callable[[Path], object]


def described(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "bundle.json").read_text())


def say(**values: Any) -> Trick:
    """Change ``bundle.json``."""
    return lambda folder: (folder / "bundle.json").write_text(json.dumps({**described(folder), **values}))


def within(key: str, **values: Any) -> Trick:
    """Change one part of ``bundle.json``."""
    return lambda folder: say(**{key: {**described(folder)[key], **values}})(folder)


def head(**values: Any) -> Trick:
    return lambda folder: say(heads={"goal": {**described(folder)["heads"]["goal"], **values}})(folder)


def relist(folder: Path) -> None:
    """Make the hashes right again: the stranger has a hash of whatever they send."""
    names = [path.relative_to(folder).as_posix() for path in (folder / "module").rglob("*") if path.is_file()]
    say(files={name: file_hash(folder / name) for name in [*names, "head.safetensors"]})(folder)


def put(name: str, content: bytes, honest: bool = True) -> Trick:
    """Replace a file, by default with the right hash."""

    def trick(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        if honest:
            relist(folder)

    return trick


def config(**values: Any) -> Trick:
    def trick(folder: Path) -> None:
        found = json.loads((folder / CONFIG).read_text())
        put(CONFIG, json.dumps({**found, **values}).encode())(folder)

    return trick


def module(**values: Any) -> Trick:
    return lambda folder: config(config={**json.loads((folder / CONFIG).read_text())["config"], **values})(folder)


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], name: str = WEIGHTS) -> Trick:
    def trick(folder: Path) -> None:
        found = load_file(folder / name)
        save_file(change(found), folder / name)
        relist(folder)

    return trick


def link(name: str, target: str) -> Trick:
    def trick(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(target)

    return trick


def linked_module(folder: Path) -> None:
    shutil.move(folder / "module", folder.parent / "outside")
    (folder / "module").symlink_to(folder.parent / "outside")


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def one(tensors_: dict[str, torch.Tensor], make: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    key = sorted(tensors_)[0]
    return {**tensors_, key: make(tensors_[key])}


def deep(folder: Path) -> None:
    """Stacks in stacks, deep enough for a reader that calls itself and not for the JSON parser."""
    tree = '{"stack": [' * 600 + '"a"' + "]}" * 600
    (folder / "bundle.json").write_text(
        json.dumps({**described(folder), "composition": 0}).replace(": 0", f": {tree}", 1)
    )


TRICKS: dict[str, tuple[Trick, str]] = {
    # what bundle.json says
    "no object": (put("bundle.json", b"[]", False), "not a complete bundle"),
    "cut off": (put("bundle.json", b'{"schema": 1, ', False), "not valid JSON"),
    "no text": (put("bundle.json", b"\xff\xfe\x00", False), "not UTF-8"),
    "empty": (put("bundle.json", b"", False), "not valid JSON"),
    "a pickle": (put("bundle.json", b"\x80\x04\x95cos\nsystem\n.", False), "not UTF-8"),
    "a bomb of gzip": (put("bundle.json", b"\x1f\x8b\x08" + bytes(100), False), "is gzip or has more than"),
    "too large": (put("bundle.json", b" " * (2 << 20), False), "is gzip or has more than"),
    "nested": (put("bundle.json", b"[" * 100_000, False), "nested too deeply|not valid JSON"),
    "a long number": (put("bundle.json", b'{"schema": ' + b"9" * 5000 + b"}", False), "not valid JSON|endless number"),
    "infinite schema": (put("bundle.json", b'{"schema": Infinity}', False), "schema inf"),
    "newer schema": (say(schema=2), "schema 2, expected 1"),
    "schema true": (say(schema="1"), "schema 1, expected 1"),
    "method": (say(method="os.system"), "unknown method"),
    "method no word": (say(method={}), "not a complete bundle|unknown method"),
    "task path": (say(task="../../x"), "not usable as a name"),
    "task markup": (say(task="<script>"), "not usable as a name"),
    "task number": (say(task=7), "not a complete bundle"),
    "task long": (say(task="x" * 10_000), "not usable as a name"),
    "head name": (say(heads={"../x": {}}), "not usable as a name"),
    "head no object": (say(heads={"goal": 3}), "not a complete bundle|not described completely"),
    "head labels": (head(labels=3), "not described completely|not a complete bundle"),
    "head many labels": (head(labels=["x"] * 50_000), "should have the shape"),
    "head width": (head(width=1 << 40), "has width"),
    "head width negative": (head(width=-1), "impossible width"),
    "head width infinite": (head(width=float("inf")), "not a complete bundle"),
    "head dropout": (head(dropout=2.0), "impossible"),
    "head dropout nan": (head(dropout=float("nan")), "impossible"),
    "head kind": (head(kind="__class__"), "has no head"),
    "base missing": (say(base_model={}), "not a complete bundle"),
    "base unknown field": (within("base_model", code="x"), "not a complete bundle"),
    "base without fingerprint": (within("base_model", fingerprint=""), "not a complete bundle"),
    "base other": (within("base_model", fingerprint="0" * 32), "was trained on|go by one name"),
    "tree deep": (deep, "is not a composition|not a complete bundle|nested too deeply"),
    "tree path": (say(composition="../evil"), "not usable as a name"),
    "tree dot": (say(composition="a.b"), "not usable as a name"),
    "tree comma": (say(composition="a,b"), "not usable as a name"),
    "tree reserved": (say(composition="keys"), "cannot name a module"),
    "tree twice": (say(composition={"stack": ["a", "a"]}), "is not a composition"),
    "tree other": (say(composition={"exec": ["a", "b"]}), "is not a composition"),
    "tree of nothing there": (say(composition={"stack": ["a", "b"]}), "does not exist|cannot be read|lists?"),
    "options no object": (say(options=[1]), "not a complete bundle"),
    # which files it names
    "file parent": (within("files", **{"module/../../x.json": "0"}), "outside its folder"),
    "file absolute": (within("files", **{"/etc/passwd": "0"}), "outside its folder"),
    "file nul": (within("files", **{"module/\0.json": "0"}), "outside its folder"),
    "file endless name": (within("files", **{"module/" + "x" * 5000 + ".json": "0"}), "outside its folder"),
    "file pickle": (put("module/pytorch_adapter.bin", b"\x80\x04."), "no part of a bundle"),
    "file code": (put("module/modeling.py", b"import os"), "no part of a bundle"),
    "file not listed": (put("module/more.safetensors", b"x", False), "a file that it does not list"),
    "nothing listed": (say(files={}), "a file that it does not list"),
    "hash wrong": (within("files", **{WEIGHTS: "0" * 64}), "is not the file that was saved"),
    "hash no word": (within("files", **{WEIGHTS: None}), "is not the file that was saved"),
    "file missing": (lambda folder: (folder / WEIGHTS).unlink(), "lacks its file"),
    "file is a folder": (lambda folder: ((folder / WEIGHTS).unlink(), (folder / WEIGHTS).mkdir()), "lacks its file"),
    "file is a pipe": (lambda folder: ((folder / WEIGHTS).unlink(), os.mkfifo(folder / WEIGHTS)), "lacks its file"),
    "link to secrets": (link(WEIGHTS, "/etc/hostname"), "outside its folder|lacks its file"),
    "link inside": (link(WEIGHTS, "../head.safetensors"), "lacks its file"),
    "link to itself": (link(WEIGHTS, "adapter.safetensors"), "lacks its file|outside its folder|not a complete"),
    "module is a link": (linked_module, "outside its folder"),
    # what the weights are
    "weights empty": (put(WEIGHTS, b""), "is damaged"),
    "weights pickle": (put(WEIGHTS, b"\x80\x04\x95" + bytes(64)), "is damaged"),
    "weights zip": (put(WEIGHTS, b"PK\x03\x04" + bytes(64)), "is damaged"),
    "header endless": (put(WEIGHTS, header(b"{}", 1 << 62)), "is damaged"),
    "header no JSON": (put(WEIGHTS, header(b"{[}")), "is damaged"),
    "offsets beyond": (
        put(WEIGHTS, header(b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}')),
        "is damaged",
    ),
    "shape overflows": (
        put(WEIGHTS, header(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}') + bytes(4)),
        "is damaged",
    ),
    "weights short": (lambda folder: put(WEIGHTS, (folder / WEIGHTS).read_bytes()[:-8])(folder), "is damaged"),
    "weights none": (tensors(lambda t: {}), "lacks \\d+ of"),
    "weight missing": (tensors(lambda t: dict(sorted(t.items())[1:])), "lacks 1 of"),
    "weight more": (
        tensors(lambda t: {**t, "embeddings.word_embeddings.weight": torch.zeros(2)}),
        "have no place here",
    ),
    "weight shape": (tensors(lambda t: one(t, lambda v: v[:1])), "should have the shape"),
    "weight scalar": (tensors(lambda t: one(t, lambda v: torch.tensor(1.0))), "should have the shape"),
    "weight nan": (tensors(lambda t: one(t, lambda v: v * float("nan"))), "NaN or infinite"),
    "weight infinite": (tensors(lambda t: one(t, lambda v: v + float("inf"))), "NaN or infinite"),
    "weight bool": (tensors(lambda t: one(t, lambda v: v > 0)), "is of type"),
    "weight float8": (tensors(lambda t: one(t, lambda v: v.to(torch.float8_e4m3fn))), "is of type"),
    "weight complex": (tensors(lambda t: one(t, lambda v: v.to(torch.complex64))), "is of type"),
    "head weight nan": (tensors(lambda t: one(t, lambda v: v * float("nan")), "head.safetensors"), "NaN or infinite"),
    "head weight more": (tensors(lambda t: {**t, "x": torch.zeros(1)}, "head.safetensors"), "have no place here"),
    # what its configuration asks for
    "config missing": (lambda folder: ((folder / CONFIG).unlink(), relist(folder)), "does not exist"),
    "config list": (put(CONFIG, b"[]"), "is not a module config"),
    "config other width": (config(hidden_size=4096), "encoder of width 4096"),
    "config no object": (config(config="seq_bn"), "does not describe a bottleneck"),
    "config activation": (module(non_linearity="os.system"), "does not describe a bottleneck"),
    "config reduction zero": (module(reduction_factor=0), "does not describe a bottleneck"),
    "config reduction text": (module(reduction_factor="x"), "does not describe a bottleneck"),
    "config reduction negative": (module(reduction_factor=-4), "does not describe a bottleneck|should have the shape"),
    "config other shape": (module(reduction_factor=2), "should have the shape"),
    "link in a circle": (link("module", "module"), "outside its folder|lacks its file"),
}


@pytest.mark.parametrize("name", TRICKS)
def test_tricks(bundle: Path, tiny_encoder: Any, name: str) -> None:
    trick, expected = TRICKS[name]
    trick(bundle)
    with pytest.raises(AdaptxferError, match=expected) as caught:
        load_bundle(read_bundle(bundle), fresh(tiny_encoder))
    assert caught.value.code == 2 or caught.value.message


def test_there_are_many_tricks_and_without_one_it_loads(bundle: Path, tiny_encoder: Any) -> None:
    assert len(TRICKS) >= 60
    relist(bundle)
    load_bundle(read_bundle(bundle), fresh(tiny_encoder))


@pytest.mark.parametrize(
    "trick", [module(evil=1), config(name="../../x"), config(auto_map="x"), say(options={"a": "b"})]
)
def test_words_that_nobody_follows(bundle: Path, tiny_encoder: Any, trick: Trick) -> None:
    trick(bundle)
    load_bundle(read_bundle(bundle), fresh(tiny_encoder))


@pytest.mark.parametrize(
    "entry", ['"dtype":"I64","shape":[1],"data_offsets":[0,8]', '"dtype":"BOOL","shape":[8],"data_offsets":[0,8]']
)
def test_types_are_seen_without_loading(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(header(b'{"a":{' + entry.encode() + b"}}") + bytes(8))
    with pytest.raises(AdaptxferError, match="is of type"):
        check_file(path)
