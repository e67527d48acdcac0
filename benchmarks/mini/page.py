"""What the miniature found, as one page: the headline, retrieval by layer, gains, studies, cost, what is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev

from adaptxfer.console import Cell, Table
from adaptxfer.errors import AdaptxferError
from adaptxfer.report.gather import Gains, Report
from adaptxfer.runs.run import Run
from adaptxfer.studies.domain import domain_study
from adaptxfer.studies.gain import Gain
from adaptxfer.studies.generalise import generalise_study, split_tasks
from adaptxfer.studies.metric import metric_study
from adaptxfer.studies.pairs import APART, one_composition
from adaptxfer.studies.report import Report as StudyReport
from adaptxfer.studies.table import NONE, RecordTable
from adaptxfer.studies.views import interval_text, matrix_table, p_text

RETRIEVAL = ("tatoeba", "flores200")
HEADLINE = ("mnli", "snli", "squad_v1", "mnli_sham")
"""Inference, question answering, and the control; in the order of the table."""
NUMBERS = ("without", "gain", "95 %", "corrected p", "seeds")


def headline(of: Sequence[Gains]) -> Table:
    """Retrieval after NLI and question answering, and after the control, against none."""
    found: list[list[Cell]] = []
    for gains in of:
        rows = [g for g in gains.matrix.cells if g.target in RETRIEVAL and _named(g) in HEADLINE]
        rows.sort(key=lambda gain: (RETRIEVAL.index(gain.target), HEADLINE.index(_named(gain))))
        found += [_row(gains.title, gain) for gain in rows]
    columns = ["encoder", "intermediate", "target", *((name, "right") for name in NUMBERS), "verdict"]
    caption = "accuracy in points, mean over languages; 95 % over seeds and test items; corrected: Benjamini-Hochberg"
    return Table("Retrieval after NLI and question answering, against none", columns, found, caption)


def _named(gain: Gain) -> str:
    return gain.intermediate.split(" (")[0]  # the composition follows where there are several


def _row(encoder: str, gain: Gain) -> list[Cell]:
    found = gain.estimate
    ends = interval_text(found.low, found.high)
    numbers = [round(gain.without, 1), f"{found.value:+.1f}", ends, p_text(gain.p_adjusted), found.n_units]
    return [encoder, gain.intermediate, gain.target, *numbers, gain.verdict]


def by_layer(runs: Mapping[str, Run]) -> Table:
    """Retrieval accuracy at every layer, mean over languages: where a module helps and where it does harm."""
    found: dict[tuple[str, ...], list[Mapping[str, float]]] = defaultdict(list)
    for run in runs.values():
        languages = run.read_scores()["languages"].values() if run.manifest["kind"] == "evaluate" else ()
        sweeps = [values["layers"] for values in languages if "layers" in values]
        if sweeps:
            key = (str(run.manifest["base_model"]["id"]), str(run.asked("method")), _intermediates(run, runs),
                   str(run.manifest["name"]))  # fmt: skip
            found[key].append({layer: fmean(sweep[layer] for sweep in sweeps) for layer in sweeps[0]})
    depth = max((int(layer) for runs in found.values() for layer in runs[0]), default=0)
    rows: list[list[Cell]] = [
        [
            *key,
            len(runs),
            *(_over_seeds([run[str(layer)] for run in runs if str(layer) in run]) for layer in range(depth + 1)),
        ]
        for key, runs in sorted(found.items())
    ]
    columns = ["encoder", "method", "intermediate", "target", ("seeds", "right")]
    return Table(
        "Retrieval by layer",
        [*columns, *((str(layer), "right") for layer in range(depth + 1))],
        rows,
        "accuracy in points, mean over languages, ± standard deviation over seeds; layer 0: embeddings",
    )


def _intermediates(run: Run, runs: Mapping[str, Run]) -> str:
    parents = [runs[name].manifest["name"] for name in run.manifest["parents"]]
    return " + ".join(map(str, parents)) or NONE


def _over_seeds(values: Sequence[float]) -> Cell:
    if not values:
        return None
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def learnt(runs: Mapping[str, Run]) -> Table:
    """What the modules score on their own English dev data: whether there was anything to transfer."""
    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for run in runs.values():
        dev = run.manifest.get("dev", {}) if run.manifest["kind"] == "intermediate" else {}
        for task, scores in dev.items():
            key = (str(run.manifest["base_model"]["id"]), str(run.asked("method")), str(run.manifest["name"]), task)
            found[*key, scores["main"]].append(scores[scores["main"]])
    rows: list[list[Cell]] = [[*key, len(values), _over_seeds(values)] for key, values in sorted(found.items())]
    columns = ["encoder", "method", "intermediate", "dev set", "metric", ("seeds", "right"), ("score", "right")]
    return Table("What the modules learnt", columns, rows, "points, ± standard deviation over seeds")


def costs(runs: Mapping[str, Run]) -> Table:
    """What every encoder and kind of stage took."""
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs.values():
        found[str(run.manifest["base_model"]["id"]), run.manifest["kind"]].append(run)
    rows: list[list[Cell]] = []
    for (model, kind), members in sorted(found.items()):
        tokens = sum(int((run.manifest.get("training") or {}).get("tokens") or 0) for run in members)
        minutes = sum(float(run.manifest.get("duration_s") or 0) for run in members) / 60
        rows.append([model, kind, len(members), tokens or None, round(minutes, 1)])
    columns = ["encoder", "stages", ("runs", "right"), ("tokens trained", "right"), ("minutes", "right")]
    return Table("Cost", columns, rows, "minutes by the clock, added up, whatever else the machine did meanwhile")


def studies(table: RecordTable, resamples: int) -> Iterator[tuple[str, StudyReport | str]]:
    """The answers of the studies for every encoder and method, or why there is none."""
    for backbone, method in dict.fromkeys((row.backbone, row.method) for row in table.rows if row.study not in APART):
        kind = (backbone, method)
        part = one_composition(table.where(partial(lambda row, kind: (row.backbone, row.method) == kind, kind=kind)))
        asked: dict[str, Callable[[], StudyReport]] = {
            "metric": lambda part=part: metric_study(part),
            "generalise": lambda part=part: generalise_study(
                part, *split_tasks(part, ["xtreme"], ["xtreme-r", "flores200"]), resamples=resamples
            ),
            "domain": lambda part=part: domain_study(
                part, "xquad", resamples=resamples, axes=["question-type", "length"], chain=["xquad", "mlqa"]
            ),
        }
        for name, study in asked.items():
            title = f"{name}, {backbone} · {method}"
            try:
                yield title, study()
            except AdaptxferError as error:
                yield title, f"{error.message} {error.hint}".strip()


def page(first: Table, report: Report, runs: Mapping[str, Run], left: Table, resamples: int, told: str = "") -> str:
    """All of it as Markdown.

    Args:
        first: the headline.
        report: gains and scores.
        runs: the finished runs by name.
        left: how far the plans are.
        resamples: bootstrap draws of the studies.
        told: what must be said first.
    """
    parts = ["# Intermediate tasks in miniature\n", told and f"**{told}**\n"]
    parts += [first.to_markdown(), by_layer(runs).to_markdown(), learnt(runs).to_markdown()]
    for gains in report.gains:
        parts += [f"## {gains.title}\n", matrix_table(gains.matrix).to_markdown(), gains.table.to_markdown()]
    parts.append("## Studies\n")
    for title, found in studies(report.records, resamples):
        parts.append(f"No answer of {title}: {found}\n" if isinstance(found, str) else _study(title, found))
    parts += ["## Cost, and what is left\n", costs(runs).to_markdown(), left.to_markdown()]
    notes = "\n".join(f"- {note}" for note in report.notes)
    return "\n".join([*filter(None, parts), "## Notes\n", notes, ""])


def _study(title: str, found: StudyReport) -> str:
    return replace(found.view(), title=f"Study: {title}").to_markdown()
