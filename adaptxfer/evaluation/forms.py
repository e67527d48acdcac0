"""What an XTREME submission consists of: a folder per task, a file per language, one form per kind of task.

Forms are those that ``evaluate.py`` of google-research/xtreme reads: one label a line; one tag a line with an empty
line between sentences; a JSON object from question to answer; the number of the found sentence; pairs of sentence ids;
one object with a label a line (XCOPA); a JSON object from query to ranked entities (Mewsli-X).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from adaptxfer.errors import use_error
from adaptxfer.evaluation.score import Record
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.spec import TaskSpec
from adaptxfer.tasks.suites import Suite

RANKS = 20
"""Mewsli-X counts the first twenty entities."""

UNREAD = frozenset({"lareqa"})
"""The script lists no language of this XTREME-R task and reads no file of it, so it has no form."""


@dataclass(frozen=True)
class Part:
    """One task of a submission: its folder, the suffix of its files and, by our label, the label it writes."""

    spec: TaskSpec
    folder: str
    suffix: str
    languages: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def form(self) -> str:
        """labels, tags, answers, choices, indices, pairs or ranked."""
        if self.spec.kind == "retrieve":
            return {"bucc": "pairs", "map20": "ranked"}.get(self.spec.metric.main, "indices")
        return {"classify": "labels", "tag": "tags", "span": "answers", "choose": "choices"}[self.spec.kind]

    def offered(self, split: str = "test") -> list[str]:
        """The languages that have this split; in four languages UD has no dev data."""
        return [code for code in self.languages if self.spec.expected(split, code) != 0]

    def path(self, language: str, split: str = "test") -> PurePosixPath:
        """Where the predictions of a language lie in the folder of a submission."""
        return PurePosixPath(self.folder, f"{split}-{language}.{self.suffix}")


def submission_parts(suite: Suite, folders: Sequence[Path | str] = ()) -> dict[str, Part]:
    """The parts of a suite's submission by task, without the tasks that the script does not read.

    Raises:
        AdaptxferError: if a task file has faults or says nothing about its export.
    """
    parts = {}
    for name, task in suite.tasks.items():
        spec = load_task(name, folders)
        if name in UNREAD:
            continue
        how = spec.export.get("xtreme", {})
        if not how.get("folder") or not how.get("suffix"):
            raise use_error(f"{spec.origin} does not say how {name} is exported.", "Give it [export.xtreme].")
        labels = {label: str(how.get("labels", {}).get(label, label)) for label in spec.labels}
        parts[name] = Part(spec, str(how["folder"]), str(how["suffix"]), task.languages, labels)
    return parts


def write_form(part: Part, records: Sequence[Record], places: Mapping[str, int]) -> str:
    """The content of a file.

    Args:
        part: the task.
        records: predictions, in the order of the file.
        places: for the form ``indices`` the number of each candidate, from 0.

    Raises:
        KeyError, TypeError, ValueError: if a record is not one of this kind of task.
    """
    form = part.form
    if form == "answers":
        return json.dumps({record["id"]: record["predicted"] for record in records}, indent=1) + "\n"
    if form == "ranked":
        return json.dumps({record["id"]: list(record["predicted"])[:RANKS] for record in records}, indent=1) + "\n"
    if form == "tags":
        return "\n".join(_lines(part.labels[tag] for tag in record["predicted"]) for record in records)
    if form == "pairs":
        return _lines(f"{record['source']}\t{record['target']}" for record in records)
    if form == "indices":
        return _lines(str(places[record["predicted"]]) for record in records)
    if form == "choices":
        return _lines(json.dumps({"label": int(record["predicted"])}) for record in records)
    return _lines(part.labels[record["predicted"]] for record in records)


def _lines(items: Iterable[str]) -> str:
    return "".join(f"{item}\n" for item in items)
