"""From a request to stages: which task supplies the data, how intermediates are arranged, how a stage is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaptxfer import ranks
from adaptxfer.console import console
from adaptxfer.data.samplers import RULES
from adaptxfer.encoder.load import ModelHints, check_config, locate, read_hints
from adaptxfer.errors import data_error, nearest, use_error
from adaptxfer.evaluation.evaluate import evaluation_languages
from adaptxfer.evaluation.retrieve import choose_layer
from adaptxfer.modules.bundle import Bundle
from adaptxfer.modules.composition import Leaf, check_how, target_tree
from adaptxfer.runs.settings import Ask, Settings, resolve
from adaptxfer.runs.stage import EvaluateStage, Mixture, TrainStage, text_language
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import available, with_labels
from adaptxfer.tasks.sham import with_sham_labels
from adaptxfer.tasks.spec import TaskSpec


def find_task(name: str, ask: Ask, role: str) -> TaskSpec:
    """A task by name that may play ``role``.

    Raises:
        AdaptxferError: if it does not exist or has another role.
    """
    task = load_task(name, ask.tasks)
    if role not in task.role:
        raise use_error(
            f"{name} is no {role} task.", f"Its role is {', '.join(task.role)}; see `adaptxfer tasks list`."
        )
    return task


def is_trained(task: TaskSpec) -> bool:
    """Whether a task has a training stage: all but retrieval with pooled hidden states."""
    return task.kind != "retrieve" or task.retrieve.pooling == "first"


def model_hints(ask: Ask) -> tuple[ModelHints, int]:
    """What the base model recommends and how many layers it has; fetches a Hub model if it is not here."""
    folder, _, _ = locate(ask.model, ask.revision, weights=False)
    return read_hints(folder), int(check_config(folder)["num_hidden_layers"])


def plan_intermediate(
    names: Sequence[str], ask: Ask, seed: int, mixture: Mixture | None = None, skip_missing: bool = False
) -> TrainStage:
    """The stage that trains one module on one task, or on several together.

    With ``skip_missing`` tasks without data here (licensed files, say) are named and left out.

    Raises:
        AdaptxferError: for a task that does not exist, is no intermediate task or is named twice, or a bad mixture.
    """
    mixture = mixture or Mixture()
    check_mixture(mixture)
    if skip_missing:
        names = _present(names, ask)
    if len(set(names)) != len(names):
        raise use_error(f"A task is named twice: {', '.join(names)}.", "Name each task once.")
    tasks = tuple(with_labels(find_task(name, ask, "intermediate"), ask.data_dir) for name in names)
    if mixture.sham:
        for task in tasks:
            with_sham_labels(task.kind, (), 0)  # refuses kinds that have none
    name = "-".join(names) if len("-".join(names)) <= 60 else f"multi{len(names)}"
    name += "_sham" if mixture.sham else ""
    settings = resolve(ask, tasks[0], model_hints(ask)[0])
    settings.training(seed)  # refuses what is out of range
    return TrainStage(
        "intermediate", name, seed, ask, settings, tasks, tuple(_source(task, ask) for task in tasks),
        name, "none", Leaf(name), mixture=mixture,
    )  # fmt: skip


def plan_separately(
    names: Sequence[str], ask: Ask, seeds: Sequence[int], mixture: Mixture | None = None, skip_missing: bool = False
) -> list[TrainStage]:
    """The stages that train one module for each task and seed.

    Raises:
        AdaptxferError: as `plan_intermediate`.
    """
    if ranks.size() > 1:
        told = f"--separately trains all modules in one process, but {ranks.size()} were started."
        raise use_error(told, "Start it without torchrun or accelerate launch.")
    names = _present(names, ask) if skip_missing else names
    if len(set(names)) != len(names):
        raise use_error(f"A task is named twice: {', '.join(names)}.", "Name each task once.")
    return [plan_intermediate([name], ask, seed, mixture) for seed in seeds for name in names]


def check_mixture(mixture: Mixture) -> None:
    """Refuse a sampler, share or text file that cannot be used.

    Raises:
        AdaptxferError: naming it.
    """
    if mixture.sampler not in RULES:
        raise use_error(f"--sampler {mixture.sampler!r} is unknown.", nearest(mixture.sampler, RULES))
    if not 0 < mixture.mlm_weight < 1:
        raise use_error(f"--mlm-weight is a share between 0 and 1, got {mixture.mlm_weight}.")
    for path in mixture.mlm:
        if not path.is_file():
            raise use_error(f"--mlm {path} is not a file.", "Give text files named by language, such as sw.txt.")
    codes = [text_language(path) for path in mixture.mlm]
    if len(set(codes)) < len(codes):
        raise use_error(f"--mlm names a language twice: {', '.join(codes)}.", "Give one file per language.")


def _present(names: Sequence[str], ask: Ask) -> list[str]:
    """The tasks that have training data here; the others are named."""
    found = {name: "en" in available(load_task(name, ask.tasks), ask.data_dir).get("train", ()) for name in names}
    if left := [name for name, here in found.items() if not here]:
        console().warn(f"No training data here for {', '.join(left)}: left out.")
    if not any(found.values()):
        raise data_error(f"None of {', '.join(names)} has training data here.", "See `adaptxfer tasks check`.")
    return [name for name, here in found.items() if here]


def plan_target(
    task: TaskSpec, ask: Ask, seed: int, how: str, parents: Sequence[Bundle], own_module: bool
) -> TrainStage:
    """The stage that trains for a target task, on the data of the task that supplies its training set.

    Raises:
        AdaptxferError: if the method cannot do ``how``, or a bundle is of another method.
    """
    check_parents(task, ask, how, parents, own_module)
    source = _source(task, ask)
    names = module_names(parents)
    module = source.name if source.name not in names else f"{source.name}_target"
    tree = target_tree(how, module, names, own_module)
    settings = resolve(ask, task, model_hints(ask)[0], how)
    settings.training(seed)  # refuses what is out of range
    return TrainStage(
        "target", source.name, seed, ask, settings, (task,), (source,), module, how, tree, tuple(parents), own_module
    )


def check_parents(task: TaskSpec, ask: Ask, how: str, parents: Sequence[Bundle], own_module: bool = False) -> None:
    """Refuse a composition that method, bundles and task do not allow.

    Raises:
        AdaptxferError: with what works instead.
    """
    check_how(how, ask.method, len(parents), own_module)
    if how == "fuse" and not is_trained(task):
        raise use_error(
            f"--how fuse needs training, and {task.name} is not trained.",
            "Give one bundle, or several and --how merge.",
        )
    for parent in parents:
        parent.single()
        if parent.method != ask.method:
            raise use_error(
                f"{parent.folder.name} was trained with --method {parent.method}, not {ask.method}.",
                f"Use --method {parent.method}.",
            )


def module_names(parents: Sequence[Bundle]) -> list[str]:
    """A name for each intermediate module; a second one of the same name gets a number."""
    names: list[str] = []
    for parent in parents:
        name, number = parent.single(), 2
        while name in names:
            name, number = f"{parent.single()}_{number}", number + 1
        names.append(name)
    return names


def _source(task: TaskSpec, ask: Ask) -> TaskSpec:
    """The task whose English data trains ``task``.

    Raises:
        AdaptxferError: if the two differ in kind or labels.
    """
    if not is_trained(task):
        raise use_error(f"{task.name} is retrieval and is not trained.", "Use `adaptxfer transfer --to` with a bundle.")
    if task.train.task is None or task.train.task == task.name:
        return with_labels(task, ask.data_dir)
    source = with_labels(load_task(task.train.task, ask.tasks), ask.data_dir)
    if (task.kind, source.kind) == ("retrieve", "span"):  # questions find the sentences that answer them
        return source
    if source.kind != task.kind or set(source.labels) != set(task.labels):
        raise data_error(
            f"{task.name} cannot train on {source.name}: kinds or labels differ "
            f"({task.kind} {', '.join(task.labels[:5])} against {source.kind} {', '.join(source.labels[:5])}).",
            f"Correct `train.task` in {task.origin}.",
        )
    return source


def plan_evaluation(
    task: TaskSpec,
    ask: Ask,
    seed: int,
    how: str,
    bundles: Sequence[Bundle],
    *,
    head: str | None = None,
    languages: Sequence[str] | None = None,
    split: str | None = None,
    layer: str | None = None,
    limit: int | None = None,
    intermediates: Sequence[str] = (),
    settings: Settings | None = None,
) -> EvaluateStage:
    """The stage that scores a bundle (or for retrieval a composition) on a target task.

    Raises:
        AdaptxferError: for languages, splits or layers that do not exist, or a bundle whose head does not fit.
    """
    hints, depth = model_hints(ask)
    if is_trained(task):
        check_head(bundles[0], task)
    length = settings["max_length"] if settings else resolve(ask, task, hints)["max_length"]
    return EvaluateStage(
        "evaluate", task.name, seed, ask, task, head, how, tuple(bundles),
        tuple(evaluation_languages(task, ask.data_dir, languages, split)), split,
        _layers(task, depth, layer, hints.retrieval_layer), limit, length, tuple(intermediates),
    )  # fmt: skip


def _layers(task: TaskSpec, depth: int, asked: str | None, hint: int | None) -> tuple[int, ...]:
    if is_trained(task):
        if asked is not None:
            raise use_error("--layer belongs to untrained retrieval.", f"{task.name} is scored through its head.")
        return ()
    if asked is not None and asked != "all" and not (asked.isascii() and asked.isdecimal()):
        raise use_error(f"--layer {asked!r} is not a layer.", f"Give 0 to {depth}, or all.")
    if asked == "all":  # the usual one comes first and gives the scores, without one the last
        usual = task.retrieve.layer.get(str(depth), depth) if hint is None else hint
        return (usual, *(layer for layer in range(depth + 1) if layer != usual))
    return (choose_layer(task, depth, None if asked is None else int(asked), hint),)


def check_head(bundle: Bundle, task: TaskSpec) -> None:
    """Refuse to score a task with a head that was made for another one.

    Raises:
        AdaptxferError: if the kinds differ, or the label names do.
    """
    spec = bundle.heads.get(bundle.task)
    if spec is None or spec.kind != task.kind:
        found = spec.kind if spec else "no head"
        raise use_error(
            f"{bundle.folder.name} has {found}, but {task.name} is of kind {task.kind}.",
            f"Train for it first: adaptxfer transfer --to {task.name} --from {bundle.folder}.",
        )
    if set(spec.labels) != set(task.labels):
        raise use_error(
            f"{bundle.folder.name} predicts {', '.join(spec.labels[:8])}, "
            f"but {task.name} has {', '.join(task.labels[:8])}.",
            f"Train for it first: adaptxfer transfer --to {task.name} --from {bundle.folder}.",
        )


def bundle_folder(text: str, runs: Path) -> Path:
    """The folder that ``text`` means: a path, or the name or hash of a run.

    Raises:
        AdaptxferError: if there is no such folder.
    """
    from adaptxfer.runs.store import RunStore

    path = Path(text).expanduser()
    return path if (path / "bundle.json").is_file() or path.is_dir() else RunStore(runs).find(text).path
