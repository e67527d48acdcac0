"""The app: every command by name."""

from __future__ import annotations

from typing import Annotated

import typer

from adaptxfer import __version__
from adaptxfer.cli import doctor, export, grid, hub, merge, report, runs, select, studies, suite, tasks, train
from adaptxfer.cli.options import Json
from adaptxfer.console import console

app = typer.Typer(
    name="adaptxfer",
    help="Intermediate tasks as adapters or LoRA on a frozen encoder, scored zero-shot in other languages.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train.register(app)
hub.register(app)
studies.register(app)
grid.register(app)
app.add_typer(tasks.app, name="tasks")
app.add_typer(runs.app, name="runs")
app.command("merge")(merge.merge)
app.command("select")(select.select)
app.command("report")(report.report)
app.command("suite")(suite.suite)
app.add_typer(export.app, name="export")
app.command("doctor")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback(help=app.info.help)
def root(
    wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before any command."""


@app.command()
def version(json: Json = False) -> None:
    """Print the version."""
    console().result({"schema": 1, "version": __version__}, __version__)
