"""A report as files: the page, Markdown, LaTeX, CSV and plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from adaptxfer.console import Table
from adaptxfer.errors import use_error
from adaptxfer.files import write_text
from adaptxfer.report.gather import Report
from adaptxfer.report.latex import to_latex
from adaptxfer.report.maps import Map
from adaptxfer.report.page import render_page
from adaptxfer.studies.plots import Forest, HeatMap, Line, Plot, save_plots
from adaptxfer.studies.table import write_csv
from adaptxfer.studies.views import gain_csv, gain_tables

FORMATS = ("html", "md", "csv", "tex", "png", "svg", "pdf")
PLOTS = ("png", "svg", "pdf")


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """The formats without blanks and repeats.

    Raises:
        AdaptxferError: if one is unknown.
    """
    found = tuple(dict.fromkeys(name.strip() for name in names))
    if unknown := [name for name in found if name not in FORMATS]:
        raise use_error(f"There is no report format {unknown[0]!r}.", f"Formats: {', '.join(FORMATS)}.")
    return found


def write_report(report: Report, folder: Path, formats: tuple[str, ...] = FORMATS) -> list[Path]:
    """Write the report in each format.

    Args:
        report: what to show.
        folder: where to; files of an older report there are replaced.
        formats: of ``FORMATS``; plots are left out where matplotlib is missing.

    Returns:
        the files written.

    """
    written: list[Path] = []

    def save(name: str, text: str) -> None:
        write_text(folder / name, text)
        written.append(folder / name)

    if "html" in formats:
        save("report.html", render_page(report))
    if "md" in formats:
        save("report.md", _markdown(report))
    if "tex" in formats:
        save("tables.tex", "\n".join(to_latex(table) for table in _tables(report)))
    if "csv" in formats:
        write_csv(folder / "records.csv", report.records)
        written.append(folder / "records.csv")
        for number, found in enumerate(report.gains, start=1):
            save("gains.csv" if len(report.gains) == 1 else f"gains-{number}.csv", gain_csv(found.matrix))
    simulated = report.records.statuses() == ("simulated",)
    for ending in [name for name in PLOTS if name in formats]:
        written += save_plots(dict(_plots(report)), folder / "plots", simulated, ending)
    return written


def _tables(report: Report) -> Iterator[Table]:
    for found in report.gains:
        yield from gain_tables(found.matrix, languages=False)
    yield from report.scores
    if report.costs:
        yield report.costs


def _markdown(report: Report) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in report.facts)
    notes = "\n".join(f"- {note}" for note in report.notes)
    banner = f"**{report.banner}**" if report.banner else ""
    tables = [table.to_markdown() for table in _tables(report)]
    provenance = [table.to_markdown() for table in report.provenance[:3]]
    parts = [f"# {report.title}", banner, facts, *tables, *provenance, notes]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _plots(report: Report) -> Iterator[tuple[str, Plot]]:
    for number, found in enumerate(report.gains, start=1):
        name = "" if len(report.gains) == 1 else f"-{number}"
        for place, map in enumerate(found.maps):
            yield f"gains{name}" if place == 0 else f"gains{name}-{place}", _heat_map(map, found.title)
        lines = [
            Line(g.intermediate, g.estimate.value, g.estimate.low, g.estimate.high, g.verdict)
            for g in found.matrix.overall
        ]
        if lines:
            title = f"Gain over target tasks, 95 % intervals ({found.title})"
            yield f"overall{name}", Forest(title, lines, margin=found.matrix.relevant)


def _heat_map(map: Map, title: str) -> HeatMap:
    values = np.array([[spot.value if spot else np.nan for spot in spots] for _, spots in map.rows])
    marks = [[spot.mark if spot else "" for spot in spots] for _, spots in map.rows]
    return HeatMap(f"{map.title} ({title})", [name for name, _ in map.rows], map.columns, values, marks)
