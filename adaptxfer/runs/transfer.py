"""The main job: an intermediate bundle (or none) to a target task, trained in English, scored in every language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptxfer.errors import use_error
from adaptxfer.modules.bundle import Bundle, read_bundle
from adaptxfer.runs.evaluate import run_evaluation
from adaptxfer.runs.plan import bundle_folder, find_task, plan_evaluation, plan_target
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.stage import EvaluateStage, TrainStage
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.train import run_training
from adaptxfer.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Wish:
    """What to transfer to, from what, and how to score it."""

    to: str
    bundles: tuple[str | Path, ...] = ()
    how: str | None = None
    own_module: bool = False
    languages: tuple[str, ...] | None = None
    split: str | None = None
    layer: str | None = None
    eval_limit: int | None = None


@dataclass(frozen=True)
class Transfer:
    """One seed of a transfer: the stages, the training one absent for retrieval."""

    task: TaskSpec
    how: str
    bundles: tuple[Bundle, ...]
    training: TrainStage | None
    wish: Wish
    ask: Ask
    seed: int

    def evaluation(self, trained: Bundle | None) -> EvaluateStage:
        """The evaluating stage; needs the trained bundle unless the task is retrieval."""
        bundles = self.bundles if trained is None else (trained,)
        return plan_evaluation(
            self.task, self.ask, self.seed, self.how, bundles, head=trained.task if trained else None,
            languages=self.wish.languages, split=self.wish.split, layer=self.wish.layer, limit=self.wish.eval_limit,
            intermediates=[bundle.task for bundle in self.bundles],
            settings=self.training.settings if self.training else None,
        )  # fmt: skip

    def run(self) -> Run:
        """Train what is missing, then score."""
        trained = run_training(self.training) if self.training else None
        return run_evaluation(self.evaluation(trained))


def plan_transfer(wish: Wish, ask: Ask, seed: int) -> Transfer:
    """Choose bundles and composition and check that they fit together, before anything is loaded.

    Without bundles the newest intermediate one of the same base model and method is taken; of a run that was repeated
    over seeds, the one with this seed.

    Raises:
        AdaptxferError: if there is no bundle, or method, composition and bundles do not go together.
    """
    task = find_task(wish.to, ask, "target")
    bundles = [] if wish.how == "none" else _bundles(wish, ask, seed)
    how = wish.how or default_how(ask.method, len(bundles))
    if wish.how == "none" and wish.bundles:
        raise use_error("--how none uses no intermediate, but --from names one.", "Leave out --from or change --how.")
    training = None
    if task.kind != "retrieve":
        training = plan_target(task, ask, seed, how, bundles, wish.own_module)
    return Transfer(task, how, tuple(bundles), training, wish, ask, seed)


def default_how(method: str, bundles: int) -> str:
    """What happens without ``--how``: stack (full: continue) for one bundle; fuse (else merge) for several."""
    if bundles > 1:
        return "fuse" if method == "bottleneck" else "merge"
    return "continue" if method == "full" else "stack"


def _bundles(wish: Wish, ask: Ask, seed: int) -> list[Bundle]:
    store = RunStore(ask.runs)
    if wish.bundles:
        return [read_bundle(_of_seed(store, bundle_folder(str(text), ask.runs), seed)) for text in wish.bundles]
    newest = store.newest_intermediate(model_name(ask.model), ask.method)
    if newest is None:
        raise use_error(
            f"There is no intermediate bundle for {ask.model} and --method {ask.method} in {ask.runs}.",
            "Train one (adaptxfer train-intermediate TASK), name one with --from, or use --how none for the baseline.",
        )
    return [read_bundle(_of_seed(store, newest.path, seed))]


def model_name(model: str) -> str:
    """The id under which a base model is recorded."""
    folder = Path(model).expanduser()
    return folder.resolve().name if folder.is_dir() else model


def _of_seed(store: RunStore, folder: Path, seed: int) -> Path:
    """The repeat of an intermediate run with this seed, or the run itself if there is none."""
    run = Run(folder)
    if run.manifest.get("kind") != "intermediate" or run.manifest["seed"] == seed:
        return folder
    siblings = [
        other.path
        for other in store.find_finished("intermediate")
        if other.manifest["seed"] == seed
        and other.manifest["request"] == run.manifest["request"]
        and other.manifest["base_model"] == run.manifest["base_model"]
        and other.manifest["data"] == run.manifest["data"]
    ]
    return siblings[0] if siblings else folder


def find_baseline(run: Run, store: RunStore) -> Run | None:
    """The finished evaluation of the same task and seed without intermediate, trained with the same settings."""
    if run.asked("how") == "none":
        return None
    wanted = _comparable(run, store)
    for other in store.find_finished("evaluate", task=run.asked("task"), how="none", method=run.asked("method")):
        if other.manifest["seed"] == run.manifest["seed"] and _comparable(other, store) == wanted:
            return other
    return None


def _comparable(run: Run, store: RunStore) -> dict[str, object]:
    """What must agree between a run and its baseline."""
    same: dict[str, object] = {key: run.asked(key) for key in ("limit", "max_length", "split", "layers")}
    same |= {"base_model": run.manifest["base_model"], "data": run.manifest["data"]}
    for parent in run.manifest["parents"]:
        trained = Run(store.root / parent)
        if trained.manifest.get("kind") == "target":
            asked = trained.manifest["request"]
            apart = (
                ("how", "intermediates", "learning_rate")
                if trained.asked("how") == "fuse"
                else ("how", "intermediates")
            )
            same |= {key: entry["value"] for key, entry in asked.items() if key not in apart}
            same["train data"] = trained.manifest["data"]
    return same


def repeat(wish: Wish, ask: Ask, seeds: Sequence[int]) -> list[Run]:
    """The transfer once per seed."""
    return [plan_transfer(wish, ask, seed).run() for seed in seeds]
