"""The public functions; the command line calls these and nothing else.

import adaptxfer as ax

bundle = ax.train_intermediate("hellaswag", model="mini", data_dir="data")
result = ax.transfer("xcopa", [bundle], model="mini", data_dir="data")
print(result.to_markdown())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from adaptxfer.console import Table
from adaptxfer.embedded import encoder_dir
from adaptxfer.errors import AdaptxferError, nearest, use_error
from adaptxfer.hub.pull import fetch
from adaptxfer.modules.bundle import Bundle, read_bundle
from adaptxfer.modules.recipe import Recipe
from adaptxfer.runs.evaluate import run_evaluation
from adaptxfer.runs.merge import KIND as MERGED
from adaptxfer.runs.merge import MergeStage, plan_merge, run_merge
from adaptxfer.runs.plan import bundle_folder, find_task, plan_evaluation, plan_intermediate, plan_separately
from adaptxfer.runs.records import Comparison, Record, compare, intermediates_of, read_record
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.stage import Mixture
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.tables import comparison_document, domain_table, gain_table, scores_table
from adaptxfer.runs.together import bundles_of, run_together
from adaptxfer.runs.train import run_training
from adaptxfer.runs.transfer import Wish, default_how, find_baseline, repeat
from adaptxfer.tasks.find import list_tasks, load_task
from adaptxfer.tasks.spec import TaskSpec

__all__ = [
    "AdaptxferError",
    "Bundle",
    "Result",
    "TaskSpec",
    "evaluate",
    "list_tasks",
    "load_bundle",
    "load_task",
    "merge",
    "train_intermediate",
    "train_separately",
    "transfer",
]


@dataclass(frozen=True)
class Result:
    """Scores of one transfer or evaluation over its seeds, with the baseline runs where they exist."""

    runs: tuple[Run, ...]
    baselines: tuple[Run, ...] = ()

    @cached_property
    def records(self) -> list[Record]:
        """One record per seed."""
        return [read_record(run) for run in self.runs]

    @cached_property
    def comparison(self) -> Comparison | None:
        """Gains over the baseline, if every seed has one and there is a score to compare."""
        if len(self.baselines) != len(self.runs) or not all(record.languages for record in self.records):
            return None
        return compare([read_record(run) for run in self.baselines], self.records)

    def tables(self) -> list[Table]:
        """What the command line shows: the scores, by domain where they are known, and gains if there is a baseline."""
        domains = domain_table(self.records)
        gains = gain_table(self.comparison) if self.comparison else None
        return [table for table in (scores_table(self.records), domains, gains) if table]

    def to_markdown(self) -> str:
        """All tables as Markdown."""
        return "\n\n".join(table.to_markdown() for table in self.tables())

    def to_dict(self) -> dict[str, Any]:
        """Scores by run and the gains, for ``--json``."""
        document: dict[str, Any] = {
            "schema": 1,
            "runs": [{"run": run.name, "seed": run.manifest["seed"], "scores": run.read_scores()} for run in self.runs],
        }
        if self.comparison:
            document["gain"] = comparison_document(self.comparison)
        return document


def make_ask(**options: Any) -> Ask:
    """Options by keyword as an `Ask`; paths may be text.

    Raises:
        AdaptxferError: for an option that does not exist, with the nearest name.
    """
    known = {item.name for item in fields(Ask)}
    if unknown := sorted(set(options) - known):
        raise use_error(f"There is no option {unknown[0]!r}.", nearest(unknown[0], known))
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("data_dir", "runs"):
        if name in given:
            given[name] = Path(given[name])
    if "data_dir" in given and not given["data_dir"].is_dir():
        raise use_error(f"--data-dir {given['data_dir']} is not a folder.", "Give the folder that holds the data.")
    for name in ("tasks", "target_modules"):
        if name in given:
            given[name] = tuple(given[name])
    return Ask(**given)


def train_intermediate(
    *tasks: str,
    seed: int = 1,
    sampler: str = "capped",
    translated: Sequence[str] = (),
    mlm: Sequence[str | Path] = (),
    mlm_weight: float = 0.5,
    skip_missing: bool = False,
    sham: bool = False,
    **options: Any,
) -> Bundle:
    """Train a module on an intermediate task, or one module on several tasks together.

    Args:
        tasks: names of intermediate tasks.
        seed: of initialisation, data order and dropout.
        sampler: how several tasks are mixed: proportional, capped, sqrt, temperature, uniform.
        translated: train on the data in these languages (machine translations) instead of English; name "en" to add it.
        mlm: text files named by language (``sw.txt``) for continued masked-language modelling.
        mlm_weight: share of the steps that go to it.
        skip_missing: leave out tasks without data here, and say so.
        sham: shuffle the labels: the control that has seen everything but the task (see `adaptxfer.tasks.sham`).
        options: as on the command line, e.g. ``model``, ``method``, ``data_dir``, ``runs``, ``epochs``, ``limit``.

    Raises:
        AdaptxferError: with what was expected, found, and what to do.
    """
    if not tasks:
        raise use_error("No task was named.", "See `adaptxfer tasks list`.")
    mixture = make_mixture(sampler, translated, mlm, mlm_weight, sham)
    return run_training(plan_intermediate(tasks, make_ask(**options), seed, mixture, skip_missing))


def train_separately(
    *tasks: str,
    seeds: Sequence[int] = (1,),
    translated: Sequence[str] = (),
    mlm: Sequence[str | Path] = (),
    mlm_weight: float = 0.5,
    skip_missing: bool = False,
    sham: bool = False,
    **options: Any,
) -> list[Bundle]:
    """Train one module for each task and seed, all at once over one frozen encoder.

    Each is what `train_intermediate` gives for its task and seed alone, up to rounding, and lies in the same run
    folder: what is finished is not trained again, whichever of the two trained it.

    Args:
        tasks: names of intermediate tasks.
        seeds: one module each.
        translated: as for `train_intermediate`, like the rest.
        mlm: text files for continued masked-language modelling, mixed into every module.
        mlm_weight: share of the steps that go to it.
        skip_missing: leave out tasks without data here, and say so.
        sham: shuffle the labels.
        options: as on the command line; ``batch_tokens`` bounds the forward pass of all of them together.

    Raises:
        AdaptxferError: if some failed, after the others are finished.
    """
    if not tasks:
        raise use_error("No task was named.", "See `adaptxfer tasks list`.")
    mixture = make_mixture("capped", translated, mlm, mlm_weight, sham)
    stages = plan_separately(tasks, make_ask(**options), seeds, mixture, skip_missing)
    return bundles_of(stages, run_together(stages))


def make_mixture(
    sampler: str, translated: Sequence[str], mlm: Sequence[str | Path], mlm_weight: float, sham: bool = False
) -> Mixture:
    """What an intermediate training draws from, from plain values."""
    return Mixture(sampler, tuple(translated) or ("en",), tuple(Path(path) for path in mlm), mlm_weight, sham)


def transfer(
    to: str,
    bundles: Sequence[Bundle | str | Path] = (),
    how: str | None = None,
    *,
    seeds: Sequence[int] = (1,),
    own_module: bool = False,
    languages: Sequence[str] | None = None,
    split: str | None = None,
    layer: str | int | None = None,
    eval_limit: int | None = None,
    **options: Any,
) -> Result:
    """Train for a target task on top of intermediate bundles and score it zero-shot in every language.

    Args:
        to: the target task.
        bundles: intermediate bundles or their run folders; none takes the newest for the model and method.
        how: none (the baseline), continue, stack, fuse or merge; None chooses by method and number of bundles.
        seeds: one run per seed.
        own_module: with fuse, add a module of the target's own above the fusion.
        languages: a subset of the task's languages.
        split: dev or test; None takes test where it is labelled, else dev.
        layer: retrieval only, the hidden state to embed with, or "all".
        eval_limit: score only the first examples of each language.
        options: as on the command line.

    Raises:
        AdaptxferError: with what was expected, found, and what to do.
    """
    ask = make_ask(**options)
    places = tuple(_place(item, ask.runs, ask.model) for item in bundles)
    wish = Wish(
        to, places, how, own_module, _tuple(languages), split, None if layer is None else str(layer), eval_limit
    )
    runs = repeat(wish, ask, seeds)
    return with_baselines(runs, ask)


def evaluate(
    bundle: Bundle | str | Path,
    on: str,
    *,
    languages: Sequence[str] | None = None,
    split: str | None = None,
    layer: str | int | None = None,
    eval_limit: int | None = None,
    **options: Any,
) -> Result:
    """Score a bundle as it is on a target task of the same kind (or embed with it for retrieval).

    Raises:
        AdaptxferError: if the bundle's head does not fit the task, or the data cannot be used.
    """
    runs = Path(options.get("runs") or "runs")
    folder = bundle_folder(_place(bundle, runs, options.get("model")), runs)
    found = read_bundle(folder)
    if options.get("model") is None:
        options |= {"model": base_place(found), "revision": found.base.revision}
    run = Run(folder)
    held = options.get("base_precision") or run.asked("base_precision")
    ask = make_ask(**{**options, "method": found.method, "base_precision": held})
    task = find_task(on, ask, "target")
    how, intermediates = str(run.asked("how") or "none"), list(intermediates_of(run))
    if run.manifest.get("kind") == MERGED:
        intermediates = [found.called()]
    if task.kind != "retrieve":
        ask = replace(ask, max_length=run.asked("max_length"))
    elif how in ("none", "merge"):  # embedding with a module is using it
        how, intermediates = default_how(found.method, 1), [found.called()]
    stage = plan_evaluation(
        task, ask, run.manifest.get("seed", 0), how, (found,), head=found.task, languages=_tuple(languages),
        split=split, layer=None if layer is None else str(layer), limit=eval_limit, intermediates=intermediates,
    )  # fmt: skip
    return with_baselines([run_evaluation(stage)], ask)


def merge(
    bundles: Sequence[Bundle | str | Path],
    by: str = "average",
    *,
    weights: Sequence[float] = (),
    density: float | None = None,
    drop: float | None = None,
    seed: int = 1,
    rank: int | None = None,
    name: str | None = None,
    **options: Any,
) -> Bundle:
    """Merge modules of one method and base model into one, which is used like any other.

    Args:
        bundles: single modules: bundles, run folders, names, or ``hub:owner/name``.
        by: average, arithmetic, ties, dare, or soup (greedy, on the English dev data of their common task).
        weights: one number per bundle; negative ones with arithmetic take a task away.
        density: ties, the share of weights that is kept (0.2).
        drop: dare, the share of weights that is dropped (0.5).
        seed: dare, of the dropping.
        rank: of a merged LoRA; None for the largest of the bundles. The sum of their ranks makes weighted sums exact.
        name: of the merged module.
        options: ``model``, ``runs``, ``data_dir``, ``tasks``, ``dev_limit``, ``fresh``.

    Raises:
        AdaptxferError: for modules that do not fit together, with what works instead.
    """
    return run_merge(make_merge(bundles, Recipe(by, tuple(weights), density, drop, seed), rank, name, options))


def make_merge(
    bundles: Sequence[Bundle | str | Path], recipe: Recipe, rank: int | None, name: str | None, options: dict[str, Any]
) -> MergeStage:
    """The stage of a merge from plain values; nothing is loaded.

    Raises:
        AdaptxferError: as `merge`.
    """
    runs = Path(options.get("runs") or "runs")
    found = [read_bundle(bundle_folder(_place(item, runs, options.get("model")), runs)) for item in bundles]
    if found and options.get("model") is None:
        options = {**options, "model": base_place(found[0]), "revision": found[0].base.revision}
    return plan_merge(found, make_ask(**options), recipe, rank, name)


def base_place(bundle: Bundle) -> str:
    """Where the base model of a bundle is: its Hub id or the embedded one.

    Raises:
        AdaptxferError: if it was a folder, whose place is not recorded.
    """
    base = bundle.base
    if base.revision is None and encoder_dir(base.id) is None:
        raise use_error(
            f"{bundle.folder.name} was trained on the base model {base.id}, which was a folder.",
            "Give that folder with --model.",
        )
    return base.id


def load_bundle(folder: str | Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        AdaptxferError: if it is missing, damaged or changed.
    """
    return read_bundle(Path(folder))


def with_baselines(runs: Sequence[Run], ask: Ask) -> Result:
    """The result of finished runs, with the baseline of each where it exists."""
    store = RunStore(ask.runs)
    found = [find_baseline(run, store) for run in runs]
    return Result(tuple(runs), tuple(run for run in found if run is not None))


def training_report(bundles: Sequence[Bundle]) -> tuple[dict[str, Any], Table]:
    """What finished training runs left: dev scores, steps, time and memory, as a document and as a table."""
    rows, entries = [], []
    for bundle in bundles:
        manifest = Run(bundle.folder).manifest
        for task, scores in manifest["dev"].items():
            facts = manifest["training"]
            rows.append([bundle.folder.name, manifest["seed"], task, round(scores[scores["main"]], 1), facts["steps"],
                         facts["best_step"], round(facts["seconds"], 1)])  # fmt: skip
        entries.append({"run": bundle.folder.name, "folder": str(bundle.folder), "seed": manifest["seed"],
                        "dev": manifest["dev"], "training": manifest["training"]})  # fmt: skip
    columns = ["run", ("seed", "right"), "dev set", ("score", "right"), ("steps", "right"), ("best", "right"),
               ("seconds", "right")]  # fmt: skip
    return {"schema": 1, "runs": entries}, Table("Intermediate modules", columns, rows, "dev scores in points (0-100)")


def _place(bundle: Bundle | str | Path, runs: Path, model: str | None) -> str:
    """Where a bundle lies; ``hub:owner/name[@revision]`` is pulled first."""
    if isinstance(bundle, Bundle):
        return str(bundle.folder)
    return str(fetch(str(bundle), runs, model)) if str(bundle).startswith("hub:") else str(bundle)


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return tuple(values) if values else None
