"""Intermediate tasks made from others, as task files with their data: halves by difficulty, real against fake texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptxfer.encoder.load import load_encoder
from adaptxfer.errors import data_error, use_error
from adaptxfer.evaluation.evaluate import Setting, features_of
from adaptxfer.evaluation.predict import predict
from adaptxfer.files import write_text
from adaptxfer.metrics.calibration import softmax
from adaptxfer.modules.bundle import Bundle, load_bundle
from adaptxfer.runs.quiet import quiet_libraries
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import Ask
from adaptxfer.studies.complexity import easy_and_hard, real_and_fake, v_information
from adaptxfer.studies.measure import texts_of
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import available, read_examples
from adaptxfer.tasks.spec import TaskSpec

BATCH_TOKENS = 16384
LEAST = 20


@dataclass(frozen=True)
class Derived:
    """A task that was written: its name, file, number of training examples and their mean value where there is one."""

    name: str
    file: Path
    train: int
    value: float | None = None


def write_halves(bundle: Bundle, ask: Ask, out: Path, limit: int | None = None) -> tuple[list[Derived], list[str]]:
    """Split a task's training data into an easy and a hard half by pointwise V-information; the dev data is the same.

    The halves have equal size and equally many examples of each label. Examples that the module was trained on are left
    out where its run had a limit, for a model knows too much of them.

    Args:
        bundle: a module trained on a task of kind classify.
        ask: base model and data folder.
        out: folder that gets the task files and ``data/``.
        limit: how many examples to score.

    Returns:
        the two tasks, and notes.

    Raises:
        AdaptxferError: if the task is no classification, or too few examples are left.
    """
    spec = load_task(bundle.task, ask.tasks)
    if spec.kind != "classify" or bundle.task not in bundle.heads:
        raise use_error(f"{bundle.folder.name} is no classifier of one task.", "Give a run of train-intermediate.")
    seen, notes = Run(bundle.folder).asked("limit"), []
    if seen is None:
        notes.append("The module was trained on these very examples, so what it has memorised counts as easy; "
                     "--limit at its training leaves the others for this.")  # fmt: skip
    items = read_examples(spec, "train", "en", ask.data_dir, limit and limit + (seen or 0)).items[seen or 0 :]
    if len(items) < LEAST:
        raise data_error(f"{len(items)} examples of {spec.name} are left.", "Train the module with a smaller --limit.")
    values, labels = _informed(bundle, spec, items, ask)
    found = []
    for name, places in zip(("easy", "hard"), easy_and_hard(values, labels), strict=True):
        about = f"The {name} half of {spec.name} by pointwise V-information, as a trained module sees it."
        rows = {"train": [_row(items[k]) for k in places], "dev": _dev(spec, ask)}
        file = write_task(f"{spec.name}_{name}", about, spec, spec.labels, rows, out)
        found.append(Derived(f"{spec.name}_{name}", file, len(places), float(values[places].mean())))
    return found, notes


def _informed(bundle: Bundle, spec: TaskSpec, items: Sequence[Any], ask: Ask) -> tuple[np.ndarray, list[str]]:
    """Pointwise V-information of each example, and its label."""
    encoder = load_encoder(ask.model, ask.revision)
    with quiet_libraries():
        model = load_bundle(bundle, encoder)
    length = Run(bundle.folder).asked("max_length")
    setting = Setting(encoder.tokenizer, ask.data_dir, BATCH_TOKENS, length)
    records = predict(model, bundle.task, spec, items, features_of(spec, items, setting), BATCH_TOKENS)
    probabilities = np.stack([softmax(np.array(record["scores"])) for record in records])
    labels = bundle.heads[bundle.task].labels
    gold = [str(record["gold"]) for record in records]
    return v_information(probabilities, np.array([labels.index(label) for label in gold])), gold


def write_fakes(task: TaskSpec, ask: Ask, out: Path, limit: int | None = None, seed: int = 1) -> Derived:
    """A task that asks whether a text of another task is real; see ``real_and_fake``.

    Args:
        task: whose English texts are used.
        ask: data folder.
        out: folder that gets the task file and ``data/``.
        limit: first training examples to take.
        seed: of the lot.

    Raises:
        AdaptxferError: if there is too little text.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for split, count in (("train", limit), ("dev", 1000)):
        if split == "dev" and "en" not in available(task, ask.data_dir).get("dev", ()):
            rows["dev"], rows["train"] = (
                rows["train"][-len(rows["train"]) // 10 :],
                rows["train"][: -len(rows["train"]) // 10],
            )
            continue
        items = read_examples(task, split, "en", ask.data_dir, count).items
        marked = real_and_fake([text for item in items for text in texts_of(item)], seed)
        rows[split] = [{"id": str(k), "first": text, "label": label} for k, (text, label) in enumerate(marked)]
    if len(rows["train"]) < LEAST:
        raise data_error(f"{task.name} has {len(rows['train'])} texts of six words.", "Take another task.")
    name = f"{task.name}_realfake"
    about = f"Is a text of {task.name} as it was, or are three words of ten from other texts? A control."
    return Derived(name, write_task(name, about, task, ("real", "fake"), rows, out), len(rows["train"]))


def _row(example: Any) -> dict[str, Any]:
    row = {"id": example.id, "first": example.first, "label": example.label}
    return row | ({"second": example.second} if example.second is not None else {})


def _dev(spec: TaskSpec, ask: Ask) -> list[dict[str, Any]]:
    return [_row(example) for example in read_examples(spec, "dev", "en", ask.data_dir).items]


def write_task(
    name: str,
    about: str,
    like: TaskSpec,
    labels: Sequence[str],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    out: Path,
) -> Path:
    """Write an intermediate task of kind classify with its data, trained like another; returns its task file."""
    data = out / "data" / name
    for split, examples in rows.items():
        lines = (json.dumps(example, ensure_ascii=False) + "\n" for example in examples)
        write_text(data / f"{split}.jsonl", "".join(lines))
    pairs = any("second" in example for example in rows["train"])
    rates = ", ".join(f"{method} = {rate:g}" for method, rate in like.train.learning_rate.items())
    lines = [
        f"name = {json.dumps(name)}", "version = 1", 'kind = "classify"', 'role = ["intermediate"]',
        f"about = {json.dumps(about)}", f"licence = {json.dumps(like.licence)}",
        f"labels = {json.dumps(list(labels))}", 'languages = ["en"]', "",
        "[columns]", 'first = "{first}"', *(['second = "{second}"'] if pairs else []), 'label = "{label}"', "",
        "[[files]] # beside this file: found without --data-dir", 'reader = "jsonl"', "here = true",
        f'paths = ["data/{name}/{{split}}.jsonl"]', 'splits = { train = "train", dev = "dev" }', "",
        "[text]", f"max_length = {like.text.max_length}", "",
        "[train]", f"epochs = {like.train.epochs:g}", f"batch_size = {like.train.batch_size}",
        f"learning_rate = {{ {rates} }}", "", "[metric]", 'main = "accuracy"', "",
    ]  # fmt: skip
    write_text(out / f"{name}.toml", "\n".join(lines))
    return out / f"{name}.toml"
