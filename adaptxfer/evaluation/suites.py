"""Scores of a suite from the scores of its tasks, averaged as XTREME's own script does (pure functions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.suites import Suite, SuiteTask

Scores = Mapping[str, Any]
"""A scores document, the content of ``scores.json``."""

Rows = Mapping[str, Mapping[str, int]]
"""By task and language the number of examples of the whole split."""


@dataclass(frozen=True)
class TaskScore:
    """One task: ``score`` is None unless every language counts, ``so_far`` is the mean over those that do.

    ``parts`` holds the mean over languages of each metric that goes into the score, ``missing`` says for each other
    language why it does not count.
    """

    name: str
    score: float | None
    so_far: float | None
    parts: Mapping[str, float]
    counted: tuple[str, ...]
    missing: Mapping[str, str]

    def gaps(self) -> str:
        """What is missing in one line, languages with the same reason together; empty if nothing is."""
        reasons: dict[str, list[str]] = {}
        for language, reason in self.missing.items():
            reasons.setdefault(reason, []).append(language)
        if not self.counted and len(reasons) == 1:
            return next(iter(reasons))
        return "; ".join(f"{', '.join(languages)} ({reason})" for reason, languages in reasons.items())


@dataclass(frozen=True)
class SuiteScores:
    """A suite: a group has a score if its tasks have, the whole (``overall``) if all tasks have."""

    suite: str
    split: str
    tasks: Mapping[str, TaskScore]
    groups: Mapping[str, float | None]
    overall: float | None

    def missing(self) -> dict[str, str]:
        """Task to what it lacks, for every task that is not complete."""
        return {name: task.gaps() for name, task in self.tasks.items() if task.missing}


def score_suite(
    suite: Suite, documents: Mapping[str, Scores], split: str = "test", expected: Rows | None = None
) -> SuiteScores:
    """Scores of a suite in points (0-100).

    A task's score is the mean over its metrics of the plain mean over all its languages, English included where it is
    listed; question answering has two metrics, exact match and F1 (XTREME, arXiv 2003.11080 and its ``evaluate.py``).
    A group's score and the overall score are plain means over tasks.

    Args:
        suite: which tasks, languages and metrics count.
        documents: scores document by task; a task without one is missing.
        split: only scores on this split count.
        expected: a language that was scored on fewer examples than stated here does not count; with 0, it has none.
    """
    expected = expected or {}
    tasks = {
        name: _score_task(task, documents.get(name), split, expected.get(name, {}))
        for name, task in suite.tasks.items()
    }
    groups = {group: _mean([tasks[name].score for name in members]) for group, members in suite.groups.items()}
    return SuiteScores(suite.name, split, tasks, groups, _mean([task.score for task in tasks.values()]))


def expected_rows(suite: Suite, split: str = "test", folders: Sequence[Path | str] = ()) -> Rows:
    """The sizes that the task files of a suite state for a split; languages of unknown size are left out.

    Raises:
        AdaptxferError: if a task file has faults.
    """
    found: dict[str, dict[str, int]] = {}
    for name, task in suite.tasks.items():
        spec = load_task(name, folders)
        sizes = {language: spec.expected(split, language) for language in task.languages}
        found[name] = {language: size for language, size in sizes.items() if size is not None}
    return found


def _score_task(task: SuiteTask, document: Scores | None, split: str, expected: Mapping[str, int]) -> TaskScore:
    wanted = [code for code in task.languages if expected.get(code) != 0]
    if document is None:
        return TaskScore(task.name, None, None, {}, (), dict.fromkeys(wanted, "no run"))
    missing = {code: why for code in wanted if (why := _gap(task, document, code, split, expected.get(code)))}
    counted = tuple(code for code in wanted if code not in missing)
    languages = document["languages"]
    parts = {key: fmean(languages[code][key] for code in counted) for key in task.scores} if counted else {}
    so_far = fmean(parts.values()) if counted else None
    return TaskScore(task.name, None if missing else so_far, so_far, parts, counted, missing)


def _gap(task: SuiteTask, document: Scores, language: str, split: str, expected: int | None) -> str:
    """Why the scores of a language do not count; empty if they do."""
    values = document["languages"].get(language)
    if values is None:
        return "no labels" if language in document.get("unscored", {}) else "no score"
    if (scored_on := values.get("split", document["split"])) != split:
        return f"scored on {scored_on}"
    if lacking := [key for key in task.scores if not isinstance(values.get(key), int | float)]:
        return f"no {' and '.join(lacking)}"
    if values.get("oracle") and split == "test":  # BUCC without dev data
        return "threshold tuned on test"
    if expected is not None and values["n"] < expected:
        return f"{values['n']:,} of {expected:,} examples"
    return ""


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return fmean(known) if known and len(known) == len(scores) else None
