"""The main job: an intermediate bundle (or none) to a target task, trained in English, scored in every language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptxfer.console import console
from adaptxfer.errors import use_error
from adaptxfer.evaluation.evaluate import evaluation_languages
from adaptxfer.modules.bundle import Bundle, read_bundle
from adaptxfer.modules.composition import check_works
from adaptxfer.runs.evaluate import run_evaluation
from adaptxfer.runs.plan import bundle_folder, check_parents, find_task, is_trained, plan_evaluation, plan_target
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import ARRANGED, UNHASHED, Ask, model_name
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
            intermediates=[bundle.called() for bundle in self.bundles],
            settings=self.training.settings if self.training else None,
        )  # fmt: skip

    def check_evaluation(self) -> None:
        """Find out before the training whether there is something to score.

        Raises:
            AdaptxferError: for a language, split or layer that does not exist.
        """
        if self.training is None:
            self.evaluation(None)
            return
        if self.wish.layer is not None:
            raise use_error("--layer belongs to untrained retrieval.", f"{self.task.name} is scored through its head.")
        evaluation_languages(self.task, self.ask.data_dir, self.wish.languages, self.wish.split)

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
    if wish.how == "none" and wish.bundles:
        raise use_error("--how none uses no intermediate, but --from names one.", "Leave out --from or change --how.")
    if wish.how is not None:
        check_works(wish.how, ask.method)
    bundles = [] if wish.how == "none" else _bundles(wish, ask, seed)
    how = wish.how or default_how(ask.method, len(bundles))
    training = None
    if not is_trained(task):
        check_parents(task, ask, how, bundles, wish.own_module)
    else:
        training = plan_target(task, ask, seed, how, bundles, wish.own_module)
    plan = Transfer(task, how, tuple(bundles), training, wish, ask, seed)
    plan.check_evaluation()
    return plan


def default_how(method: str, bundles: int) -> str:
    """What happens without ``--how``: stack (full: continue) for one bundle; fuse (else merge) for several."""
    if bundles > 1:
        return "fuse" if method == "bottleneck" else "merge"
    return "continue" if method == "full" else "stack"


def _bundles(wish: Wish, ask: Ask, seed: int) -> list[Bundle]:
    store = RunStore(ask.runs)
    if wish.bundles:
        folders = [bundle_folder(str(text), ask.runs) for text in wish.bundles]
        return [read_bundle(_of_seed(store, folder, seed)) for folder in _distinct(folders)]
    newest = store.newest_intermediate(model_name(ask.model), ask.method)
    if newest is None:
        raise use_error(
            f"There is no intermediate bundle for {ask.model} and --method {ask.method} in {ask.runs}.",
            "Train one (adaptxfer train-intermediate TASK), name one with --from, or use --how none for the baseline.",
        )
    chosen = read_bundle(_of_seed(store, newest.path, seed))
    console().note(f"Using {chosen.folder.name}, the newest intermediate bundle for this model and method.")
    return [chosen]


def _distinct(folders: list[Path]) -> list[Path]:
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise use_error("--from names one bundle twice.", "Name each bundle once.")
    return folders


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
    if not siblings:
        console().note(
            f"{run.name} (seed {run.manifest['seed']}) has no repeat with seed {seed}; it is used all the same."
        )
    return siblings[0] if siblings else folder


def find_baseline(run: Run, store: RunStore) -> Run | None:
    """The finished evaluation of the same task and seed without intermediate, trained with the same settings."""
    if run.asked("how") == "none":
        return None
    apart = {*ARRANGED, *UNHASHED}
    if run.asked("how") == "fuse":  # a fusion has its own usual rate
        apart.add("learning_rate")
    wanted = _comparable(run, store, apart)
    for other in store.find_finished("evaluate", task=run.asked("task"), how="none", method=run.asked("method")):
        same_seed = other.manifest["seed"] == run.manifest["seed"]
        if same_seed and _share_data(run, other) and _comparable(other, store, apart) == wanted:
            return other
    return None


def _share_data(run: Run, other: Run) -> bool:
    """Whether two evaluations have languages in common, and those are of the same examples."""
    one, two = run.manifest["data"], other.manifest["data"]
    shared = one.keys() & two.keys()
    return bool(shared) and all(one[key] == two[key] for key in shared)


def _comparable(run: Run, store: RunStore, apart: set[str]) -> dict[str, object]:
    """What must agree between a run and its baseline: all that was asked but what is in ``apart``."""
    keys = ("limit", "max_length", "split", "layers", "base_precision")
    same: dict[str, object] = {key: run.asked(key) for key in keys}
    same["base_model"] = run.manifest["base_model"]
    for parent in run.manifest["parents"]:
        trained = Run(store.root / parent)
        if trained.manifest.get("kind") == "target":
            asked = {key: trained.asked(key) for key in trained.manifest["request"] if key not in apart}
            same["training"] = (asked, trained.manifest["data"])
    return same


def repeat(wish: Wish, ask: Ask, seeds: Sequence[int]) -> list[Run]:
    """The transfer once per seed; nothing starts before all of them are planned."""
    return [plan.run() for plan in [plan_transfer(wish, ask, seed) for seed in seeds]]
