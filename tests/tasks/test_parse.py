from __future__ import annotations

import copy
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks import parse
from adaptxfer.tasks.spec import TaskSpec
from adaptxfer.tasks.table import Table


def faults(task, text: str) -> list[str]:
    with pytest.raises(AdaptxferError) as caught:
        task(text)
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


def test_a_plain_file(task):
    spec = task()
    assert (spec.name, spec.kind, spec.version, spec.labels) == ("toy", "classify", 1, ("yes", "no"))
    assert spec.files[0].paths == ("{split}.{lang}.jsonl",)
    assert spec.files[0].columns == {"first": "{text}"}
    assert spec.train.learning_rate["full"] == 1e-5


def test_all_faults_are_reported_at_once_with_their_keys(task):
    text = """
name = "a b"
kind = "clasify"
role = ["middle"]
languages = ["English", "sw"]
lables = ["x"]

[text]
max_lenght = 3
side = "up"

[train]
epochs = 0
warmup = 2

[[files]]
reader = "jsonl"
paths = []
"""
    found = faults(task, text)
    for start in (
        "name: ",
        "kind: 'clasify' is not known. Did you mean 'classify'?",
        "role: 'middle'",
        "languages: 'English' is not a language code",
        "lables: unknown key. Did you mean 'labels'?",
        "text.max_lenght: unknown key. Did you mean 'max_length'?",
        "text.side: 'up'",
        "train.epochs: must be at least 1",
        "train.warmup: must lie between 0 and 1",
        "files.paths: must not be empty",
    ):
        assert any(fault.startswith(start) for fault in found), (start, found)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace('labels = ["yes", "no"]', 'labels = ["yes"]'), "labels: a classify task needs"),
        (lambda text: text.replace('["yes", "no"]', '["yes", "yes"]'), "labels: holds the same entry twice"),
        (lambda text: text.replace('"classify"', '"choose"'), "labels: a choose task has no labels"),
        (
            lambda text: text.replace('first = "{text}"', 'frist = "{text}"'),
            "files.columns.frist: a classify task has no",
        ),
        (lambda text: text.replace('"{text}"', '"{text"'), "files.columns.first: '{text' has a brace"),
        (lambda text: text.replace('"{text}"', "3"), "files.columns.first: expected a template"),
        (lambda text: text.replace('"jsonl"\n', '"xml"\n'), "files.reader: 'xml' is not known"),
        (lambda text: text.replace('"{split}.', '"../'), "files.paths: '../{lang}.jsonl' leaves the data folder"),
        (
            lambda text: text + "options = { words = true }\n",
            "files.options.words: the reader 'jsonl' has no such option",
        ),
        (
            lambda text: text.replace('"jsonl"\n', '"bucc"\n'),
            "files.beside.candidates: missing; the reader 'bucc' needs it",
        ),
        (lambda text: text + "[code]\nfunction = 'x'\n", "code: task files hold no code"),
        (lambda text: text + "[expect]\ntrain = { fr = 3 }\n", "expect.train: 'fr' is not in languages"),
        (lambda text: text + "[expect]\ntrain = -1\n", "expect.train: -1 is not a number of rows"),
        (lambda text: text + '[hub]\nid = "a/b"\n', "hub.splits: missing"),
        (lambda text: text[: text.index("[[files]]")], "hub: the task has no data"),
        (lambda text: text + "[train.learning_rate]\nprefix = 1e-3\n", "train.learning_rate.prefix: unknown key"),
        (lambda text: text + "[text]\nmax_length = true\n", "text.max_length: expected a whole number, found True"),
    ],
)
def test_single_faults(task, plain, change, fault):
    found = faults(task, change(plain))
    assert any(one.startswith(fault) for one in found), found


def test_not_toml(task):
    with pytest.raises(AdaptxferError, match="not valid TOML"):
        task("name = ")


def test_a_duplicate_key_is_refused(task):
    with pytest.raises(AdaptxferError, match="not valid TOML"):
        task('name = "a"\nname = "b"\n')


def test_norwegian_is_a_language(task, plain):
    assert task(plain.replace('"sw"', '"no"')).languages == ("en", "no")


def test_a_file_may_extend_another(task):
    task()
    spec = task(
        'extends = "toy"\nname = "more"\nlanguages = ["en", "sw", "yo"]\n[columns]\nsecond = "{claim}"\n', "more"
    )
    assert spec.languages == ("en", "sw", "yo")
    assert spec.files[0].columns == {"first": "{text}", "second": "{claim}"}
    with pytest.raises(AdaptxferError, match="extends another"):
        task('extends = "more"\nname = "third"\n', "third")


def test_the_digest_follows_the_content_not_the_comments(task, plain):
    digest = task(plain).digest
    assert task("# why\n" + plain).digest == digest
    assert digest != task(plain.replace('"{text}"', '"{claim}"')).digest


def test_places_inherit_columns_values_and_codes(task, plain):
    spec = task(
        plain.replace("[columns]", '[codes]\nsw = "swa"\n[values.label]\n0 = "yes"\n1 = "no"\n[columns]')
        + '[hub]\nid = "a/b"\nsplits = { train = ["t1", "t2"] }\n[hub.values.label]\n2 = "no"\n'
    )
    assert spec.hub[0].values == {"label": {"0": "yes", "1": "no", "2": "no"}}
    assert spec.files[0].values == {"label": {"0": "yes", "1": "no"}}
    assert spec.hub[0].codes == spec.files[0].codes == {"sw": "swa"}
    assert spec.hub[0].splits == {"train": ("t1", "t2")}


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2)
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_content_makes_it_crash(tmp_path_factory, plain, data):
    document = tomllib.loads(
        plain + '[text]\nside = "left"\n[train]\nepochs = 2\n[expect]\ntrain = { en = 2 }\n[retrieve]\n'
    )
    changed = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        holder = changed
        key = data.draw(st.sampled_from(sorted(holder)))
        while isinstance(holder[key], dict) and holder[key] and data.draw(st.booleans()):
            holder = holder[key]
            key = data.draw(st.sampled_from(sorted(holder)))
        holder[key] = data.draw(st.one_of(JUNK, st.dictionaries(st.text(max_size=4), JUNK, max_size=2)))
    top = Table(changed)
    spec = parse._task(top, tmp_path_factory.getbasetemp() / "x.toml", "0")
    assert isinstance(spec, TaskSpec)
    assert all(isinstance(fault, str) for fault in top.faults)
