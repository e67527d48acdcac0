"""Records: the scores of finished runs in the form that tables and studies work on."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adaptxfer.errors import data_error, use_error
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import middle_of

MEAN, ZERO_SHOT = "mean", "mean zero-shot"
"""Names of the two summary rows."""


@dataclass(frozen=True)
class Record:
    """The scores of one run.

    Args:
        run: name of the run folder.
        task: target task.
        metric: main metric of the task.
        method: bottleneck, lora or full.
        how: composition (stack, fuse, merge, continue, none); "fuse, own module" with a fresh module above the fusion.
        seed: the run's seed.
        intermediates: intermediate tasks of the modules used; empty for a baseline.
        split: split the scores are from, unless a language says otherwise.
        languages: per language the metrics in points (0-100), ``n`` and possibly ``split``.
        mean: task score over all its languages, or None.
        mean_zero_shot: mean without the language of the training data, or None.
        unscored: languages that were predicted but have no labels, with ``n`` and possibly ``split``.
    """

    run: str
    task: str
    metric: str
    method: str
    how: str
    seed: int
    intermediates: tuple[str, ...]
    split: str
    languages: Mapping[str, Mapping[str, Any]]
    mean: float | None
    mean_zero_shot: float | None
    unscored: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def points(self) -> dict[str, float]:
        """Main metric by language, then the two means where they are known."""
        means = {MEAN: self.mean, ZERO_SHOT: self.mean_zero_shot}
        by_language = {language: float(values[self.metric]) for language, values in self.languages.items()}
        return by_language | {name: float(value) for name, value in means.items() if value is not None}

    def examples(self, language: str) -> tuple[int, str]:
        """How many examples of which split a language was scored on."""
        values = self.languages[language]
        return values["n"], values.get("split", self.split)


def read_record(run: Run) -> Record:
    """The record of a finished run.

    Raises:
        AdaptxferError: if the run is not finished or its scores are missing or invalid.
    """
    if run.status != "finished":
        reason = run.problem or f"it is {run.status}"
        raise data_error(f"Run {run.name} has no result: {reason}.", "The same command again continues it.")
    scores = run.read_scores()
    return Record(
        run=run.name,
        task=scores["task"],
        metric=scores["metric"],
        method=str(run.asked("method") or "unknown"),
        how=how_of(run),
        seed=run.manifest["seed"],
        intermediates=intermediates_of(run),
        split=scores["split"],
        languages=scores["languages"],
        mean=scores["mean"],
        mean_zero_shot=scores["mean_zero_shot"],
        unscored=scores.get("unscored", {}),
    )


def how_of(run: Run) -> str:
    """The composition, as in `Record`."""
    how = str(run.asked("how") or "none")
    trained = [run, *(Run(run.path.parent / parent) for parent in run.manifest.get("parents", ()))]
    own = how == "fuse" and any(member.asked("own_module") for member in trained)
    return f"{how}, own module" if own else how


def intermediates_of(run: Run) -> tuple[str, ...]:
    """Names of the intermediate tasks that a run builds on.

    As asked for, since a bundle may come from elsewhere, or else of its parents. A training asks for runs, an
    evaluation for tasks.
    """
    asked = run.asked("intermediates")
    if not isinstance(asked, list):
        asked = [name for name in run.manifest.get("parents", ()) if name.startswith("intermediate-")]
    return tuple(middle_of(str(name)) for name in asked)


@dataclass(frozen=True)
class Points:
    """A score over seeds: mean, sample standard deviation (None for one seed), number of seeds."""

    mean: float
    sd: float | None
    seeds: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Points:
        """Mean and sample standard deviation (divisor n - 1) of ``values``."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + (f" ± {self.sd:.1f}" if self.sd is not None else "")

    def signed(self) -> str:
        """The text of a difference, with its sign."""
        return f"{self.mean:+.1f}" + (f" ± {self.sd:.1f}" if self.sd is not None else "")


def seed_summary(records: Iterable[Record]) -> dict[str, Points]:
    """Main metric over seeds by language and for the means; rows that not every record has are left out.

    Raises:
        AdaptxferError: if there is no record, two have one seed, or they are not repeats of one another.
    """
    by_seed = _by_seed(records)
    points = [record.points() for record in by_seed.values()]
    return {row: Points.over([values[row] for values in points]) for row in points[0] if all(row in p for p in points)}


def _by_seed(records: Iterable[Record]) -> dict[int, Record]:
    found: dict[int, Record] = {}
    for record in records:
        if record.seed in found:
            both = f"{found[record.seed].run} and {record.run}"
            raise use_error(f"{both} both have seed {record.seed}.", "Give one run per seed on each side.")
        found[record.seed] = record
    if not found:
        raise use_error("There is no record to summarise.")
    first = next(iter(found.values()))
    for record in found.values():
        _check_same_measure(first, record)
        if (record.method, record.how, record.intermediates) != (first.method, first.how, first.intermediates):
            raise use_error(f"{first.run} and {record.run} differ in more than the seed.", "Compare them instead.")
    return dict(sorted(found.items()))


def _check_same_measure(one: Record, other: Record) -> None:
    """Refuse to put numbers side by side that do not measure the same."""
    if (one.task, one.metric) != (other.task, other.metric):
        told = f"{one.run} is {one.task} in {one.metric}, {other.run} is {other.task} in {other.metric}."
        raise use_error(told, "Choose runs of one task.")
    for language in one.languages.keys() & other.languages.keys():
        if one.examples(language) != other.examples(language):
            (n, split), (m, part) = one.examples(language), other.examples(language)
            told = f"{language} was scored on {n:,} examples of {split} in {one.run}, {m:,} of {part} in {other.run}."
            raise use_error(told, "Score both on the same examples.")


@dataclass(frozen=True)
class Gain:
    """One row of a comparison, in points; ``gain`` is over paired differences if the comparison is paired."""

    row: str
    baseline: Points
    with_modules: Points
    gain: Points


@dataclass(frozen=True)
class Comparison:
    """Scores with minus scores without.

    Args:
        task: target task.
        metric: main metric.
        gains: one per language, then the means.
        seeds: the seeds used on both sides if paired.
        paired: whether each difference is between runs of the same seed.
        left_out: languages and seeds that only one side has, in words.
    """

    task: str
    metric: str
    gains: tuple[Gain, ...]
    seeds: tuple[int, ...]
    paired: bool
    left_out: tuple[str, ...]


def compare(baseline: Sequence[Record], with_modules: Sequence[Record]) -> Comparison:
    """Differences per language, ``with_modules`` minus ``baseline``, paired by seed where both have it.

    Without a common seed the difference is that of the two means, and its deviation is unknown.

    Raises:
        AdaptxferError: if the two do not measure the same thing or share no language.
    """
    left, right = _by_seed(baseline), _by_seed(with_modules)
    _check_same_measure(next(iter(left.values())), next(iter(right.values())))
    shared = sorted(left.keys() & right.keys())
    unused = [f"seed {seed}" for seed in sorted(left.keys() ^ right.keys())] if shared else []
    if shared:
        left, right = {seed: left[seed] for seed in shared}, {seed: right[seed] for seed in shared}
    one, other = [r.points() for r in left.values()], [r.points() for r in right.values()]
    languages = _languages(left.values()) & _languages(right.values())
    everywhere = _languages(left.values()) | _languages(right.values())
    if not languages:
        raise use_error("The runs share no language.", "Choose runs that were scored on the same languages.")
    rows = [row for row in one[0] if row in languages]
    if languages == everywhere:  # a mean over other languages is another number
        rows += [row for row in (MEAN, ZERO_SHOT) if all(row in points for points in one + other)]
    record = next(iter(left.values()))
    return Comparison(
        record.task,
        record.metric,
        tuple(_gain(row, one, other, bool(shared)) for row in rows),
        tuple(shared),
        bool(shared),
        (*unused, *sorted(everywhere - languages)),
    )


def _languages(records: Iterable[Record]) -> set[str]:
    return set.intersection(*(set(record.languages) for record in records))


def _gain(row: str, one: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]], paired: bool) -> Gain:
    before, after = Points.over([p[row] for p in one]), Points.over([p[row] for p in other])
    if paired:
        return Gain(row, before, after, Points.over([b[row] - a[row] for a, b in zip(one, other, strict=True)]))
    return Gain(row, before, after, Points(after.mean - before.mean, None, 0))
