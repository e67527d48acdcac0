"""``adaptxfer runs``: list, show, compare and remove what was trained."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptxfer.cli.options import RUNS, Json, Runs
from adaptxfer.console import Cell, Table, console
from adaptxfer.errors import AdaptxferError, nearest, use_error

if TYPE_CHECKING:
    from adaptxfer.runs.records import Record
    from adaptxfer.runs.run import Run

app = typer.Typer(help="List, show, compare and remove runs.", no_args_is_help=True)

UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))

Names = Annotated[list[str], typer.Argument(metavar="RUN...", help="Folder names, or hashes alone.")]


@app.command("list")
def list_runs(
    runs: Runs = RUNS,
    kind: Annotated[str | None, typer.Option(help="Only intermediate, target, evaluate, merged or pulled.")] = None,
    status: Annotated[str | None, typer.Option(help="Only runs of this status, such as finished.")] = None,
    task: Annotated[str | None, typer.Option(help="Only runs of this task (joint runs: the joined names).")] = None,
    method: Annotated[str | None, typer.Option(help="Only bottleneck, lora or full.")] = None,
    how: Annotated[str | None, typer.Option(help="Only this composition, such as stack or none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Only this seed.")] = None,
    json: Json = False,
) -> None:
    """List all runs with their status and score."""
    from adaptxfer.modules.composition import HOWS, METHODS
    from adaptxfer.runs.run import STATUSES
    from adaptxfer.runs.store import KINDS, PULLED, RunStore

    _check_choice("--kind", kind, (*KINDS, PULLED))
    _check_choice("--status", status, STATUSES)
    _check_choice("--method", method, METHODS)
    _check_choice("--how", how, HOWS)
    found = RunStore(runs).list()
    wanted = {"kind": kind, "name": task, "seed": seed}
    asked = {"method": method, "how": how}
    facts = [
        _facts(run)
        for run in found
        if status in (None, run.status)
        and all(value in (None, run.manifest.get(name)) for name, value in wanted.items())
        and all(value in (None, run.asked(name)) for name, value in asked.items())
    ]
    shown = _listing(facts) if facts else _nothing(runs, found, task)
    console().result({"schema": 1, "folder": runs, "runs": facts}, shown)


def _listing(facts: list[dict[str, Any]]) -> Table:
    """A row for each run; a status or method that all of them share is said once, below."""
    told = {name: {fact[name] or "–" for fact in facts} for name in ("status", "method")}
    apart = [name for name, values in told.items() if len(values) > 1]
    rows = [
        [fact["run"], *(fact[name] for name in apart), fact["composition"], fact["seed"], fact["score"], fact["split"],
         _age(fact)]
        for fact in facts
    ]  # fmt: skip
    same = ", ".join(f"{name} {values.pop()}" for name, values in told.items() if name not in apart)
    problems = [f"{fact['run']}: {fact['problem']}" for fact in facts if fact["problem"]]
    columns = ["run", *apart, "composition", ("seed", "right"), ("score", "right"), "on", ("age", "right")]
    return Table("", columns, rows, "\n".join([f"of all: {same}", *problems] if same else problems))


def _nothing(runs: Path, others: Sequence[Run], task: str | None) -> str:
    from adaptxfer.runs.store import holds_runs

    if others:
        tasks = {str(run.manifest["name"]) for run in others if run.manifest}
        hint = nearest(task, tasks) if task and task not in tasks else ""
        return f"No run in {runs} fits; {len(others):,} do not. {hint}".strip()
    below = [path for path in sorted(runs.iterdir()) if path.is_dir() and holds_runs(path)] if runs.is_dir() else []
    return "\n".join([f"No runs in {runs}.", *(f"There are some below it: --runs {path}" for path in below)])


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Folder name, or hash alone.")], runs: Runs = RUNS, json: Json = False
) -> None:
    """Show one run: what was asked, where each value came from, and the scores."""
    from adaptxfer.runs.store import RunStore

    found = RunStore(runs).find(run)
    scores = found.read_scores() if (found.path / "scores.json").exists() and not found.problem else None
    document = {"schema": 1, **_facts(found), "path": found.path, "manifest": found.manifest, "scores": scores}
    views = [_about(found), _request(found)] if found.manifest else [_about(found)]
    if found.status == "finished" and scores:
        from adaptxfer.runs.records import read_record
        from adaptxfer.runs.tables import scores_table

        views.append(scores_table([read_record(found)]))
    console().result(document, *views)


@app.command()
def compare(run: Names, runs: Runs = RUNS, json: Json = False) -> None:
    """Compare two settings per language, with 95 % intervals where predictions are there.

    Runs that differ only in the seed are repeats of one setting and are averaged. The setting without intermediate
    task is the baseline, else the one named first.
    """
    from adaptxfer.runs import records, tables
    from adaptxfer.runs.store import RunStore
    from adaptxfer.studies.between import intervals

    store = RunStore(runs)
    for name in run:
        _refuse_training(store.find(name))
    found = {item.run: (store.find(item.run), item) for item in map(records.read_record, map(store.find, run))}
    baseline, other = _two_settings([record for _, record in found.values()])
    comparison = records.compare(baseline, other)
    sides = {"baseline": [record.run for record in baseline], "with": [record.run for record in other]}
    without, with_modules = ({name: found[name] for name in names} for names in sides.values())
    estimates = intervals(comparison, without, with_modules)
    ends = {row: (estimate.low, estimate.high) for row, estimate in estimates.items()}
    legend = [f"{side}: {', '.join(names)}" for side, names in sides.items()]
    if ends:
        legend.append(
            f"95 %: over test items{' and seeds' if min(map(len, sides.values())) > 1 else ', these weights'}"
        )
    document = {**tables.comparison_document(comparison), "runs": sides, "intervals": ends}
    console().result(document, tables.gain_table(comparison, ends), "\n".join(legend))


@app.command()
def track(
    run: Names,
    to: Annotated[str, typer.Option(help="tensorboard or wandb (offline; `wandb sync` sends it).")] = "tensorboard",
    out: Annotated[Path, typer.Option("--out", help="Folder of the tracker's files.")] = Path("tracked"),
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the (one) run ends.")] = False,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Hand training logs to a tracker: loss, learning rate, speed and dev scores."""
    from adaptxfer.runs.store import RunStore
    from adaptxfer.runs.track import track as hand_over

    found = [RunStore(runs).find(name) for name in run]
    if follow and len(found) > 1:
        raise use_error("--follow takes one run.", "Start the command once for each.")
    counts = {item.name: hand_over(item, to, out, follow) for item in found}
    told = "\n".join(f"{name}: {count:,} numbers in {out}" for name, count in counts.items())
    console().result({"schema": 1, "tracker": to, "folder": out, "numbers": counts}, told)


@app.command()
def rm(
    run: Names,
    runs: Runs = RUNS,
    force: Annotated[bool, typer.Option("--force", help="Do not ask; also remove what other runs build on.")] = False,
    json: Json = False,
) -> None:
    """Remove runs; one that is being written stays."""
    from adaptxfer.runs.store import RunStore

    store = RunStore(runs)
    names = [store.find(name).name for name in run]
    if not force:
        if not sys.stdin.isatty():
            raise use_error(f"There is no terminal to ask whether to remove {', '.join(names)}.", "Use --force.")
        if not typer.confirm(f"Remove {', '.join(names)}?", err=True):
            raise use_error("Nothing was removed.")
    removed = store.remove(names, force)
    console().result({"schema": 1, "removed": removed}, "\n".join(f"removed {name}" for name in removed))


def _check_choice(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise use_error(f"{option} {value!r} is not known.", nearest(value, choices))


def _facts(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    score, split = _score(run)
    return {
        "run": run.name,
        "kind": manifest.get("kind"),
        "status": run.status,
        "method": run.asked("method"),
        "how": run.asked("how"),
        "composition": _composition(run),
        "seed": manifest.get("seed"),
        "score": score,
        "split": split,
        "started": manifest.get("started"),
        "finished": manifest.get("finished"),
        "problem": run.problem or manifest.get("error"),
    }


def _composition(run: Run) -> str | None:
    from adaptxfer.runs.records import how_of, intermediates_of

    if run.manifest.get("kind") not in ("target", "evaluate"):
        return None
    names = intermediates_of(run)
    return f"{how_of(run)} on {', '.join(names)}" if names else "none"


def _score(run: Run) -> tuple[float | None, str | None]:
    """The main score of a finished run and the split it is from; a training stage has one on English dev data."""
    if run.status != "finished":
        return None, None
    try:
        if (run.path / "scores.json").exists():
            scores = run.read_scores()
            return scores["mean"], scores["split"]
    except AdaptxferError as error:
        run.problem = error.message
        return None, None
    dev = run.manifest.get("dev")
    values = (
        [task.get(task.get("main")) for task in dev.values() if isinstance(task, dict)] if isinstance(dev, dict) else []
    )
    numbers = [value for value in values if isinstance(value, int | float)]
    return (sum(numbers) / len(numbers), "dev") if numbers else (None, None)


def _age(fact: dict[str, Any]) -> str:
    try:
        then = datetime.fromisoformat(fact["finished"] or fact["started"])
    except (TypeError, ValueError):
        return ""
    seconds = max(1.0, (datetime.now(UTC) - then).total_seconds())
    length, unit = next((length, unit) for length, unit in UNITS if seconds >= length)
    return f"{seconds // length:.0f} {unit}"


def _about(run: Run) -> Table:
    manifest = run.manifest
    base = manifest.get("base_model", {})
    rows: list[list[Cell]] = [
        ["status", run.status],
        ["folder", str(run.path)],
        ["problem", run.problem or manifest.get("error")],
        ["base model", " ".join(str(base[key]) for key in ("id", "revision", "fingerprint") if base.get(key))],
        ["seed", str(manifest.get("seed", ""))],
        ["parents", ", ".join(manifest.get("parents", ()))],
        ["started", manifest.get("started")],
        ["finished", manifest.get("finished")],
        ["duration", _duration(manifest)],
        ["data", ", ".join(f"{name} {str(value)[:12]}" for name, value in manifest.get("data", {}).items())],
        ["versions", ", ".join(f"{name} {value}" for name, value in manifest.get("versions", {}).items())],
        ["predictions", ", ".join(run.predicted())],
    ]
    return Table(run.name, ["fact", "value"], [row for row in rows if row[1]])


def _duration(manifest: dict[str, Any]) -> str:
    from adaptxfer._progress import duration_text

    return duration_text(manifest["duration_s"]) if manifest.get("duration_s") else ""


def _request(run: Run) -> Table:
    rows = [[key, _value(run.asked(key)), _origin(entry)] for key, entry in run.manifest["request"].items()]
    return Table("Request", ["option", "value", "from"], rows)


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _origin(entry: Any) -> str:
    return str(entry.get("from", "")) if isinstance(entry, dict) else ""


def _refuse_training(run: Run) -> None:
    if run.manifest and run.manifest.get("kind") != "evaluate":
        raise use_error(
            f"{run.name} trains and has no scores by language to compare.",
            "Give the evaluate runs that `adaptxfer runs list --kind evaluate` shows.",
        )


def _two_settings(found: list[Record]) -> tuple[list[Record], list[Record]]:
    """Baseline and the other setting.

    Raises:
        AdaptxferError: unless there are exactly two settings.
    """
    if len(found) == 2:
        groups = [[record] for record in found]
    else:
        settings = {(r.task, r.method, r.how, r.intermediates): None for r in found}
        groups = [[r for r in found if (r.task, r.method, r.how, r.intermediates) == key] for key in settings]
    if len(groups) != 2:
        raise use_error(
            f"A comparison needs runs of two settings, found {len(groups)}.",
            "Runs of one task, method and composition are one setting, whatever their seeds.",
        )
    first, second = groups
    return (second, first) if first[0].intermediates and not second[0].intermediates else (first, second)
