"""Merging bundles into one bundle that is used like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adaptxfer.console import console
from adaptxfer.encoder.load import Encoder, load_encoder
from adaptxfer.errors import use_error
from adaptxfer.evaluation.evaluate import DevSet, Setting
from adaptxfer.evaluation.score import main_metric
from adaptxfer.files import check_name
from adaptxfer.modules.bundle import Bundle, check_base, read_bundle, save_bundle
from adaptxfer.modules.composition import Leaf
from adaptxfer.modules.recipe import Recipe
from adaptxfer.runs.plan import find_task
from adaptxfer.runs.quiet import quiet_libraries
from adaptxfer.runs.run import OpenRun, Run
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.stage import Stage, bundle_identity, data_identity, model_identity
from adaptxfer.runs.store import RunStore
from adaptxfer.tasks.load import with_labels
from adaptxfer.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from adaptxfer.modules.heads import HeadSpec
    from adaptxfer.modules.model import AdaptedModel

KIND = "merged"
BATCH_TOKENS = 16384
DEV_LIMIT = 1000


@dataclass(frozen=True)
class MergeStage(Stage):
    """Merge single modules of one method and base model.

    Attributes:
        bundles: what is merged.
        recipe: how.
        rank: of a merged LoRA; None for the largest of them.
        task: whose English dev data a soup is tasted on; None for the other ways.
    """

    ask: Ask
    bundles: tuple[Bundle, ...]
    recipe: Recipe
    rank: int | None = None
    task: TaskSpec | None = None

    def identity(self) -> dict[str, Any]:
        """Base model, parts in their order, recipe, and the dev data of a soup."""
        dev = data_identity(self.task, "dev", "en", self.ask.data_dir) if self.task else None
        return {
            "model": model_identity(self.ask),
            "bundles": [bundle_identity(bundle) for bundle in self.bundles],
            "recipe": self.recipe.to_dict(len(self.bundles)),
            "rank": self.rank,
            "dev": [dev, self.ask.dev_limit],
            "name": self.name,
        }

    @property
    def head(self) -> HeadSpec | None:
        """The head that all parts have for their common task; a weighted sum of modules has none."""
        tasks = {bundle.task for bundle in self.bundles}
        heads = [bundle.heads.get(bundle.task) for bundle in self.bundles]
        same = len(tasks) == 1 and all(head == heads[0] for head in heads)
        return heads[0] if same and self.recipe.by != "arithmetic" else None


def plan_merge(
    bundles: Sequence[Bundle], ask: Ask, recipe: Recipe, rank: int | None = None, name: str | None = None
) -> MergeStage:
    """Check that bundles can be merged, before anything is loaded.

    Raises:
        AdaptxferError: if they differ in method or base model, are no single modules, or do not fit ``recipe``.
    """
    recipe.check_count(len(bundles))
    if len({bundle.folder.resolve() for bundle in bundles}) < len(bundles):
        raise use_error("A bundle is named twice.", "Name each bundle once; --weights makes one count more.")
    first = bundles[0]
    for bundle in bundles:
        bundle.single()
        if bundle.method != first.method:
            raise use_error(
                f"{bundle.folder.name} is of method {bundle.method}, {first.folder.name} of {first.method}.",
                "Only modules of one method can be merged.",
            )
        check_base(bundle, first.base)
    if rank is not None and first.method != "lora":
        raise use_error(f"--rank belongs to LoRA modules, these are of method {first.method}.", "Leave it out.")
    if rank is not None and rank < 1:
        raise use_error(f"--rank must be positive, got {rank}.")
    tasks = list(dict.fromkeys(bundle.task for bundle in bundles))
    usual = "-".join([recipe.by, *tasks])
    name = check_name(name or (usual if len(usual) <= 60 else f"{recipe.by}{len(tasks)}"), "--name")
    stage = MergeStage(
        KIND, name, recipe.seed, replace(ask, method=first.method), tuple(bundles), recipe, rank,
    )  # fmt: skip
    return replace(stage, task=_taste(stage)) if recipe.by == "soup" else stage


def _taste(stage: MergeStage) -> TaskSpec:
    """The task whose English dev data decides what goes into a soup."""
    tasks = sorted({bundle.task for bundle in stage.bundles})
    if stage.head is None:
        raise use_error(
            f"--by soup needs bundles of one task with the same head, these are of {', '.join(tasks)}.",
            "Give repeats of one task (seeds, settings), or use --by average or ties.",
        )
    task = with_labels(find_task(tasks[0], stage.ask, "target" if _is_target(stage) else "intermediate"),
                       stage.ask.data_dir)  # fmt: skip
    if task.kind != stage.head.kind:
        raise use_error(f"The heads are of kind {stage.head.kind}, {task.name} is of kind {task.kind}.",
                        "A soup of dual encoders is not tasted; use --by average.")  # fmt: skip
    return replace(task, labels=stage.head.labels or task.labels)


def _is_target(stage: MergeStage) -> bool:
    return Run(stage.bundles[0].folder).manifest.get("kind") == "target"


def run_merge(stage: MergeStage) -> Bundle:
    """Merge, or return the bundle if that was done before.

    Raises:
        AdaptxferError: for modules that do not fit together or another base model.
    """
    store = RunStore(stage.ask.runs)
    found = store.look(stage.kind, stage.name, stage.hash)
    if found is not None and found.status == "finished" and not stage.ask.fresh:
        console().note(f"{found.name} is finished already.")
        return read_bundle(found.path)
    with store.open(stage.kind, stage.name, stage.hash, fresh=stage.ask.fresh) as run:
        return _merge(stage, run) if run.status != "finished" else read_bundle(run.path)


def _merge(stage: MergeStage, run: OpenRun) -> Bundle:
    from adaptxfer.modules.merge import Merger
    from adaptxfer.modules.model import AdaptedModel, make_method

    encoder = load_encoder(stage.ask.model, stage.ask.revision, stage.ask.base_precision)
    for bundle in stage.bundles:
        check_base(bundle, encoder.base)
    with quiet_libraries():
        method = make_method(stage.bundles[0].method, encoder.network)
        merger = Merger(method, stage.name, [bundle.module_folder(bundle.single()) for bundle in stage.bundles],
                        stage.rank)  # fmt: skip
        method.activate(Leaf(stage.name))
    model = AdaptedModel(method, _heads(stage))
    chosen, soup = list(range(len(stage.bundles))), []
    kept = _fill(stage, merger, model, chosen)  # what does not fit together is refused before the run begins
    run.start(_request(stage), seed=stage.seed, base_model=encoder.base.to_dict(), data={},
              parents=[bundle.folder.name for bundle in stage.bundles])  # fmt: skip
    if stage.task is not None:
        chosen, soup = _cook(stage, run, encoder, merger, model)
        kept = _fill(stage, merger, model, chosen)
    bundle = save_bundle(
        model,
        Bundle(run.path, encoder.base, stage.bundles[0].method, Leaf(stage.name), stage.name,
               {stage.name: stage.head} if stage.head else {}, _options(stage, merger)),
    )  # fmt: skip
    run.finish({"merge": {"parts": _parts(stage, chosen), "rank": merger.rank, "kept": round(kept, 6), "soup": soup}})
    return bundle


def _heads(stage: MergeStage) -> dict[str, Any]:
    from adaptxfer.modules.heads import build_head

    return {stage.name: build_head(stage.head, 0, stage.name)} if stage.head else {}


def _fill(stage: MergeStage, merger: Any, model: AdaptedModel, chosen: Sequence[int]) -> float:
    """Module and head merged from the chosen parts; what a LoRA's rank keeps of the update."""
    from adaptxfer.modules.merge import merge
    from adaptxfer.modules.weights import copy_into, read_tensors

    if stage.head is not None:
        found = []
        for i in chosen:
            bundle = stage.bundles[i]
            tensors = read_tensors(bundle.folder / "head.safetensors")
            own = f"{bundle.task}."
            found.append({stage.name + key[len(own) - 1 :]: v for key, v in tensors.items() if key.startswith(own)})
        copy_into(model.heads.state_dict(), merge(found, Recipe("average", stage.recipe.weights)).weights, "the head")
    return merger.fill(stage.recipe, chosen)


def _cook(
    stage: MergeStage, run: OpenRun, encoder: Encoder, merger: Any, model: AdaptedModel
) -> tuple[list[int], list[dict[str, Any]]]:
    """Parts of a greedy soup: best first, each stays if the dev score of the average does not fall."""
    import torch

    assert stage.task is not None
    length = Run(stage.bundles[0].folder).asked("max_length")
    setting = Setting(encoder.tokenizer, stage.ask.data_dir, BATCH_TOKENS, length if isinstance(length, int) else None,
                      stage.ask.dev_limit or DEV_LIMIT)  # fmt: skip
    dev = DevSet(replace(stage.task, name=stage.name), setting, stage.task)
    run.update(data={f"{stage.task.name}/dev": dev.fingerprint})
    model.to("cuda" if torch.cuda.is_available() else "cpu")

    def score(parts: Sequence[int]) -> float:
        _fill(stage, merger, model, parts)
        return dev(model)

    alone = [score([i]) for i in range(len(stage.bundles))]
    chosen: list[int] = []
    best, told = -1.0, []
    for i in sorted(range(len(alone)), key=lambda i: -alone[i]):
        with_it = score([*chosen, i]) if chosen else alone[i]
        stays = with_it >= best
        if stays:
            chosen, best = [*chosen, i], with_it
        told.append({"run": stage.bundles[i].folder.name, "alone": alone[i], "with": with_it, "stays": stays})
    run.update(dev={stage.name: {main_metric(stage.task): best, "n": len(dev.examples.items),
                                 "main": main_metric(stage.task)}})  # fmt: skip
    return chosen, told


def _options(stage: MergeStage, merger: Any) -> dict[str, Any]:
    """Options of the parts where they agree; a LoRA has its own rank and the scale of the first."""
    first, *rest = [dict(bundle.options) for bundle in stage.bundles]
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in rest)}
    if merger.rank is None:
        return shared
    alpha = merger.rank * merger.method.scale(merger.folders[0])
    return {**shared, "r": merger.rank, "alpha": int(alpha) if alpha == int(alpha) else alpha}


def _request(stage: MergeStage) -> dict[str, dict[str, Any]]:
    asked = {
        "tasks": list(dict.fromkeys(bundle.task for bundle in stage.bundles)),
        "how": "merge",
        "intermediates": [bundle.folder.name for bundle in stage.bundles],
        **stage.recipe.to_dict(len(stage.bundles)),
    }
    asked |= {"rank": stage.rank} if stage.rank is not None else {}
    return stage.ask.to_request() | {name: {"value": value, "from": "command"} for name, value in asked.items()}


def _parts(stage: MergeStage, chosen: Sequence[int]) -> list[dict[str, Any]]:
    shares = stage.recipe.shares(len(chosen))
    found = []
    for share, i in zip(shares, chosen, strict=True):
        bundle = stage.bundles[i]
        seed = Run(bundle.folder).manifest.get("seed")
        found.append({"run": bundle.folder.name, "task": bundle.task, "seed": seed, "weight": share})
    return found
