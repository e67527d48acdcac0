"""Slices of a question answering test set: labels from the English question, answer and context, joined by id."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adaptxfer.errors import data_error, nearest, use_error
from adaptxfer.files import read_text
from adaptxfer.runs.run import Run
from adaptxfer.studies.items import Items
from adaptxfer.studies.pairs import APART
from adaptxfer.studies.table import WHOLE, RecordTable, Row

ENGLISH = "en"
OTHER = "other"
Labels = dict[str, str]
"""Item id to the slice it belongs to."""

ASKED = re.compile(
    r"\b(?:(?P<count>how (?:many|much))|(?P<who>who|whom|whose)|(?P<when>when|(?:what|which) (?:year|date|day|month))"
    r"|(?P<where>where)|(?P<why>why)|(?P<which>which)|(?P<what>what)|(?P<how>how))\b",
    re.IGNORECASE,
)
DATE = re.compile(
    r"\b(?:1\d{3}|20\d{2}|january|february|march|april|may \d|june|july|august|september|october|november|december"
    r"|monday|tuesday|wednesday|thursday|friday|saturday|sunday|century|centuries|\d{2,4}s)\b",
    re.IGNORECASE,
)
NUMBER = re.compile(
    r"\d|^(?:about |over |around |nearly )?(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|"
    r"thirty|forty|fifty|hundred|thousand|million|billion|half|dozen)\b",
    re.IGNORECASE,
)
SMALL = {"the", "of", "and", "a", "an", "in", "on", "at", "for", "to", "de", "la", "van", "von", "&"}
CLAUSE_WORDS = 8
"""An answer of this many words counts as a clause."""


def question_type(question: str) -> str:
    """The first question word: count (how many, how much), who, when, where, why, which, what, how, or other."""
    found = ASKED.search(question)
    return found.lastgroup or OTHER if found else OTHER


def answer_type(answer: str) -> str:
    """Date, number, clause (eight words or more), name (all words that matter are capitalised) or phrase."""
    words = answer.split()
    if len(words) >= CLAUSE_WORDS:
        return "clause"
    if DATE.search(answer):
        return "date"
    if NUMBER.search(answer):
        return "number"
    telling = [word for word in words if word.lower() not in SMALL]
    capital = [word for word in telling if word.strip("\"'(“‘")[:1].isupper()]
    return "name" if telling and len(capital) == len(telling) else "phrase"


def _thirds(values: Mapping[str, float]) -> Labels:
    low, high = np.quantile(list(values.values()), [1 / 3, 2 / 3])
    return {key: "short" if v <= low else "medium" if v <= high else "long" for key, v in values.items()}


def _questions(records: Mapping[str, Any]) -> Labels:
    return {key: question_type(r["question"]) for key, r in records.items()}


def _answers(records: Mapping[str, Any]) -> Labels:
    return {key: answer_type(r["gold"][0]) for key, r in records.items() if r["gold"]}


def _lengths(records: Mapping[str, Any]) -> Labels:
    return _thirds({key: r["context_words"] for key, r in records.items()})


AXES: Mapping[str, Callable[[Mapping[str, Any]], Labels]] = {
    "question-type": _questions,
    "answer-type": _answers,
    "length": _lengths,
}
"""Axes that need no file. Length: thirds of the number of words of the English context."""


def english_records(table: RecordTable, target: str) -> dict[str, Any]:
    """The English predictions of any run on a target, by item id.

    Raises:
        AdaptxferError: if there are none, or they are from before predictions carried the question.
    """
    rows = [
        row for row in table.rows if row.target_task == target and row.language == ENGLISH and row.study not in APART
    ]
    paths = [Path(row.items) for row in rows if row.items.endswith(".jsonl")]
    if not paths:
        raise data_error(f"The records have no English predictions on {target}.", "Score it in English too.")
    records = {str(r["id"]): r for r in Run(paths[0].parent.parent).read_predictions(ENGLISH)}
    if any("question" not in r for r in records.values()):
        told = f"The predictions on {target} hold no question: it is no question answering, or they are from before."
        raise data_error(told, "Score the run again with --fresh, or give slices as NAME:FILE.")
    return records


def axis_labels(axis: str, table: RecordTable, target: str) -> tuple[str, Labels]:
    """The name of an axis and the slice of each item.

    Args:
        axis: one of ``AXES``, or ``NAME:FILE``, a CSV or TSV file with item_id or title (of the article), and slice.
        table: where English predictions are looked up.
        target: target task.

    Raises:
        AdaptxferError: if there is no such axis, or the file or the predictions lack what is needed.
    """
    name, colon, path = axis.partition(":")
    if not colon:
        if name not in AXES:
            raise use_error(f"There is no axis {name!r}.", f"{nearest(name, AXES)} Others are given as NAME:FILE.")
        return name, AXES[name](english_records(table, target))
    labels, by_title = read_slices(Path(path))
    if by_title:
        records = english_records(table, target)
        labels = {key: labels[r["cluster"]] for key, r in records.items() if r.get("cluster") in labels}
    if not labels:
        raise data_error(f"{path} names no item of {target}.", "Compare its titles with those of the data.")
    return name, labels


def read_slices(path: Path) -> tuple[Labels, bool]:
    """The slice of each item, or of each article (then the second value is True).

    Raises:
        AdaptxferError: if a column is missing, or one name stands in two slices.
    """
    text = read_text(path, "file of slices")
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in text.split("\n", 1)[0] else ",")
    names = reader.fieldnames or ()
    key = next((name for name in ("item_id", "title") if name in names), None)
    if key is None or "slice" not in names:
        raise data_error(f"{path} has the columns {', '.join(names)}.", "Needed: item_id or title, and slice.")
    found: Labels = {}
    for line in reader:
        if line[key] and line["slice"] and found.setdefault(line[key], line["slice"]) != line["slice"]:
            raise data_error(f"{path} puts {line[key]!r} into two slices.", "Keep one line for each.")
    return found, key == "title"


def sliced(
    table: RecordTable, target: str, labels: Labels, items_of: Callable[[Row], Items | None]
) -> tuple[RecordTable, Callable[[Row], Items | None], Counter[str]]:
    """Rows of each slice and of what is not in it (``not NAME``), with their items, and the number of items of each.

    Items without a label belong to no slice; languages without an item of a slice are left out of it.

    Args:
        table: whole rows of a target with items.
        target: target task.
        labels: slice by item id.
        items_of: where the items of a whole row come from.

    Raises:
        AdaptxferError: if no row of the target has items with labels.
    """
    found: dict[str, Items] = {}
    rows: list[Row] = []
    sizes: defaultdict[str, set[str]] = defaultdict(set)
    for number, row in enumerate(table.rows):
        whole = row.target_task == target and row.slice == WHOLE and row.study not in APART
        items = items_of(row) if whole else None
        if items is None:
            continue
        marks = np.array([labels.get(name, "") for name in items.ids])
        for name in sorted(set(marks) - {""}):
            for part, chosen in ((name, marks == name), (f"not {name}", (marks != name) & (marks != ""))):
                if chosen.any():
                    key = f"{number} {part}"
                    found[key] = _chosen(items, chosen)
                    sizes[part].update(found[key].ids)
                    value = found[key].score()
                    rows.append(replace(row, slice=part, items=key, value=value, n_items=int(chosen.sum())))
    if not rows:
        raise data_error(f"No run on {target} has items with a slice.", "Keep its predictions, or check the ids.")
    counts = Counter({name: len(ids) for name, ids in sizes.items()})
    return RecordTable(tuple(rows), table.notes), lambda row: found.get(row.items), counts


def _chosen(items: Items, chosen: np.ndarray) -> Items:
    places = np.flatnonzero(chosen).tolist()
    return Items(
        [items.ids[j] for j in places], [items.clusters[j] for j in places], items.above[places], items.below[places]
    )
