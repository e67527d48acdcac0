"""``adaptxfer tasks``: list, show, check and write task files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptxfer.cli.check import check
from adaptxfer.cli.derive import fakes, halves
from adaptxfer.cli.options import Json, Tasks, folders
from adaptxfer.console import Cell, Table, console
from adaptxfer.errors import nearest, use_error

if TYPE_CHECKING:
    from adaptxfer.tasks.spec import FileSource, HubSource, TaskSpec

app = typer.Typer(help="List, show, check and write task files.", no_args_is_help=True)
app.command("check")(check)
app.command("halves")(halves)
app.command("fakes")(fakes)


@app.command("list")
def list_all(
    kind: Annotated[str | None, typer.Option(help="Only classify, choose, tag, span or retrieve tasks.")] = None,
    role: Annotated[str | None, typer.Option(help="Only intermediate or target tasks.")] = None,
    tasks: Tasks = None,
    json: Json = False,
) -> None:
    """List all tasks."""
    from adaptxfer.tasks.examples import KINDS
    from adaptxfer.tasks.find import list_tasks
    from adaptxfer.tasks.spec import ROLES

    for option, value, choices in (("--kind", kind, KINDS), ("--role", role, ROLES)):
        if value is not None and value not in choices:
            raise use_error(f"{option} {value!r} is not known.", nearest(value, choices))
    found = [spec for spec in list_tasks(folders(tasks)) if kind in (None, spec.kind)]
    found = [spec for spec in found if role is None or role in spec.role]
    rows = [[spec.name, spec.kind, ", ".join(spec.role), len(spec.languages), spec.metric.main] for spec in found]
    table = Table(
        "", ["task", "kind", "role", ("languages", "right"), "metric"], rows, "adaptxfer tasks show TASK says more."
    )
    console().result({"schema": 1, "tasks": list(map(summary, found))}, table if rows else "No task fits.")


@app.command()
def show(task: str, tasks: Tasks = None, json: Json = False) -> None:
    """Show all facts of a task: its file, languages, data and defaults."""
    from adaptxfer.tasks.find import load_task, task_folders

    spec = load_task(task, folders(tasks))
    document = {**summary(spec), **_details(spec), "searched": list(map(str, task_folders(folders(tasks))))}
    console().result(document, _about(spec), _sources(spec), _defaults(spec))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the task, and of its file.")],
    source: Annotated[Path, typer.Option("--from", help="A data file: .jsonl, .json, .csv, .tsv, .txt or .conllu.")],
    kind: Annotated[
        str | None, typer.Option(help="classify, choose, tag, span or retrieve; guessed if left out.")
    ] = None,
    role: Annotated[str, typer.Option(help="intermediate or target.")] = "target",
    language: Annotated[str, typer.Option(help="Language code of the data.")] = "en",
    to: Annotated[Path, typer.Option(help="Folder that gets the task file.")] = Path("tasks"),
    json: Json = False,
) -> None:
    """Write a first task file from what a data file looks like; check it before use."""
    from adaptxfer.files import write_text
    from adaptxfer.tasks.find import load_task
    from adaptxfer.tasks.new import new_task
    from adaptxfer.tasks.spec import ROLES

    if role not in ROLES:
        raise use_error(f"--role {role!r} is not known.", nearest(role, ROLES))
    text = new_task(name, source, kind, role, language)
    path = to / f"{name}.toml"
    if path.exists():
        raise use_error(f"{path} exists already.", "Choose another name, or remove it first.")
    write_text(path, text)
    spec = load_task(name, [to])
    data = source.parent
    elsewhere = "" if to == Path("tasks") else f" --tasks {quote(str(to))}"
    told = f"Wrote {path}: {_told(spec)}.\nNext: adaptxfer tasks check {name} --data-dir {quote(str(data))}{elsewhere}"
    console().result({"schema": 1, **summary(spec), "data_dir": str(data), "text": text}, told)


def _told(spec: TaskSpec) -> str:
    if not spec.labels:
        return f"a {spec.kind} task"
    shown = ", ".join(spec.labels[:8]) + (", ..." if len(spec.labels) > 8 else "")
    return f"a {spec.kind} task with {len(spec.labels)} labels ({shown})"


def summary(spec: TaskSpec) -> dict[str, Any]:
    """What a listing says about a task, as JSON."""
    return {
        "name": spec.name,
        "version": spec.version,
        "kind": spec.kind,
        "role": list(spec.role),
        "languages": list(spec.languages),
        "metric": spec.metric.main,
        "about": spec.about,
        "file": str(spec.origin),
    }


def _details(spec: TaskSpec) -> dict[str, Any]:
    sections = ("paper", "licence", "labels", "pool", "text", "train", "metric", "retrieve", "hub", "files", "export")
    return {"schema": 1, **{key: getattr(spec, key) for key in (*sections, "expect", "digest")}}


def _about(spec: TaskSpec) -> Table:
    lines = {
        "about": spec.about,
        "kind": f"{spec.kind}, {' and '.join(spec.role)} task, version {spec.version}",
        "file": str(spec.origin),
        "languages": f"{len(spec.languages)}: {', '.join(spec.languages)}",
        "labels": ", ".join(spec.labels),
        "pools": ", ".join(spec.pool),
        "metric": ", ".join((spec.metric.main, *spec.metric.others)),
        "training data": f"the task {spec.train.task}" if spec.train.task else "",
        "text": f"{spec.text.max_length} sub-words, cut {spec.text.truncation} at the {spec.text.side} end",
        "rows upstream": "; ".join(f"{split} {_counts(rows)}" for split, rows in spec.expect.items()),
        "paper": spec.paper,
        "licence": spec.licence,
    }
    return Table(spec.name, ["fact", "value"], [[name, text] for name, text in lines.items() if text])


def _counts(rows: int | Mapping[str, int]) -> str:
    if isinstance(rows, int):
        return f"{rows:,}"
    return ", ".join(f"{language} {count:,}" for language, count in rows.items())


def _sources(spec: TaskSpec) -> Table:
    rows: list[Sequence[Cell]] = [["Hub", _hub_text(hub), _splits(hub)] for hub in spec.hub]
    rows += [["embedded" if files.embedded else "files", _files_text(files), _splits(files)] for files in spec.files]
    caption = "" if all(hub.verified for hub in spec.hub) else "Hub ids that are not verified were never counted."
    return Table("Data", ["from", "where", "splits"], rows, caption)


def _hub_text(hub: HubSource) -> str:
    parts = [
        hub.id,
        f"config {hub.config}" if hub.config else "",
        f"revision {hub.revision}" if hub.revision else "revision not pinned",
        "verified" if hub.verified else "not verified",
        *([hub.caution] if hub.caution else []),
        *(f"not {config}: {bad.reason}, use {bad.instead}" for config, bad in hub.known_bad.items()),
    ]
    return "\n".join(filter(None, parts))


def _files_text(files: FileSource) -> str:
    return "\n".join((f"{files.reader}:", *files.paths))


def _splits(source: HubSource | FileSource) -> str:
    return ", ".join(source.splits) or "as named"


def _defaults(spec: TaskSpec) -> Table:
    train, why = spec.train, spec.train.sources
    values: dict[str, Any] = {
        name: getattr(train, name) for name in ("epochs", "batch_size", "warmup", "weight_decay", "clip")
    }
    values |= {f"learning_rate.{method}": rate for method, rate in train.learning_rate.items()}
    rows: list[list[Cell]] = [[name, f"{value:g}", why.get(name, "default")] for name, value in values.items()]
    return Table("Training defaults", ["option", ("value", "right"), "source"], rows)
