"""Hub data sets, read by the real library from a folder that is laid out as one, and by a stand-in that fails."""

from __future__ import annotations

import json

import datasets
import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks import hub
from adaptxfer.tasks.load import available, read_examples

HUB = """
name = "toy"
kind = "{kind}"
role = ["target"]
{labels}
languages = ["en", "de"]

[hub]
id = {id}
"""
NLI = {"labels": 'labels = ["entailment", "neutral", "contradiction"]', "kind": "classify"}


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    """A cache of one's own, no progress bars."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture
def repository(tmp_path):
    """Write tables as parquet files of one or several configurations, as the Hub lays them out."""

    def make(tables: dict[str, dict[str, datasets.Dataset]]) -> str:
        folder = tmp_path / "repository"
        configs = []
        for config, splits in tables.items():
            files = []
            for split, table in splits.items():
                path = folder / config / f"{split}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                table.to_parquet(path)
                files.append({"split": split, "path": f"{config}/{split}.parquet"})
            configs.append({"config_name": config, "data_files": files})
        (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n", encoding="utf-8")
        return str(folder)

    return make


def toy(task, folder: str, rest: str, kind: str = "classify", labels: str = NLI["labels"]):
    return task(HUB.format(kind=kind, labels=labels, id=json.dumps(folder)) + rest)


def table(rows, **features):
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


TEXT = datasets.Value("string")


def test_class_labels_come_by_their_own_names(task, repository):
    names = datasets.ClassLabel(names=["contradiction", "entailment", "neutral"])  # another order than the task's
    rows = [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1, -1)]
    folder = repository({"de": {"validation": table(rows, premise=TEXT, hypothesis=TEXT, label=names)}})
    spec = toy(
        task,
        folder,
        'config = "{lang}"\nsplits = { dev = "validation" }\n'
        'columns = { first = "{premise}", second = "{hypothesis}" }\n',
    )
    examples = read_examples(spec, "dev", "de")
    assert [item.label for item in examples.items] == ["contradiction", "entailment"]
    assert examples.notes == {"dropped_unlabelled": 1}
    assert len(examples.fingerprint) == 64
    assert available(spec) == {"dev": ["en", "de"]}


def test_numbers_without_names_are_mapped_by_the_task_file(task, repository):
    rows = [{"first": "a", "label": 2}, {"first": "b", "label": 0}]
    folder = repository({"default": {"train": table(rows, first=TEXT, label=datasets.Value("int64"))}})
    values = '[hub.values.label]\n0 = "entailment"\n1 = "neutral"\n2 = "contradiction"\n'
    spec = toy(task, folder, 'splits = { train = "train" }\n' + values)
    assert [item.label for item in read_examples(spec, "train", "en").items] == ["contradiction", "entailment"]


def test_lists_of_class_labels(task, repository):
    tags = datasets.List(datasets.ClassLabel(names=["O", "B-PER"]))
    rows = [{"tokens": ["a", "b"], "ner_tags": [0, 1]}]
    folder = repository({"default": {"test": table(rows, tokens=datasets.List(TEXT), ner_tags=tags)}})
    columns = 'splits = { test = "test" }\ncolumns = { words = "{tokens}", tags = "{ner_tags}" }\n'
    spec = toy(task, folder, columns, "tag", 'labels = ["O", "B-PER"]')
    assert read_examples(spec, "test", "en").items[0].tags == ("O", "B-PER")


def test_stripped_contexts_are_realigned_and_languages_told_apart(task, repository):
    answers = {"text": datasets.List(TEXT), "answer_start": datasets.List(datasets.Value("int32"))}
    rows = [
        {"id": "english-1", "question": "?", "context": "Ada was.", "answers": {"text": ["Ada"], "answer_start": [2]}},
        {"id": "german-1", "question": "?", "context": "Ada war.", "answers": {"text": ["war"], "answer_start": [4]}},
    ]
    folder = repository({"default": {"train": table(rows, id=TEXT, question=TEXT, context=TEXT, answers=answers)}})
    rest = 'splits = { train = "train" }\nwhere = { id = "{lang}-*" }\ncodes = { en = "english", de = "german" }\n'
    spec = toy(task, folder, rest, "span", "")
    english = read_examples(spec, "train", "en")
    assert [(item.id, item.answers[0].start) for item in english.items] == [("english-1", 0)]
    assert english.notes == {"realigned": 1}
    assert read_examples(spec, "train", "de").notes == {}


def test_several_splits_are_joined_and_two_configurations_make_two_sides(task, repository):
    rows = {"en": ["one", "two"], "de": ["eins", "zwei"]}
    folder = repository({c: {"dev": table([{"text": t} for t in texts], text=TEXT)} for c, texts in rows.items()})
    spec = toy(task, folder, 'config = "en"\ncandidates = "{lang}"\nsplits = { dev = "dev" }\n', "retrieve", "")
    found = read_examples(spec, "dev", "de").items
    assert [(item.id, item.side, item.text) for item in found] == [
        ("0", "query", "one"),
        ("1", "query", "two"),
        ("0", "candidate", "eins"),
        ("1", "candidate", "zwei"),
    ]


def test_known_bad_configurations_are_refused_with_reason_and_way_out(task):
    rest = (
        'config = "pos.{lang}"\nsplits = { test = "test" }\nknown_bad."pos.de" = { reason = "old", instead = "new" }\n'
    )
    spec = toy(task, "no/where", rest)
    with pytest.raises(AdaptxferError, match=r"no/where \(pos.de\) is not used: old. Instead: new."):
        read_examples(spec, "test", "de")
    assert available(spec) == {"test": ["en"]}


@pytest.mark.parametrize(
    ("config", "name", "instead"),
    [
        ("PAWS-X.{lang}", "PAWS-X.de", "google-research-datasets/paws-x"),
        ("bucc18.{lang}", "bucc18.de", "archives of BUCC"),
    ],
)
def test_damaged_copies_of_the_benchmark_are_refused_in_any_task_file(task, config, name, instead):
    spec = toy(task, "google/xtreme", f'config = "{config}"\n{SPLITS}')
    with pytest.raises(AdaptxferError, match=rf"google/xtreme \({name}\) is not used.*{instead}"):
        read_examples(spec, "test", "de")
    assert available(spec) == {}


def test_how_a_copy_differs_is_said_once(task, monkeypatch, capsys):
    rows = table([{"first": "a", "label": "neutral"}], first=TEXT, label=TEXT)
    failing(monkeypatch, rows, rows)
    spec = toy(task, "own/copy", SPLITS + 'caution = "keeps words apart"\n')
    for _ in range(2):
        read_examples(spec, "test", "en")
    assert capsys.readouterr().err.count("own/copy keeps words apart.") == 1


SPLITS = 'splits = { test = "test" }\n'


def failing(monkeypatch, *errors):
    """Let the library fail with these errors, one after the other; returns the revisions that were asked for."""
    asked, queue = [], list(errors)

    def load(path, name=None, split=None, revision=None):
        asked.append(revision)
        found = queue.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_a_data_set_with_a_script_is_read_from_its_converted_branch(task, monkeypatch):
    rows = table([{"first": "a", "label": "neutral"}], first=TEXT, label=TEXT)
    asked = failing(monkeypatch, RuntimeError("Dataset scripts are no longer supported, but found x.py"), rows)
    assert len(read_examples(toy(task, "a/b", SPLITS), "test", "en").items) == 1
    assert asked == [None, hub.CONVERTED]


class GatedRepoError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "offline", "message"),
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), False, "no connection to the Hub. Check the network"),
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), True, "is not in the cache, and the Hub is off limits"),
        (FileNotFoundError("Couldn't find cache"), True, "not in the cache"),
        (GatedRepoError("401"), False, "is gated. Accept its terms"),
        (ValueError('Unknown split "test"'), False, 'cannot be loaded: Unknown split "test"'),
        (ValueError('Unknown split "test"'), True, 'cannot be loaded: Unknown split "test"'),
        (KeyError(), False, "cannot be loaded: KeyError"),
    ],
)
def test_every_failure_has_its_sentence(task, monkeypatch, error, offline, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if offline else "0")
    failing(monkeypatch, error)
    with pytest.raises(AdaptxferError, match=message):
        read_examples(toy(task, "a/b", SPLITS), "test", "en")


def test_a_script_without_a_converted_branch(task, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    script = RuntimeError("Dataset scripts are no longer supported")
    failing(monkeypatch, script, FileNotFoundError("no such revision"))
    with pytest.raises(AdaptxferError, match="cannot be loaded: no such revision"):
        read_examples(toy(task, "a/b", SPLITS), "test", "en")


def test_a_missing_column_names_data_set_and_row(task, repository):
    folder = repository({"default": {"test": table([{"txt": "a"}], txt=TEXT)}})
    with pytest.raises(AdaptxferError, match=r"repository, row 1 has None as first"):
        read_examples(toy(task, folder, SPLITS), "test", "en")
