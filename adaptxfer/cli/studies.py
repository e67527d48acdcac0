"""``adaptxfer gain``, ``simulate`` and ``power``: what the records say, and what they could say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptxfer.cli.options import RUNS, Json
from adaptxfer.cli.study import app as study_app
from adaptxfer.console import Table, console
from adaptxfer.errors import use_error

Source = Annotated[
    list[Path] | None, typer.Argument(metavar="[RECORDS...]", help="Folders of runs or CSV tables; else --runs.")
]
RunsFolder = Annotated[Path, typer.Option("--runs", envvar="ADAPTXFER_RUNS", help="Folder of the runs.")]
Resamples = Annotated[int, typer.Option(help="Bootstrap draws.", min=100)]
Relevant = Annotated[float, typer.Option(help="Smallest gain that matters, in points.", min=0.0)]
Seed = Annotated[int, typer.Option(help="Seed of everything drawn.", min=0)]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("gain")(gain)
    app.command("simulate")(simulate)
    app.command("power")(power)
    app.add_typer(study_app, name="study")


def gain(
    records: Source = None,
    runs: RunsFolder = RUNS,
    backbone: Annotated[str | None, typer.Option("--model", help="Only runs of this base model.")] = None,
    method: Annotated[str | None, typer.Option(help="Only bottleneck, lora or full.")] = None,
    target: Annotated[list[str] | None, typer.Option("--to", help="Only this target task; may be repeated.")] = None,
    languages: Annotated[bool, typer.Option("--by-language", help="Show every language too.")] = False,
    clusters: Annotated[
        Path | None, typer.Option(help="CSV or TSV with item_id, cluster_id, such as the article of each question.")
    ] = None,
    resamples: Resamples = 10_000,
    relevant: Relevant = 1.0,
    seed: Seed = 0,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every gain to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Draw heat maps and a forest plot into this folder.")] = None,
    json: Json = False,
) -> None:
    """Show what each intermediate task gains on each target task, with intervals and verdicts.

    A gain is the score with minus the score without intermediate task, for the same seed. The variance between seeds
    is pooled over cells, that between items comes from resampling clusters jointly over languages.
    """
    from functools import partial

    from adaptxfer.files import write_text
    from adaptxfer.studies.collect import read_table
    from adaptxfer.studies.gain import gain_matrix
    from adaptxfer.studies.items import load_items, read_clusters
    from adaptxfer.studies.pairs import choose
    from adaptxfer.studies.plots import MISSING, can_draw, save_plots
    from adaptxfer.studies.table import join_tables
    from adaptxfer.studies.views import gain_csv, gain_document, gain_plots, gain_tables

    table = join_tables([read_table(source) for source in records or [runs]])
    if target and (unknown := set(target) - set(table.values("target_task"))):
        raise use_error(f"No record is of {', '.join(sorted(unknown))}.", "See `adaptxfer runs list`.")
    table = choose(table.where(lambda row: not target or row.target_task in target), backbone, method)
    loader = partial(load_items, clusters=read_clusters(clusters) if clusters else None)
    matrix = gain_matrix(table, resamples, seed, relevant, loader)
    tables = gain_tables(matrix, languages)
    for note in matrix.notes:
        console().note(note)
    if csv:
        write_text(csv, gain_csv(matrix))
    if markdown:
        parts = [f"**{table.banner()}**\n"] if table.banner() else []
        notes = ["\n".join(f"- {note}" for note in matrix.notes) + "\n"] if matrix.notes else []
        write_text(markdown, "\n".join(parts + [item.to_markdown() for item in tables] + notes))
    if plots:
        for path in save_plots(gain_plots(matrix), plots, table.statuses() == ("simulated",)):
            console().note(f"Written: {path}")
        if not can_draw():
            console().note(MISSING)
    document = {"origin": list(table.statuses()), "banner": table.banner(), **gain_document(matrix)}
    console().result(document, *filter(None, (table.banner(), *tables)))


Intermediates = Annotated[int | None, typer.Option(help="Intermediate tasks.", min=1)]
Targets = Annotated[int | None, typer.Option(help="Target tasks.", min=1)]
Seeds = Annotated[int | None, typer.Option("--n-seeds", help="Seeds of each cell.", min=1)]
Clusters = Annotated[int | None, typer.Option("--articles", help="Clusters of items in each slice.", min=2)]
Planted = Annotated[float | None, typer.Option("--planted", help="The true value; its meaning depends on the study.")]


def simulate(
    world: Annotated[str, typer.Argument(help="null, positive, simpson, interaction, cluster, scaling or transfer.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for table.csv and the items.")],
    seed: Seed = 0,
    intermediates: Intermediates = None,
    targets: Targets = None,
    n_seeds: Seeds = None,
    articles: Clusters = None,
    json: Json = False,
) -> None:
    """Write a record table from a world whose truth is known; its rows are marked as simulated."""
    from adaptxfer.studies import worlds

    asked = {"intermediates": intermediates, "targets": targets, "seeds": n_seeds, "clusters": articles}
    made = worlds.simulate(world, seed, worlds.changed(world, **asked))
    path = worlds.save(made, out)
    truth = ", ".join(f"{name} {value:g}" for name, value in made.truth.items())
    document = {"schema": 1, "world": world, "seed": seed, "rows": len(made.table.rows), "table": path,
                "truth": made.truth, "banner": made.table.banner()}  # fmt: skip
    told = f"{path}: {len(made.table.rows):,} rows, {len(made.items):,} item files. Planted: {truth}."
    console().result(document, made.table.banner(), f"{told}\n`adaptxfer gain {path}` reads it.")


def power(
    study: Annotated[str, typer.Option(help="gain, metric, within, scale, domain, generalise or diversity.")],
    planted: Planted = None,
    intermediates: Intermediates = None,
    targets: Targets = None,
    n_seeds: Seeds = None,
    articles: Clusters = None,
    seed_sd: Annotated[float | None, typer.Option(help="Standard deviation between seeds, in points.", min=0)] = None,
    ladder: Annotated[list[str] | None, typer.Option(help="For scale: xlmr, mt5; may be repeated.")] = None,
    repetitions: Annotated[int, typer.Option(help="Simulated studies.", min=20)] = 400,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Tell how often a study of this size would find what is there, and how often what is not.

    What is planted: a gain in points (gain), a correlation (metric: across intermediates; within: across checkpoints),
    points per factor of ten in size (scale), a difference of gains in points (domain). The spreads are guesses until
    they come from real runs.
    """
    from dataclasses import asdict, replace

    from adaptxfer.errors import nearest
    from adaptxfer.studies.power import QUESTIONS
    from adaptxfer.studies.power import power as estimate
    from adaptxfer.studies.worlds import SIZES, changed

    if study not in QUESTIONS:
        raise use_error(f"There is no power calculation for {study!r}.", nearest(study, QUESTIONS))
    if unknown := sorted(set(ladder or ()) - set(SIZES)):
        raise use_error(f"There is no ladder {unknown[0]!r}.", nearest(unknown[0], SIZES))
    question = QUESTIONS[study]
    if planted is None and study == "gain":
        planted = 1.0
    world = changed(question.world, intermediates=intermediates, targets=targets, seeds=n_seeds, clusters=articles,
                    seed_sd=seed_sd, ladders=tuple(ladder) if ladder else None)  # fmt: skip
    if planted is not None:
        world = replace(world, **{question.planted: planted})
    found = estimate(study, world, repetitions, seed)
    share = f"{found.found:.2f} [{found.low:.2f}, {found.high:.2f}]"
    names = ["study", "planted", ("found", "right"), ("false alarms", "right"), ("±", "right"), (found.unit, "right")]
    row = [study, f"{found.planted:g}", share, f"{found.false_alarms:.3f}", f"{found.half_width:.2f}", found.n_units]
    caption = f"{repetitions} simulated studies with and without the planted truth; ±: half of the mean 95 % interval"
    document = {"schema": 1, "status": "simulated", **asdict(found), "world": asdict(world)}
    console().result(document, Table("SIMULATED power", names, [row], caption))
