"""Slices of a question answering test set: labels from the English question, answer and context, joined by id."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
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


THIRDS = {
    "words": ("short", "medium", "long"),
    "place": ("early", "middle", "late"),
    "share": ("low", "middle", "high"),
}


def _thirds(values: Mapping[str, float | None], what: str) -> Labels:
    """Thirds of the items by a number that each has."""
    if not values or None in values.values():
        told = "The predictions are from before this was written down."
        raise data_error(told, "Score the run again with --fresh, or give slices as NAME:FILE.")
    low, high = np.quantile(list(values.values()), [1 / 3, 2 / 3])  # type: ignore[arg-type]
    names = THIRDS[what]
    return {key: names[int(v > low) + int(v > high)] for key, v in values.items()}  # type: ignore[operator]


def english_records(table: RecordTable, target: str) -> dict[str, Any]:
    """The English predictions of any run on a target, by item id.

    Raises:
        AdaptxferError: if there are none, or they are from before predictions carried the question.
    """
    records = _predictions(table, target, [ENGLISH])
    if not records:
        raise data_error(f"The records have no English predictions on {target}.", "Score it in English too.")
    if any("question" not in r for r in records.values()):
        told = f"The predictions on {target} hold no question: it is no question answering, or they are from before."
        raise data_error(told, "Score the run again with --fresh, or give slices as NAME:FILE.")
    return records


def sentence_domains(table: RecordTable, target: str) -> Labels:
    """The domain of each item as its data says it, which FLORES-200's metadata does; the same in every language.

    Raises:
        AdaptxferError: if no prediction names a domain.
    """
    records = _predictions(table, target, list(dict.fromkeys(row.language for row in table.rows)))
    found = {key: str(r["domain"]) for key, r in records.items() if r.get("domain")}
    if not found:
        hint = (
            "FLORES-200's metadata_dev.tsv and metadata_devtest.tsv belong beside its folders; then score with --fresh."
        )
        raise data_error(f"The predictions on {target} name no domains.", hint)
    return found


def _predictions(table: RecordTable, target: str, languages: Sequence[str]) -> dict[str, Any]:
    """Predictions of any run on a target by item id, in the first of the languages that has some."""
    for language in languages:
        for row in table.rows:
            if (row.target_task, row.language) == (target, language) and row.items.endswith(".jsonl"):
                if row.study not in APART:
                    run = Run(Path(row.items).parent.parent)
                    return {str(r["id"]): r for r in run.read_predictions(language)}
    return {}


AXES: Mapping[str, Callable[[RecordTable, str], Labels]] = {
    "question-type": lambda table, target: _each(table, target, lambda r: question_type(r["question"])),
    "answer-type": lambda table, target: _each(table, target, lambda r: answer_type(r["gold"][0])),
    "length": lambda table, target: _thirds(_each(table, target, lambda r: r["context_words"]), "words"),
    "answer-length": lambda table, target: _thirds(_each(table, target, lambda r: len(r["gold"][0].split())), "words"),
    "position": lambda table, target: _thirds(_each(table, target, lambda r: r.get("position")), "place"),
    "overlap": lambda table, target: _thirds(_each(table, target, lambda r: r.get("overlap")), "share"),
    "domain": sentence_domains,
}
"""Axes that need no file, from the English side. Length: words of the context; position: where in it the answer begins;
overlap: share of the question's words that it holds; domain: what the data says of each sentence."""


def _each(table: RecordTable, target: str, of: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
    """Something about each English question that has an answer."""
    return {key: of(r) for key, r in english_records(table, target).items() if r["gold"]}


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
        return name, AXES[name](table, target)
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
