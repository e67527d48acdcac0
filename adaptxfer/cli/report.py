"""``adaptxfer report``: one page, and the same as tables and plots, of what a folder of runs found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptxfer.cli.options import RUNS, Json
from adaptxfer.cli.studies import Relevant, Resamples, RunsFolder, Seed, Source
from adaptxfer.console import console


def report(
    records: Source = None,
    runs: RunsFolder = RUNS,
    out: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("report"),
    formats: Annotated[
        str, typer.Option("--formats", help="Which files, joined with commas: html, md, csv, tex, png, svg, pdf.")
    ] = "html,md,csv,tex,png,svg,pdf",
    resamples: Resamples = 10_000,
    relevant: Relevant = 1.0,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Write a page with gains, scores, training curves, cost and provenance, and the same as tables and plots."""
    from adaptxfer.report.gather import gather
    from adaptxfer.report.write import PLOTS, check_formats, write_report
    from adaptxfer.studies.plots import MISSING, can_draw

    chosen = check_formats(formats.split(","))
    if not can_draw() and set(chosen) & set(PLOTS):
        console().note(MISSING)
    found = gather(records or [runs], resamples, seed, relevant)
    for note in found.notes:
        console().note(note)
    written = write_report(found, out, chosen)
    console().result({"schema": 1, "banner": found.banner, "files": written}, "\n".join(map(str, written)))
