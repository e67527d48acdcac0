"""The record table of a folder of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from adaptxfer.errors import AdaptxferError, data_error
from adaptxfer.files import content_hash
from adaptxfer.runs.records import Record, read_record
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import ARRANGED, UNHASHED
from adaptxfer.runs.store import RunStore
from adaptxfer.studies.pairs import OWN_SCORE, STEPS
from adaptxfer.studies.table import NONE, RecordTable, Row, read_csv

OWN_METRICS = (
    "accuracy", "macro_f1", "mcc", "nll", "ece", "entailment_contrast", "entailment_auroc", "representation_contrast",
    "majority",
)  # fmt: skip
"""What a classifying intermediate's dev set tells beside its main score."""

NOT_COMPARED = {*ARRANGED, *UNHASHED, "dev_limit", "languages", "task", "tasks", "method"}
"""Parts of a request that say what a run is of, or cannot change its scores: not part of the settings."""


def read_table(source: Path) -> RecordTable:
    """The record table of a CSV file, or of a folder of runs.

    Raises:
        AdaptxferError: if there is nothing to read, or a table has faults.
    """
    if source.is_dir():
        return collect(source)
    if not source.exists():
        raise data_error(f"{source} does not exist.", "Give a folder of runs or a CSV table.")
    return read_csv(source)


def collect(root: Path) -> RecordTable:
    """One row per language of each finished evaluate run under ``root``, status measured.

    Intermediate runs of one task add a row of study ``intermediate``: the English dev score of the module itself.
    Where several runs fill one cell the newest counts, and a note says so.

    Raises:
        AdaptxferError: if no run has scores.
    """
    store = RunStore(root)
    runs = {run.name: run for run in store.list()}
    cells: dict[tuple[Any, ...], Row] = {}
    modules = store.find_finished("intermediate")
    marks = checkpoints(modules)
    notes: dict[str, None] = _told(modules, marks)
    scored = store.find_finished("evaluate")  # newest first
    methods = _methods(scored)
    for run in scored:
        try:
            rows = list(_rows(run, runs, marks, methods))
        except AdaptxferError as error:
            notes[f"{run.name} is left out: {error.message}"] = None
            continue
        for row in rows:
            kept = cells.setdefault(row.cell(), row)
            if kept is not row:
                notes[
                    f"{row.run} is older than {kept.run} and asks for the same: left out where both have a score."
                ] = None
    for run in modules:
        for row in _own_scores(run, marks.get(run.name, "")):
            cells.setdefault(row.cell(), row)
    if not any(row.study != OWN_SCORE for row in cells.values()):
        raise data_error(f"{root} holds no finished evaluate run.", "`adaptxfer transfer` leaves one.")
    return RecordTable(tuple(cells.values()), tuple(notes))


def checkpoints(modules: Sequence[Run]) -> dict[str, str]:
    """By name of its run the steps of each module that others of its task, base model and method outlast."""
    lengths: dict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    for run in modules:
        if isinstance(steps := run.manifest.get("training", {}).get("steps"), int):
            kind = (run.manifest["name"], run.manifest["base_model"].get("id"), run.asked("method"))
            lengths[kind][run.name] = steps
    return {
        name: str(steps) for by in lengths.values() for name, steps in by.items() if steps < max(by.values())
    }  # fmt: skip


def _told(modules: Sequence[Run], marks: Mapping[str, str]) -> dict[str, None]:
    names = sorted({str(run.manifest["name"]) for run in modules if run.name in marks})
    told = "trained for several lengths; the longest counts as the intermediate, shorter ones as its checkpoints."
    return {f"{', '.join(names)}: {told}": None} if names else {}


def _methods(scored: Sequence[Run]) -> dict[str, list[str]]:
    """By base model the methods of runs with something trained."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for run in scored:
        if run.manifest["parents"]:
            found[_backbone(run)][str(run.asked("method"))] = None
    return {name: list(by) for name, by in found.items()}


def _backbone(run: Run) -> str:
    return str(run.manifest["base_model"].get("id") or run.asked("model") or "")


def _rows(
    run: Run, runs: Mapping[str, Run], marks: Mapping[str, str], methods: Mapping[str, Sequence[str]]
) -> Iterator[Row]:
    """Rows of an evaluate run; the bare encoder, with nothing trained, is the baseline of every method."""
    record = read_record(run)
    parents = _ancestors(run, runs)
    modules = [r for r in parents if r.manifest["kind"] == "intermediate"]
    trained = {r.manifest["seed"] for r in modules}
    shared = {
        "backbone": _backbone(run),
        "n_params": size if isinstance(size := run.manifest.get("n_params"), int) else None,
        "how": record.how if record.intermediates else NONE,
        "intermediate": _label(record, run, runs),
        "intermediate_checkpoint": "+".join(sorted({marks[r.name] for r in modules if r.name in marks})),
        "intermediate_seed": trained.pop() if len(trained) == 1 else None,
        "settings": _settings(run, parents),
        "run": run.name,
    }
    of = [] if run.manifest["parents"] else methods.get(shared["backbone"], [])
    for method, (language, values) in product(of or [record.method], record.languages.items()):
        n, split = record.examples(language)
        file = run.path / "predictions" / f"{language}.jsonl"
        yield Row(
            record.task, language, record.metric, float(values[record.metric]), record.seed, status="measured",
            method=method, split=split, n_items=n, items=str(file) if file.exists() else "", **shared,
        )  # fmt: skip


def _own_scores(run: Run, checkpoint: str) -> Iterator[Row]:
    dev, training = run.manifest.get("dev"), run.manifest.get("training", {})
    if not isinstance(dev, dict) or len(dev) != 1:  # of several tasks none speaks for the module
        return
    ((task, scores),), name = dev.items(), str(run.manifest["name"])
    main = scores.get("main") if isinstance(scores, dict) else None
    for metric in dict.fromkeys((main, *OWN_METRICS, STEPS)):  # the main one first: it is the intermediate's own score
        value = training.get(STEPS) if metric == STEPS else scores.get(metric)
        if main and isinstance(value, int | float):
            yield Row(
                task, "en", str(metric), float(value), run.manifest["seed"], name, "measured", OWN_SCORE,
                str(run.manifest["base_model"].get("id") or ""), None, str(run.asked("method") or ""), split="dev",
                intermediate_checkpoint=checkpoint, n_items=scores.get("n"), settings=content_hash(_compared(run)),
                run=run.name,
            )  # fmt: skip


def _label(record: Record, run: Run, runs: Mapping[str, Run]) -> str:
    """Names of the intermediate modules; of several one after the other, sorted.

    As their runs are called where these lie in the folder, for a module of several tasks is more than its first one.
    """
    names = list(record.intermediates)
    trained = [runs.get(name) for name in run.manifest["parents"]]
    below = [name for r in trained if r and r.manifest["kind"] == "target" for name in r.manifest["parents"]]
    modules = [runs.get(name) for name in below] or [r for r in trained if r and r.manifest["kind"] != "target"]
    if len(modules) == len(names) and all(module and module.manifest for module in modules):
        names = [str(module.manifest["name"]) for module in modules if module]
    return "+".join(sorted(names)) or NONE


def _ancestors(run: Run, runs: Mapping[str, Run]) -> list[Run]:
    """Readable runs that ``run`` builds on, directly or not, as far as they lie in the folder."""
    found: dict[str, Run] = {}
    waiting = list(run.manifest["parents"])
    while waiting:
        parent = runs.get(waiting.pop())
        if parent is not None and parent.manifest and parent.name not in found:
            found[parent.name] = parent
            waiting += parent.manifest["parents"]
    return list(found.values())


def _settings(run: Run, parents: list[Run]) -> str:
    """A hash of how the target was trained and scored; gains compare equal settings only."""
    targets = [parent for parent in parents if parent.manifest["kind"] == "target"]
    return content_hash([_compared(item) for item in (run, *targets)])


def _compared(run: Run) -> dict[str, Any]:
    """Fusion has a default learning rate of its own, so only one that was asked for counts."""
    request: dict[str, Any] = run.manifest["request"]
    names = set(request) - NOT_COMPARED
    if request.get("learning_rate", {}).get("from") != "you":
        names.discard("learning_rate")
    return {name: run.asked(name) for name in sorted(names)}
