"""What a report shows, gathered from record tables and run folders: plain data, nothing drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from adaptxfer.console import Cell, Table
from adaptxfer.errors import AdaptxferError
from adaptxfer.report.curves import Panel, panels
from adaptxfer.report.maps import Map, gain_maps
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import RunStore
from adaptxfer.studies.collect import read_table
from adaptxfer.studies.gain import GainMatrix, gain_matrix
from adaptxfer.studies.pairs import APART, choose
from adaptxfer.studies.table import NONE, WHOLE, RecordTable, Row, join_tables
from adaptxfer.studies.views import gains_table

MEAN = "mean"


@dataclass(frozen=True)
class Gains:
    """The gains of one base model and method.

    Args:
        title: base model and method.
        matrix: every gain with its statistics.
        maps: heat maps, the one of intermediate and target task first.
        table: means over target tasks with intervals and verdicts.
    """

    title: str
    matrix: GainMatrix
    maps: tuple[Map, ...]
    table: Table


@dataclass(frozen=True)
class Report:
    """Everything a report shows.

    Args:
        title: above everything.
        banner: what must be said first about rows that were not measured here; may be empty.
        facts: name and value of the summary.
        gains: one for each base model and method that has a baseline.
        scores: one table for each target task: settings as rows, languages as columns.
        curves: loss and dev scores of training runs.
        costs: time, tokens and memory of stages, or None without run folders.
        provenance: base models, library versions, data and runs.
        notes: what a reader must know.
        records: the rows behind it all.
    """

    title: str
    banner: str
    facts: tuple[tuple[str, str], ...]
    gains: tuple[Gains, ...]
    scores: tuple[Table, ...]
    curves: tuple[Panel, ...]
    costs: Table | None
    provenance: tuple[Table, ...]
    notes: tuple[str, ...]
    records: RecordTable


def gather(sources: Sequence[Path], resamples: int = 10_000, seed: int = 0, relevant: float = 1.0) -> Report:
    """Read run folders and record tables, and compute the gains.

    Args:
        sources: folders of runs, or CSV record tables.
        resamples: bootstrap draws.
        seed: of the drawing.
        relevant: smallest gain that matters, in points.

    Raises:
        AdaptxferError: if there is nothing to read, or simulated rows stand beside real ones.
    """
    table = join_tables([read_table(source) for source in sources])
    runs = [run for source in sources if source.is_dir() for run in RunStore(source).list()]
    rows = [row for row in table.rows if row.study not in APART and row.slice == WHOLE]
    gains, notes = gains_of(table, resamples, seed, relevant)
    return Report(
        title=f"Transfer report: {', '.join(source.name or str(source) for source in sources)}",
        banner=table.banner(),
        facts=_facts(rows, runs),
        gains=gains,
        scores=tuple(score_tables(rows)),
        curves=tuple(panels(runs)),
        costs=_costs(runs),
        provenance=tuple(_provenance(runs)),
        notes=tuple(dict.fromkeys((*table.notes, *notes))),
        records=table,
    )


def gains_of(
    table: RecordTable, resamples: int = 10_000, seed: int = 0, relevant: float = 1.0
) -> tuple[tuple[Gains, ...], list[str]]:
    """The gains of each base model and method, and notes; arguments as for `gather`."""
    found, notes = [], []
    kinds = dict.fromkeys((row.backbone, row.method) for row in table.rows if row.study not in APART)
    for backbone, method in kinds:
        title = " · ".join(part for part in (backbone, method) if part) or "all runs"
        try:
            part = choose(table, backbone, method)
            matrix = gain_matrix(part, resamples, seed, relevant)
        except AdaptxferError as error:
            notes.append(f"No gains for {title}: {error.message} {error.hint}".strip())
            continue
        notes += matrix.notes
        overall = gains_table("Mean over target tasks", matrix.overall, "Holm")
        found.append(Gains(title, matrix, tuple(gain_maps(matrix)), overall))
    return tuple(found), notes


def score_tables(rows: Iterable[Row]) -> list[Table]:
    """One table for each target task: mean and standard deviation over seeds, by setting and language."""
    by_task: dict[str, dict[tuple[str, ...], dict[str, dict[int, float]]]] = defaultdict(dict)
    metrics: dict[str, str] = {}
    for row in rows:
        how = "" if row.intermediate == NONE else row.how
        setting = (row.intermediate, how, row.method, row.backbone, row.settings[:6])
        scores = by_task[row.target_task].setdefault(setting, defaultdict(dict))
        scores[row.language].setdefault(row.target_seed, row.value)
        metrics[row.target_task] = row.metric
    return [_score_table(task, metrics[task], found) for task, found in sorted(by_task.items())]


def _score_table(task: str, metric: str, settings: dict[tuple[str, ...], dict[str, dict[int, float]]]) -> Table:
    languages = sorted({code for scores in settings.values() for code in scores}, key=lambda code: (code != "en", code))
    several = [len({setting[place] for setting in settings} - {""}) > 1 for place in range(5)]
    names = [
        name for name, shown in zip(("how", "method", "base model", "settings"), several[1:], strict=True) if shown
    ]
    body: list[list[Cell]] = []
    for setting, scores in sorted(settings.items(), key=lambda item: (item[0][0] != NONE, item[0])):
        cells = [_over_seeds(scores.get(code)) for code in languages]
        about = [setting[place] for place in (1, 2, 3, 4) if several[place]]
        seeds = {seed for by_seed in scores.values() for seed in by_seed}
        body.append([setting[0], *about, len(seeds), _mean(scores, languages), *cells])
    columns = ["intermediate", *names, ("seeds", "right"), (MEAN, "right"), *((code, "right") for code in languages)]
    caption = "points (0-100), mean ± standard deviation over seeds; the mean is over the languages shown"
    return Table(f"{task}: {metric}", columns, body, caption)


def _over_seeds(values: dict[int, float] | None) -> Cell:
    if not values:
        return None
    points = list(values.values())
    return f"{fmean(points):.1f}" + (f" ± {stdev(points):.1f}" if len(points) > 1 else "")


def _mean(scores: dict[str, dict[int, float]], languages: Sequence[str]) -> Cell:
    """Over languages within each seed, then over seeds; a dash if a language is missing."""
    if any(code not in scores for code in languages):
        return None
    seeds = set.intersection(*(set(scores[code]) for code in languages))
    return _over_seeds({seed: fmean(scores[code][seed] for code in languages) for seed in sorted(seeds)})


def _facts(rows: Sequence[Row], runs: Sequence[Run]) -> tuple[tuple[str, str], ...]:
    def names(column: str) -> str:
        values = sorted({str(getattr(row, column)) for row in rows} - {"", NONE})
        return f"{len(values)} ({', '.join(values)})" if values else "none"

    seeds = sorted({row.target_seed for row in rows})
    found = [
        ("Target tasks", names("target_task")),
        ("Intermediate tasks", names("intermediate")),
        ("Methods", names("method")),
        ("Base models", names("backbone")),
        ("Languages", str(len({row.language for row in rows}))),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Scores", f"{len(rows):,}"),
    ]
    if runs:
        states = [run.status for run in runs]
        told = ", ".join(f"{states.count(state):,} {state}" for state in sorted(set(states)))
        found.append(("Runs", told))
    return tuple(found)


def _costs(runs: Sequence[Run]) -> Table | None:
    """Finished stages by kind and task."""
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.status == "finished":
            groups[run.manifest["kind"], run.manifest["name"]].append(run)
    rows: list[list[Cell]] = []
    for (kind, name), members in sorted(groups.items()):
        training = [run.manifest.get("training") or {} for run in members]
        tokens = sum(int(item.get("tokens") or 0) for item in training)
        seconds = sum(float(run.manifest.get("duration_s") or 0) for run in members)
        peak = max((float(item.get("peak_memory_mib") or 0) for item in training), default=0.0)
        rows.append([kind, name, len(members), round(tokens) or None, round(seconds), round(peak) or None])
    if not rows:
        return None
    total = [sum(row[place] or 0 for row in rows) for place in (2, 3, 4)]  # type: ignore[misc]
    rows.append(["all", "", total[0], total[1] or None, total[2], max(row[5] or 0 for row in rows) or None])  # type: ignore[type-var]
    columns = ["stage", "task", ("runs", "right"), ("tokens trained", "right"), ("seconds", "right"),
               ("peak memory, MiB", "right")]  # fmt: skip
    return Table("Finished stages", columns, rows, "seconds: time of the stages added up, whatever ran side by side")


def _provenance(runs: Sequence[Run]) -> list[Table]:
    readable = [run for run in runs if run.manifest]
    if not readable:
        return []
    models = dict.fromkeys(
        (str(base.get("id")), str(base.get("revision") or ""), str(base.get("fingerprint") or ""))
        for base in (run.manifest["base_model"] for run in readable)
        if base
    )
    versions = dict.fromkeys((name, str(v)) for run in readable for name, v in run.manifest["versions"].items())
    data = dict.fromkeys((name, str(print_)) for run in readable for name, print_ in run.manifest["data"].items())
    members: list[list[Cell]] = [
        [run.name, run.status, str(run.manifest.get("seed", "")), run.manifest.get("finished"), _seconds(run)]
        for run in readable
    ]
    return [
        Table("Base models", ["id", "revision", "fingerprint"], list(models)),
        Table("Versions", ["library", "version"], list(versions)),
        Table("Data", ["task and split", "sha256"], list(data)),
        Table("Runs", ["run", "status", ("seed", "right"), "finished", ("seconds", "right")], members),
    ]


def _seconds(run: Run) -> int | None:
    duration = run.manifest.get("duration_s")
    return round(duration) if isinstance(duration, int | float) else None
