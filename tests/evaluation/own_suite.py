"""A suite with one small task of each form, with data, and the predictions for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEAD = 'name = "{name}"\nkind = "{kind}"\nrole = ["target"]\nlanguages = {languages}\n{more}\n'
FILES = """
[[files]]
reader = "{reader}"
paths = ["{path}"]
splits = {{ dev = "dev", test = "test" }}
{more}
"""
END = '\n[metric]\nmain = "{metric}"\n[export.xtreme]\nfolder = "{folder}"\nsuffix = "{suffix}"\n{labels}\n{expect}\n'

TASKS: dict[str, dict[str, str]] = {
    "nli": {
        "kind": "classify", "more": 'labels = ["yes", "no"]', "reader": "jsonl", "path": "nli/{split}.{lang}.jsonl",
        "metric": "accuracy", "suffix": "tsv", "labels": 'labels = { yes = "1", no = "0" }',
        "expect": "[expect]\ntest = 3",
    },
    "ner": {
        "kind": "tag", "more": 'labels = ["O", "B-PER"]', "reader": "tags", "path": "ner/{split}-{lang}.tsv",
        "metric": "entity_f1", "suffix": "tsv", "expect": "[expect]\ntest = 2",
    },
    "qa": {
        "kind": "span", "reader": "squad", "path": "qa/{split}.{lang}.json", "metric": "squad", "suffix": "json",
        "expect": "[expect]\ntest = 2",
    },
    "copa": {
        "kind": "choose", "reader": "jsonl", "path": "copa/{split}.{lang}.jsonl", "metric": "accuracy",
        "suffix": "jsonl", "expect": "[expect]\ntest = 2",
    },
    "tato": {
        "kind": "retrieve", "reader": "bitext", "path": "tato/{lang}.{split}.eng",
        "beside": 'beside = { candidates = "{lang}.{split}.{lang}" }', "metric": "retrieval_accuracy", "suffix": "tsv",
        "expect": "[expect]\ntest = 3",
    },
    "bucc": {
        "kind": "retrieve", "reader": "bucc", "path": "bucc/{lang}.{split}",
        "beside": 'beside = { candidates = "{lang}.{split}.en", gold = "{lang}.{split}.gold" }', "metric": "bucc",
        "suffix": "tsv",
    },
}  # fmt: skip
LANGUAGES = ("de", "sw")
SUITE = 'name = "own"\n[groups]\nall = {all}\n' + "".join(
    f'[tasks.{name}]\nscores = ["{key}"]\n'
    for name, key in (("nli", "accuracy"), ("ner", "f1"), ("qa", "f1"), ("copa", "accuracy"), ("tato", "accuracy"),
                      ("bucc", "f1"))
)  # fmt: skip
ENGLISH = ["Zebras run.", "An owl flies.", "a cat sleeps."]
"""By code points the second sentence comes first, then the first, then the third."""

PREDICTED: dict[str, list[dict[str, Any]]] = {
    "nli": [{"id": str(i), "predicted": label} for i, label in enumerate(("yes", "no", "no"))],
    "ner": [{"id": "0", "predicted": ["O", "B-PER"]}, {"id": "1", "predicted": ["O"]}],
    "qa": [{"id": "q1", "predicted": "Köln"}, {"id": "q2", "predicted": "1998"}],
    "copa": [{"id": "0", "predicted": 1}, {"id": "1", "predicted": 0}],
    "tato": [{"id": str(i), "predicted": str(found)} for i, found in enumerate((2, 1, 0))],
    "bucc": [
        {"id": f"{s}/{t}", "source": f"{{lang}}-{s}", "target": f"en-{t}", "score": score}
        for s, t, score in ((1, 1, 1.3), (2, 3, 1.1), (3, 2, 0.9))
    ],
}
WRITTEN = {
    "nli": "1\n0\n0\n",
    "ner": "O\nB-PER\n\nO\n",
    "qa": '{\n "q1": "K\\u00f6ln",\n "q2": "1998"\n}\n',
    "copa": '{"label": 1}\n{"label": 0}\n',
    "tato": "1\n2\n0\n",
    "bucc": "{lang}-1\ten-1\n{lang}-2\ten-3\n",
}


def write_suite(folder: Path) -> Path:
    """The task files and the suite file."""
    (folder / "suites").mkdir(parents=True)
    languages = json.dumps(list(LANGUAGES))
    for name, task in TASKS.items():
        text = HEAD.format(name=name, kind=task["kind"], languages=languages, more=task.get("more", ""))
        text += FILES.format(reader=task["reader"], path=task["path"], more=task.get("beside", ""))
        text += END.format(metric=task["metric"], folder=name, suffix=task["suffix"], labels=task.get("labels", ""),
                           expect=task.get("expect", ""))  # fmt: skip
        (folder / f"{name}.toml").write_text(text)
    (folder / "suites" / "own.toml").write_text(SUITE.replace("{all}", json.dumps(list(TASKS))))
    return folder


def write_data(folder: Path) -> Path:
    """The data of every task, dev for BUCC only."""
    for language in LANGUAGES:
        nli = [{"first": "a", "second": "b", "label": label} for label in ("yes", "no", "yes")]
        copa = [{"context": "c", "choices": ["x", "y"], "label": 1}] * 2
        answers = {"answers": [{"text": "Köln", "answer_start": 0}]}
        questions = [{"id": key, "question": "Wo?", **answers} for key in ("q1", "q2")]
        squad = {"data": [{"title": "t", "paragraphs": [{"context": "Köln 1998", "qas": questions}]}]}
        sentences = "".join(f"{language}-{i}\tsatz {i}\n" for i in (1, 2, 3))
        contents = {
            f"nli/test.{language}.jsonl": "".join(json.dumps(row) + "\n" for row in nli),
            f"copa/test.{language}.jsonl": "".join(json.dumps(row) + "\n" for row in copa),
            f"ner/test-{language}.tsv": "der\tO\nPaul\tB-PER\n\nja\tO\n",
            f"qa/test.{language}.json": json.dumps(squad),
            f"tato/{language}.test.eng": "".join(f"{line}\n" for line in ENGLISH),
            f"tato/{language}.test.{language}": "eins\nzwei\ndrei\n",
            f"bucc/{language}.test": sentences,
            f"bucc/{language}.test.en": sentences.replace(f"{language}-", "en-"),
            f"bucc/{language}.test.gold": f"{language}-1\ten-1\n{language}-2\ten-2\n",
        }
        for path, text in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    return folder


def scores_of(task: str, split: str = "test") -> dict[str, Any]:
    """A scores document for a task of the suite, every score 50 points."""
    key = "f1" if task in ("ner", "qa", "bucc") else "accuracy"
    values = {key: 50.0, "n": len(PREDICTED[task]), **({"threshold": 1.1, "oracle": False} if task == "bucc" else {})}
    return {"schema": 1, "task": task, "metric": key, "split": split, "mean": 50.0, "mean_zero_shot": 50.0,
            "languages": {language: dict(values) for language in LANGUAGES}}  # fmt: skip


def records_of(task: str, language: str) -> list[dict[str, Any]]:
    """The records of a task in one language."""
    text = json.dumps(PREDICTED[task]).replace("{lang}", language)
    return json.loads(text)
