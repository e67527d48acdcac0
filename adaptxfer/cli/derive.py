"""``adaptxfer tasks halves`` and ``tasks fakes``: intermediate tasks that tell why another one helps."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptxfer.cli.ask import FIRST, takes
from adaptxfer.console import Cell, Table, console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptxfer.studies.derive import Derived

Out = Annotated[Path, typer.Option("--out", help="Folder that gets the task files and their data.")]
Limit = Annotated[int | None, typer.Option(help="First training examples to take.", min=20)]


@takes(FIRST)
def halves(
    run: Annotated[str, typer.Argument(help="A run of train-intermediate on a task with labels, or its folder.")],
    out: Out = Path("tasks"),
    limit: Limit = None,
    *,
    options: dict[str, Any],
) -> None:
    """Split a task into an easy and a hard half: equal size, equal labels, by what its input tells a trained module.

    Pointwise V-information of examples that the module was not trained on. The halves are intermediate tasks like any
    other, for `study scale --hard TASK_hard --easy TASK_easy`.
    """
    from adaptxfer.api import make_ask
    from adaptxfer.modules.bundle import read_bundle
    from adaptxfer.runs.plan import bundle_folder
    from adaptxfer.studies.derive import write_halves

    ask = make_ask(**options)
    made, notes = write_halves(read_bundle(bundle_folder(run, ask.runs)), ask, out, limit)
    for note in notes:
        console().note(note)
    _tell(made, out)


@takes(FIRST)
def fakes(
    task: Annotated[str, typer.Argument(help="Whose English texts are used.")],
    out: Out = Path("tasks"),
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Of the lot.", min=0)] = 1,
    *,
    options: dict[str, Any],
) -> None:
    """Make a task that asks whether a text is real or has words of other texts in it: a control for any task."""
    from adaptxfer.api import make_ask
    from adaptxfer.studies.derive import write_fakes
    from adaptxfer.tasks.find import load_task

    ask = make_ask(**options)
    _tell([write_fakes(load_task(task, ask.tasks), ask, out, limit, seed)], out)


def _tell(made: Sequence[Derived], out: Path) -> None:
    rows: list[list[Cell]] = [
        [d.name, str(d.file), d.train, "–" if d.value is None else f"{d.value:+.2f}"] for d in made
    ]
    columns = ["task", "file", ("training examples", "right"), ("bits a label", "right")]
    elsewhere = "" if out == Path("tasks") else f" --tasks {quote(str(out))}"
    document = {"schema": 1, "tasks": [vars(d) for d in made]}
    told = f"Next: adaptxfer train-intermediate {made[0].name}{elsewhere}"
    console().result(document, Table("Written", columns, rows), told)
