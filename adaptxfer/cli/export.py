"""``adaptxfer export``: write and check the folder of an XTREME submission."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptxfer.cli.options import RUNS, DataDir, Json, Offline, Runs, Tasks, folders
from adaptxfer.cli.suite import EvaluateRuns, Split, check_split, choose_runs, settings_note
from adaptxfer.console import console
from adaptxfer.errors import DATA

if TYPE_CHECKING:
    from adaptxfer.evaluation.export import Fault, Predictions
    from adaptxfer.runs.run import Run

app = typer.Typer(help="Write and check the folder of an XTREME submission.", no_args_is_help=True)

Suite = Annotated[str, typer.Option("--suite", help="xtreme or xtreme-r.")]


@app.command()
def xtreme(
    out: Annotated[Path, typer.Option("--out", help="Folder to make.")],
    run: EvaluateRuns = None,
    split: Split = "test",
    suite: Suite = "xtreme",
    partial: Annotated[bool, typer.Option("--partial", help="Also write an incomplete submission.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace the submission that the folder holds.")] = False,
    runs: Runs = RUNS,
    data_dir: DataDir = None,
    tasks: Tasks = None,
    offline: Offline = False,
    json: Json = False,
) -> None:
    """Write the predictions of evaluate runs in the form that XTREME's evaluate.py reads.

    The folder is written whole or not at all. Tatoeba's sentences are read again, for the order of the script.
    """
    check_split(split)
    from adaptxfer.evaluation.export import export_submission
    from adaptxfer.evaluation.forms import submission_parts
    from adaptxfer.tasks.suites import load_suite

    where = folders(tasks)
    found = load_suite(suite, where)
    parts = submission_parts(found, where)
    chosen = choose_runs(tuple(found.tasks), run or (), runs, ("languages", "unscored"), split)
    if not run:  # a task without a form is refused only if its run was named
        chosen = {task: item for task, item in chosen.items() if task in parts}
    predictions = {task: _predictions(item) for task, item in chosen.items()}
    faults = export_submission(predictions, parts, out, split, partial=partial, fresh=fresh, data_dir=data_dir)
    if note := settings_note(chosen):
        console().warn(note)
    files = sum(1 for path in out.glob("*/*") if path.is_file())
    valid = not faults and split == "test"
    document = {
        "schema": 1, "folder": out, "suite": suite, "split": split, "files": files, "valid": valid,
        "missing": _entries(faults), "runs": {task: item.name for task, item in chosen.items()},
    }  # fmt: skip
    console().result(document, f"Wrote {files} files to {out}. {_verdict(faults, split)}", *_listed(faults))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a submission.")],
    split: Split = "test",
    suite: Suite = "xtreme",
    data_dir: DataDir = None,
    tasks: Tasks = None,
    json: Json = False,
) -> None:
    """Check the folder of a submission and list every fault; exit code 2 if there is one.

    With --data-dir, ids and the words of each sentence are compared with the data where all of it is there.
    """
    check_split(split)
    from adaptxfer.evaluation.export import check_submission
    from adaptxfer.evaluation.forms import submission_parts
    from adaptxfer.tasks.suites import load_suite

    where = folders(tasks)
    faults = check_submission(folder, submission_parts(load_suite(suite, where), where), split, data_dir)
    document = {"schema": 1, "folder": folder, "suite": suite, "split": split, "valid": not faults and split == "test",
                "faults": _entries(faults)}  # fmt: skip
    console().result(document, f"{folder}: {_verdict(faults, split)}", *_listed(faults))
    if faults:
        raise typer.Exit(DATA)


def _predictions(run: Run) -> Predictions:
    from adaptxfer.evaluation.export import Predictions

    return Predictions(run.name, run.read_scores(), run.read_predictions, run.manifest["data"], run.asked("limit"))


def _entries(faults: list[Fault]) -> list[dict[str, str]]:
    return [{"kind": fault.kind, "place": fault.place, "problem": fault.problem} for fault in faults]


def _verdict(faults: list[Fault], split: str) -> str:
    if faults:
        return f"Not a valid submission ({len(faults)} faults):" if len(faults) > 1 else "Not a valid submission:"
    return "The submission is complete." if split == "test" else f"Complete for {split}; a submission is of test."


def _listed(faults: list[Fault]) -> list[str]:
    return ["\n".join(f"  - {fault}" for fault in faults)] if faults else []
