from __future__ import annotations

import hashlib
import json

import pytest

from adaptxfer.errors import DATA, AdaptxferError
from adaptxfer.files import file_hash
from adaptxfer.tasks.load import available, read_examples, with_labels
from adaptxfer.tasks.spec import UNSEEN


def lines(*rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_examples_with_their_origin(task, write, here):
    path = write("dev.sw.jsonl", lines({"text": "a", "label": "yes"}, {"text": "b", "label": "no"}))
    examples = read_examples(task(), "dev", "sw", here)
    assert [(item.id, item.first, item.label) for item in examples.items] == [("0", "a", "yes"), ("1", "b", "no")]
    assert examples.source == str(path)
    assert examples.fingerprint == hashlib.sha256(file_hash(path).encode()).hexdigest()
    assert examples.notes == {}


def test_the_fingerprint_follows_the_bytes(task, write, here):
    spec = task()
    write("dev.en.jsonl", lines({"text": "a", "label": "yes"}))
    before = read_examples(spec, "dev", "en", here).fingerprint
    write("dev.en.jsonl", lines({"text": "b", "label": "yes"}))
    assert read_examples(spec, "dev", "en", here).fingerprint != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lines({"text": "a", "label": "maybe"}),
            r"dev.en.jsonl, line 1 has the label 'maybe'; expected one of yes, no",
        ),
        (lines({"text": "a"}, {"txt": "a"}), r"dev.en.jsonl, line 2 has no column 'text' .columns: txt"),
        ("", "no usable dev examples in 'en'"),
        ('{"text": ', "line 1 is not valid JSON"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_bad_files(task, write, here, content, message):
    write("dev.en.jsonl", content)
    with pytest.raises(AdaptxferError, match=message) as caught:
        read_examples(task(), "dev", "en", here)
    assert caught.value.code == DATA


def test_a_training_file_without_labels(task, write, here):
    write("train.en.jsonl", lines({"text": "a"}, {"text": "b", "label": -1}))
    with pytest.raises(AdaptxferError, match="2 dropped_unlabelled"):
        read_examples(task(), "train", "en", here)


def test_missing_data(task, here):
    with pytest.raises(AdaptxferError, match="no dev data in 'sw' under"):
        read_examples(task(), "dev", "sw", here)
    with pytest.raises(AdaptxferError, match="Give the files with --data-dir"):
        read_examples(task(), "dev", "sw")


def test_labels_from_a_companion_file(task, write, here, plain):
    spec = task(plain + 'beside = { labels = "{split}.lst" }\n')
    write("dev.en.jsonl", lines({"text": "a"}, {"text": "b"}))
    write("dev.lst", "no\nyes\n")
    assert [item.label for item in read_examples(spec, "dev", "en", here).items] == ["no", "yes"]
    write("dev.lst", "no\n")
    with pytest.raises(AdaptxferError, match="differ in length"):
        read_examples(spec, "dev", "en", here)


def test_ids_go_on_over_several_files(task, write, here, plain):
    spec = task(plain + 'splits = { train = ["r1", "r2"] }\n')
    write("r1.en.jsonl", lines({"text": "a", "label": "yes"}, {"text": "b", "label": "no"}))
    write("r2.en.jsonl", lines({"text": "c", "label": "no"}))
    assert [(item.id, item.first) for item in read_examples(spec, "train", "en", here).items] == [
        ("0", "a"),
        ("1", "b"),
        ("2", "c"),
    ]


def test_available_reads_nothing(task, write, here):
    write("dev.sw.jsonl", b"\xff not json")
    write("test.en.jsonl.gz", "x")
    assert available(task(), here) == {"dev": ["sw"], "test": ["en"]}
    assert available(task()) == {}


def test_a_pool_is_its_parts_one_after_the_other(task, write, here, plain):
    task()
    task(plain.replace('"toy"', '"other"').replace("{split}.", "other.{split}."), "other")
    spec = task(plain[: plain.index("[columns]")].replace('"toy"', '"both"') + 'pool = ["toy", "other"]\n', "both")
    write("train.en.jsonl", lines({"text": "a", "label": "yes"}, {"text": "b", "label": "no"}, {"text": "x"}))
    write("other.train.en.jsonl", lines({"text": "c", "label": "no"}))
    write("dev.en.jsonl", "")
    assert available(spec, here) == {"train": ["en"]}
    examples = read_examples(spec, "train", "en", here)
    assert [item.id for item in examples.items] == ["toy/0", "toy/1", "other/0"]
    assert examples.notes == {"dropped_unlabelled": 1}
    assert [item.id for item in read_examples(spec, "train", "en", here, limit=2).items] == ["toy/0", "other/0"]


TAGS = """
name = "tags"
kind = "tag"
role = ["intermediate"]
open_labels = true
languages = ["en"]
[[files]]
reader = "tags"
paths = ["{split}.tsv"]
"""


def test_open_labels_come_from_the_training_data(task, write, here):
    write("train.tsv", "a\tN\nb\tV\n")
    write("test.tsv", "a\tV\nb\tADJ\n")
    spec = task(TAGS, "tags")
    assert spec.labels == ()
    assert with_labels(spec, here).labels == ("N", "V", UNSEEN)
    assert read_examples(spec, "test", "en", here).items[0].tags == ("V", UNSEEN)
    assert with_labels(with_labels(spec, here), here).labels == ("N", "V", UNSEEN)
