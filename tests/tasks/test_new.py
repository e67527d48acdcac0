from __future__ import annotations

import json

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.check import check_task
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import read_examples
from adaptxfer.tasks.new import new_task


def lines(*rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


SQUAD = {"data": [{"paragraphs": [{"context": "Ada was.", "qas": [
    {"id": "1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]}]}]}]}  # fmt: skip
LABELLED = [{"premise": "a", "hypothesis": "b", "label": label} for label in ("no", "yes", "no")]
CHOICES = [{"context": "a", "choices": ["x", "y"], "label": n} for n in (0, 1)]
NUMBERED = [{"premise": "a", "question": "?", "answerA": "x", "answerB": "y", "correct": n} for n in "AB"]
CONLLU = "1\tA\t_\tDET\t_\t_\t2\t_\t_\t_\n2\tb\t_\tNOUN\t_\t_\t0\t_\t_\t_\n\n"


@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [
        ("train.jsonl", lines(*LABELLED), "classify"),
        ("x.train.csv.gz", 'sentence1,sentence2,label\n"a, b",c,1\nd,e,0\n', "classify"),
        ("train.tsv", "text\tclass\na\tgood\nb\tbad\n", "classify"),
        ("train.json", json.dumps(LABELLED), "classify"),
        ("train.jsonl", lines(*CHOICES), "choose"),
        ("train.jsonl", lines(*NUMBERED), "choose"),
        ("train.jsonl", lines({"words": ["a"], "tags": ["O"]}, {"words": ["b"], "tags": ["B-X"]}), "tag"),
        ("train-v1.json", json.dumps(SQUAD), "span"),
        ("train.txt", "A O\nb B-X\n\nc O\n", "tag"),
        ("train.tsv.gz", "A\tO\nb\tB-X\n\nc\tO\n", "tag"),
        ("train.conllu", CONLLU, "tag"),
        ("train.jsonl", lines({"en": "a", "de": "b"}, {"en": "c", "de": "d"}), "retrieve"),
    ],
)
def test_what_is_written_loads_and_its_data_can_be_read(write, here, tmp_path, file, content, kind):
    write(file, content)
    text = new_task("mine", here / file)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    spec = load_task("mine", [tmp_path])
    assert spec.kind == kind
    [finding] = [finding for finding in check_task(spec, here) if finding.split == "train"]
    assert (finding.state, finding.problem) == ("ok", "")


def test_sibling_splits_and_awkward_labels(write, here, tmp_path):
    rows = [{"text": "a", "label": label} for label in ('say "no"', "back\\slash", "del\x7f", "naïve 🙂")]
    write("my.train.jsonl", lines(*rows))
    write("my.valid.jsonl.gz", lines(*rows))
    (tmp_path / "mine.toml").write_text(new_task("mine", here / "my.train.jsonl", language="sw"), encoding="utf-8")
    spec = load_task("mine", [tmp_path])
    assert set(spec.labels) == {row["label"] for row in rows}
    assert spec.languages == ("sw",)
    assert spec.files[0].splits == {"train": ("train",), "dev": ("valid",)}


def test_languages_beside_it_are_found(write, here, tmp_path):
    for name in ("train.en.jsonl", "dev.en.jsonl", "test.en.jsonl", "test.sw.jsonl", "test.ur.jsonl.gz", "test.notes"):
        write(name, lines(*LABELLED))
    (tmp_path / "mine.toml").write_text(new_task("mine", here / "train.en.jsonl"), encoding="utf-8")
    spec = load_task("mine", [tmp_path])
    assert spec.languages == ("en", "sw", "ur")
    assert spec.files[0].paths == ("{split}.{lang}.jsonl",)
    assert len(read_examples(spec, "test", "ur", here).items) == len(LABELLED)


@pytest.mark.parametrize(
    ("name", "file", "content", "kind", "message"),
    [
        ("a/b", "train.jsonl", lines(*LABELLED), None, "not usable as a name"),
        ("mine", "train.jsonl", lines(*LABELLED), "clasify", "Did you mean 'classify'"),
        ("mine", "train.jsonl", lines(*LABELLED), "span", "Columns of a span task cannot be told"),
        ("mine", "train.txt", "A O\n\nb O\n", "span", "holds a tag task, not a span task"),
        ("mine", "train.jsonl", lines({"x": 1}), None, r"cannot be told from .*\(columns: x\)"),
        ("mine", "train.tsv", "Er ist da.\tEr ist weg.\tnein\n1\t2\t3\n", None, "name its columns"),
        ("mine", "train.xml", "<a/>", None, "The form of .* is not known"),
        ("mine", "train.jsonl", "", None, "has no rows"),
        ("mine", "train.jsonl", "{", None, "not valid JSON"),
    ],
)
def test_what_cannot_be_guessed(write, name, file, content, kind, message):
    path = write(file, content)
    with pytest.raises(AdaptxferError, match=message):
        new_task(name, path, kind)


def test_a_missing_file(here):
    with pytest.raises(AdaptxferError, match="does not exist"):
        new_task("mine", here / "none.jsonl")
