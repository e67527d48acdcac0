"""Tables of results: languages as rows, so that they fit any terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from adaptxfer.console import Cell, Table
from adaptxfer.runs.records import MEAN, ZERO_SHOT, Comparison, Record, seed_summary


def scores_table(records: Sequence[Record]) -> Table:
    """Scores of one run, or of its repeats over seeds as mean ± standard deviation.

    Raises:
        AdaptxferError: if the records are not repeats of one another.
    """
    first, summary = records[0], seed_summary(records)
    others = [] if len(records) > 1 else _other_metrics(first)
    splits = any("split" in values for values in first.languages.values())
    rows: list[list[Cell]] = []
    for row, points in summary.items():
        values = first.languages.get(row) or _means(first, row, others)
        row_cells: list[Cell] = [row, str(points), *(_points(values.get(name)) for name in others), values.get("n")]
        rows.append([*row_cells, first.examples(row)[1] if row in first.languages else None] if splits else row_cells)
    for code, values in first.unscored.items():
        row_cells = [code, None, *(None for _ in others), values["n"]]
        rows.append([*row_cells, values.get("split", first.split)] if splits else row_cells)
    columns = ["language", (first.metric, "right"), *((name, "right") for name in others), ("n", "right")]
    title = f"{first.task}, {first.split}: {_composed(first)}"
    caption = _seeds_caption([r.seed for r in records])
    if first.unscored:
        caption += "; without a score: predicted, no labels"
    return Table(title, [*columns, "split"] if splits else columns, rows, caption)


def _means(record: Record, row: str, names: Sequence[str]) -> dict[str, float]:
    """Means of the other metrics, where every language has them."""
    rows = [values for code, values in record.languages.items() if row == MEAN or code != "en"]
    return {name: fmean(v[name] for v in rows) for name in names if rows and all(name in v for v in rows)}


def _points(value: Any) -> Cell:
    return float(value) if isinstance(value, int | float) else None


def _other_metrics(record: Record) -> list[str]:
    """Names of the metrics in points besides the main one; counts are whole numbers and stay in ``scores.json``."""
    rows = record.languages.values()
    names = {name: None for values in rows for name, value in values.items() if isinstance(value, float)}
    return [name for name in names if name != record.metric]


def _composed(record: Record) -> str:
    if not record.intermediates:
        return f"{record.method}, no intermediate task"
    return f"{record.method}, {record.how} on {', '.join(record.intermediates)}"


def _seeds_caption(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"points (0-100), seed {seeds[0]}"
    return f"points (0-100), mean ± standard deviation over {len(seeds)} seeds ({', '.join(map(str, seeds))})"


def domain_table(records: Sequence[Record]) -> Table | None:
    """The main metric by language and domain, as the mean over seeds; None if no language has domains."""
    first, metric = records[0], records[0].metric
    found = {code: values["domains"] for code, values in first.languages.items() if "domains" in values}
    if not found:
        return None
    domains = list(dict.fromkeys(name for parts in found.values() for name in parts))
    points = {
        code: [_over_seeds(records, code, name, metric) if name in parts else None for name in domains]
        for code, parts in found.items()
    }
    rows: list[list[Cell]] = [[code, *cells] for code, cells in points.items()]
    columns = [[cell for cell in column if cell is not None] for column in zip(*points.values(), strict=True)]
    rows.append([MEAN, *(fmean(column) for column in columns)])
    sizes = ", ".join(f"{name} {parts['n']:,}" for name, parts in next(iter(found.values())).items())
    title = f"{first.task} by domain: {metric}"
    return Table(title, ["language", *((name, "right") for name in domains)], rows, f"points (0-100); {sizes} queries")


def _over_seeds(records: Sequence[Record], language: str, domain: str, metric: str) -> float:
    return fmean(record.languages[language]["domains"][domain][metric] for record in records)


def gain_table(comparison: Comparison, intervals: Mapping[str, tuple[float, float]] | None = None) -> Table:
    """Baseline, with modules and gain per language, with 95 % intervals where they are given."""
    rows: list[list[Cell]] = [[g.row, str(g.baseline), str(g.with_modules), g.gain.signed()] for g in comparison.gains]
    columns = ["language", ("baseline", "right"), ("with", "right"), ("gain", "right")]
    if intervals:
        columns.append(("95 %", "right"))
        for row in rows:
            low, high = intervals[str(row[0])]
            row.append(f"[{low:+.1f}, {high:+.1f}]")
    return Table(f"{comparison.task}: {comparison.metric}", columns, rows, _gain_caption(comparison))


def _gain_caption(comparison: Comparison) -> str:
    paired = _seeds_caption(comparison.seeds) if comparison.paired else "points (0-100), not paired: no common seed"
    return paired + (f"; left out: {', '.join(comparison.left_out)}" if comparison.left_out else "")


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON: languages and means apart, every number with its deviation and seeds."""
    rows = {
        gain.row: {"baseline": vars(gain.baseline), "with": vars(gain.with_modules), "gain": vars(gain.gain)}
        for gain in comparison.gains
    }
    means = {name.replace(" ", "_").replace("-", "_"): rows.pop(name) for name in (MEAN, ZERO_SHOT) if name in rows}
    return {
        "schema": 1,
        "task": comparison.task,
        "metric": comparison.metric,
        "paired": comparison.paired,
        "seeds": list(comparison.seeds),
        "left_out": list(comparison.left_out),
        "languages": rows,
        **means,
    }
