from __future__ import annotations

import dataclasses
import logging
import os

import numpy as np
import pytest

from adaptxfer.data import cache
from adaptxfer.data.features import build_features
from adaptxfer.tasks.examples import Answer, ClassifyExample, SpanExample, TagExample

ROWS = [ClassifyExample(str(number), "one two", "three", "X") for number in range(5)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTXFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_told", set())
    return tmp_path / "cache" / "features"


def same(first, second):
    arrays = ("ids", "bounds", "units", "example")
    return (
        (first.kind, first.size, first.notes) == (second.kind, second.size, second.notes)
        and all(np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays)
        and all(np.array_equal(first.targets[name], second.targets[name]) for name in first.targets)
        and first.targets.keys() == second.targets.keys()
        and all(first.targets[name].dtype == second.targets[name].dtype for name in first.targets)
    )


@pytest.mark.parametrize(
    ("kind", "rows", "labels"),
    [
        ("classify", ROWS, ("X",)),
        ("tag", [TagExample("a", ("one", "\u200b"), ("X", "X"))], ("X",)),
        ("span", [SpanExample("a", "one", "two three", (Answer("two", 0),))], ()),
        ("classify", [], ()),
    ],
)
def test_second_start_builds_nothing(mini_tokenizer, text, folder, monkeypatch, kind, rows, labels):
    first = cache.cached_features(kind, rows, mini_tokenizer, text(), labels)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(cache, "build_features", None)
    second = cache.cached_features(kind, rows, mini_tokenizer, text(), labels)
    assert same(first, second)
    assert same(first, build_features(kind, rows, mini_tokenizer, text(), labels))


def test_key_knows_everything_that_matters(mini_tokenizer, text):
    other = [dataclasses.replace(ROWS[0], second=None), *ROWS[1:]]
    keys = [
        cache.cache_key("classify", ROWS, mini_tokenizer, text(), ("X",)),
        cache.cache_key("classify", ROWS[:4], mini_tokenizer, text(), ("X",)),
        cache.cache_key("classify", other, mini_tokenizer, text(), ("X",)),
        cache.cache_key("classify", ROWS, mini_tokenizer, text(), ("X", "Y")),
        cache.cache_key("classify", ROWS, mini_tokenizer, text(), ("X",), training=True),
        cache.cache_key("classify", ROWS, mini_tokenizer, text(), ("X",), max_length=128),
        cache.cache_key("classify", ROWS, mini_tokenizer, text(side="left"), ("X",)),
        cache.cache_key("classify", ROWS, mini_tokenizer, text(max_length=100), ("X",)),
    ]
    assert len(set(keys)) == len(keys)
    copies = [dataclasses.replace(row, first=" ".join(["one", "two"])) for row in ROWS]
    assert keys[0] == cache.cache_key("classify", copies, mini_tokenizer, text(), ("X",))


def test_key_knows_the_tokenizer(mini_dir, mini_tokenizer):
    from transformers import XLMRobertaTokenizerFast

    same_again = XLMRobertaTokenizerFast.from_pretrained(mini_dir)
    assert cache.tokenizer_hash(same_again) == cache.tokenizer_hash(mini_tokenizer)
    other = XLMRobertaTokenizerFast.from_pretrained(mini_dir)
    other.add_tokens(["newword"])
    assert cache.tokenizer_hash(other) != cache.tokenizer_hash(mini_tokenizer)


def test_answers_count_in_the_hash():
    def row(start):
        return [SpanExample("a", "b", "c c", (Answer("c", start),))]

    assert cache.examples_hash(row(0)) != cache.examples_hash(row(2))
    assert cache.examples_hash(row(0)) == cache.examples_hash(row(0))


def test_damaged_files_are_built_again(mini_tokenizer, text, folder, caplog):
    caplog.set_level(logging.WARNING)
    whole = cache.cached_features("classify", ROWS, mini_tokenizer, text(), ("X",))
    (path,) = folder.iterdir()
    content = path.read_bytes()
    random = np.random.default_rng(0)
    damaged = [b"", b"no zip", content[: len(content) // 2], content[:-1], content + b"x" * 40]
    for _ in range(60):
        changed = bytearray(content)
        changed[random.integers(len(content))] ^= int(random.integers(1, 256))
        damaged.append(bytes(changed))
    for bad in damaged:
        path.write_bytes(bad)
        assert same(whole, cache.cached_features("classify", ROWS, mini_tokenizer, text(), ("X",)))
    assert "built again" in caplog.text


def test_parts_that_do_not_fit_are_refused(mini_tokenizer, text, folder):
    good = build_features("classify", ROWS, mini_tokenizer, text(), ("X",))
    path = folder / "x.npz"
    cache.save(path, good)
    assert same(cache.load(path), good)
    for bad in (
        dataclasses.replace(good, ids=good.ids[:-1]),
        dataclasses.replace(good, targets={"label": good.targets["label"][:-1]}),
        dataclasses.replace(good, units=good.units[:-1]),
    ):
        cache.save(path, bad)
        assert cache.load(path) is None


def test_nothing_is_unpickled(folder):
    folder.mkdir(parents=True)
    np.savez(folder / "x.npz", about=np.array([{"kind": "classify"}], dtype=object))
    assert cache.load(folder / "x.npz") is None


def test_folder_that_cannot_be_written(mini_tokenizer, text, folder, caplog):
    caplog.set_level(logging.WARNING)
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    for _ in range(2):
        found = cache.cached_features("classify", ROWS, mini_tokenizer, text(), ("X",))
    assert len(found) == 5
    assert len([record for record in caplog.records if "not kept" in record.message]) == 1


def test_full_disk(mini_tokenizer, text, folder, caplog, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert len(cache.cached_features("classify", ROWS, mini_tokenizer, text(), ("X",))) == 5
    assert "No space left" in caplog.text
    assert list(folder.iterdir()) == []


def test_unfinished_files_of_long_ago_are_removed_and_those_of_others_kept(mini_tokenizer, text, folder):
    folder.mkdir(parents=True)
    old, new, other = (folder / name for name in (".k.npz.abcd1234", ".m.npz.abcd1234", ".notes"))
    for path in (old, new, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (0, 0))
    cache.cached_features("classify", ROWS, mini_tokenizer, text(), ("X",))
    assert not old.exists() and new.exists() and other.exists()
