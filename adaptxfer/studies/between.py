"""Intervals for the difference between two settings: test items are resampled, and seeds where there are several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.records import MEAN, ZERO_SHOT, Comparison, Record
from adaptxfer.runs.run import Run
from adaptxfer.studies.items import ENGLISH, load_items
from adaptxfer.studies.stats.bootstrap import ClusterSums, Resampled, Tally, resample
from adaptxfer.studies.stats.estimate import Estimate
from adaptxfer.studies.stats.seeds import Spread, t_interval
from adaptxfer.studies.table import Row


def intervals(
    comparison: Comparison,
    baseline: Mapping[str, tuple[Run, Record]],
    others: Mapping[str, tuple[Run, Record]],
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """95 % intervals for the rows of a comparison; empty if a run has no scores of single items.

    The variance is that of a bootstrap over test items (articles for questions), drawn jointly for all languages, plus
    that between seeds where each side has several. With one seed an interval holds for these trained weights only.

    Args:
        comparison: what is compared; paired by seed or not.
        baseline: runs and their records by run name.
        others: the same for the other side.
        resamples: bootstrap draws.
        seed: of the drawing.
    """
    sides = [_used(side, comparison) for side in (baseline, others)]
    rows = [gain.row for gain in comparison.gains if gain.row not in (MEAN, ZERO_SHOT)]
    runs = [pair for side in sides for pair in side]
    try:
        sums = _sums(runs, rows)
    except AdaptxferError:
        return {}
    if sums is None:
        return {}
    weights = np.array([[-1 / len(sides[0])]] * len(sides[0]) + [[1 / len(sides[1])]] * len(sides[1]))
    drawn = resample(sums, weights, resamples, seed)
    foreign = [place for place, code in enumerate(rows) if code != ENGLISH]
    abroad = resample(ClusterSums(sums.above[:, :, foreign], sums.below[:, :, foreign]), weights, resamples, seed)
    found = {}
    for gain in comparison.gains:
        items = _items_part(gain.row, rows, drawn, abroad)
        parts = [items, *_seed_parts(gain.row, sides, comparison.paired)]
        found[gain.row] = t_interval(gain.gain.mean, parts, len(runs) // 2 if comparison.paired else len(runs))
    return found


def _used(side: Mapping[str, tuple[Run, Record]], comparison: Comparison) -> list[tuple[Run, Record]]:
    pairs = sorted(side.values(), key=lambda pair: pair[1].seed)
    return [pair for pair in pairs if not comparison.paired or pair[1].seed in comparison.seeds]


def _sums(runs: Sequence[tuple[Run, Record]], languages: Sequence[str]) -> ClusterSums | None:
    tally = Tally(len(runs), len(languages))
    for place, language in enumerate(languages):
        ids: list[str] | None = None
        for number, (run, record) in enumerate(runs):
            value = float(record.languages[language][record.metric])
            file = run.path / "predictions" / f"{language}.jsonl"
            row = Row(
                record.task, language, record.metric, value, record.seed, items=str(file) if file.exists() else ""
            )
            items = load_items(row)
            if items is None or (ids is not None and list(items.ids) != ids):
                return None
            ids = list(items.ids)
            tally.add(number, place, items.clusters, items.above, items.below)
    return tally.sums()


def _items_part(row: str, languages: Sequence[str], drawn: Resampled, abroad: Resampled) -> Spread:
    if row in languages:
        return drawn.spread(0, languages.index(row))
    return (drawn if row == MEAN else abroad).spread(0)


def _seed_parts(row: str, sides: Sequence[Sequence[tuple[Run, Record]]], paired: bool) -> list[Spread]:
    """Variance of the mean difference between seeds; nothing where a side has one seed."""
    points = [np.array([record.points()[row] for _, record in side]) for side in sides]
    if min(map(len, points)) < 2:
        return []
    samples = [points[1] - points[0]] if paired else points
    return [Spread(float(sample.var(ddof=1)) / len(sample), len(sample) - 1) for sample in samples]
