"""The scores that belong on a card: evaluations of a bundle in the same folder of runs, with repeats over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.records import Points, Record, read_record, seed_summary
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import RunStore, middle_of

_SAME = ("task", "languages", "split", "layers", "limit", "max_length")


@dataclass(frozen=True)
class Scored:
    """One task: the record of the bundle itself, and mean and deviation over all seeds that were scored alike."""

    record: Record
    summary: Mapping[str, Points]
    seeds: tuple[int, ...]
    limited: bool

    def gap(self, trained_in: str = "en") -> float | None:
        """Zero-shot gap: score in the language of the training data minus the mean of the others, in points."""
        languages = self.record.languages
        others = [values[self.record.metric] for code, values in languages.items() if code != trained_in]
        if trained_in not in languages or not others:
            return None
        return float(languages[trained_in][self.record.metric] - sum(others) / len(others))


def scores_of(run: Run) -> list[Scored]:
    """The newest evaluation of a run per task; none for a folder that is no run."""
    if not run.manifest:
        return []
    store = RunStore(run.path.parent)
    evaluations = store.find_finished("evaluate")
    repeats = [run.name, *_repeats(run, store)]
    found: dict[str, Scored] = {}
    for own in (item for item in evaluations if item.manifest["parents"] == [run.name]):
        task = str(own.asked("task"))
        try:
            if task not in found and read_record(own).languages:  # none: predicted without labels
                found[task] = _scored(own, _alike(own, evaluations, repeats))
        except AdaptxferError:  # damaged scores: nothing to show
            continue
    return [found[task] for task in sorted(found)]


def _scored(own: Run, repeats: Sequence[Run]) -> Scored:
    record, others = read_record(own), [read_record(item) for item in repeats]
    by_seed = {item.seed: item for item in others} | {record.seed: record}
    try:
        summary = seed_summary(by_seed.values())
    except AdaptxferError:  # not measured alike: show the bundle's own
        by_seed = {record.seed: record}
        summary = seed_summary([record])
    return Scored(record, summary, tuple(sorted(by_seed)), own.asked("limit") is not None)


def _alike(own: Run, evaluations: Sequence[Run], repeats: Sequence[str]) -> list[Run]:
    """The newest evaluation of each repeat on the same task, languages and examples."""
    found: dict[str, Run] = {}
    for item in evaluations:
        parents = item.manifest["parents"]
        if len(parents) == 1 and parents[0] in repeats and all(item.asked(key) == own.asked(key) for key in _SAME):
            found.setdefault(parents[0], item)
    return list(found.values())


def _repeats(run: Run, store: RunStore) -> list[str]:
    """Names of finished runs that differ from ``run`` in nothing but the seed."""
    wanted = _apart_from_seed(run)
    others = store.find_finished(run.manifest["kind"])
    return [item.name for item in others if item.name != run.name and _apart_from_seed(item) == wanted]


def _apart_from_seed(run: Run) -> tuple[Any, ...]:
    request = {key: run.asked(key) for key in run.manifest["request"]}
    names = request.get("intermediates")
    if isinstance(names, list):  # folder names hold a hash of the seed
        request["intermediates"] = [middle_of(str(name)) for name in names]
    return request, run.manifest["base_model"], run.manifest["data"], run.manifest["name"]
