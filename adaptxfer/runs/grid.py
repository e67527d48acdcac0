"""A grid: many intermediates, targets and seeds as stages that build on one another, shared work once.

A target's hash depends on its parents' bundles, which exist only after training. Planning therefore names stages by
what is known beforehand (`Node.key`), and a node becomes a stage when its parents are done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

from adaptxfer.encoder.load import ModelHints
from adaptxfer.errors import nearest, use_error
from adaptxfer.files import content_hash
from adaptxfer.modules.composition import WORKS, check_how
from adaptxfer.runs.gridfile import NONE, GridPlan, Joint
from adaptxfer.runs.plan import check_mixture, is_trained
from adaptxfer.runs.settings import Ask, model_name, resolve
from adaptxfer.runs.stage import Mixture, vars_of
from adaptxfer.runs.transfer import Wish, default_how
from adaptxfer.tasks.find import list_tasks
from adaptxfer.tasks.sham import with_sham_labels
from adaptxfer.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Node:
    """A stage before its parents are known.

    Attributes:
        key: identity within a grid, from recipe, seed and parents' keys.
        kind: intermediate, target or evaluate.
        label: the stage in words.
        recipe: identity apart from seed and parents.
        names: the tasks trained together, or the one target task.
        parents: keys of the nodes that must be done before.
        modules: keys of the intermediates that are used.
        training: for an evaluation the key of the node that trained what is scored; empty for pooled retrieval.
        wish: what to transfer and how to score it; its bundles are those of ``modules``.
    """

    key: str
    kind: str
    label: str
    recipe: str
    seed: int
    ask: Ask
    names: tuple[str, ...]
    parents: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    training: str = ""
    mixture: Mixture = field(default_factory=Mixture)
    wish: Wish | None = None


@dataclass(frozen=True)
class Arm:
    """One way to come to a target: intermediates and how they are used; no parts for the baseline.

    ``steps`` says how long the intermediate trains, where that is not as the options say.
    """

    name: str
    parts: tuple[str, ...]
    how: str
    own_module: bool = False
    steps: int | None = None


@dataclass(frozen=True)
class Grid:
    """The nodes in the order of work: all of the first seed, then the next, parents always before children."""

    name: str
    nodes: tuple[Node, ...]
    left_out: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Number of stages by kind."""
        return {kind: sum(node.kind == kind for node in self.nodes) for kind in ("intermediate", "target", "evaluate")}


def expand(plan: GridPlan, base: Ask, overrides: Mapping[str, Any] | None = None) -> Grid:
    """All stages of a plan; nothing is read but task files.

    Args:
        plan: what the file says.
        base: where data, task files and runs are.
        overrides: training options that count more than those of the file.

    Raises:
        AdaptxferError: for tasks, options or compositions that do not exist or do not go together.
    """
    return _Expansion(plan, base, overrides or {}).grid()


class _Expansion:
    """Collects nodes by key; the same key is the same work."""

    def __init__(self, plan: GridPlan, base: Ask, overrides: Mapping[str, Any]) -> None:
        self.plan, self.base, self.overrides = plan, base, overrides
        self.tasks = {task.name: task for task in list_tasks(base.tasks)}
        self.nodes: dict[str, Node] = {}
        self.left_out: dict[str, None] = {}
        self.check_options = cache(self._check_options)

    def grid(self) -> Grid:
        plan = self.plan
        targets = [self.task(name, "target") for name in plan.targets]
        self.check_languages(targets)
        arms = {method: list(self.arms(method)) for method in plan.methods}
        for seed in plan.seeds:
            for model in plan.models:
                for method in plan.methods:
                    for arm in arms[method]:
                        self.add_arm(arm, targets, model, method, seed)
        return Grid(plan.name, tuple(self.nodes.values()), tuple(self.left_out))

    def task(self, name: str, role: str) -> TaskSpec:
        if name not in self.tasks:
            raise use_error(f"There is no task {name!r}.", nearest(name, self.tasks))
        if role not in self.tasks[name].role:
            raise use_error(f"{name} is no {role} task.", f"Its role is {', '.join(self.tasks[name].role)}.")
        return self.tasks[name]

    def check_languages(self, targets: Sequence[TaskSpec]) -> None:
        known = {code for task in targets for code in task.languages}
        for code in self.plan.evaluate["languages"] or ():
            if code not in known:
                raise use_error(f"No target has the language {code!r}.", nearest(code, known))

    def wish(self, task: TaskSpec, arm: Arm) -> Wish | None:
        """What is to be scored, in those of the wanted languages that the task has; None if it has none of them."""
        asked = self.plan.evaluate
        languages = tuple(code for code in asked["languages"] or () if code in task.languages)
        if asked["languages"] and not languages:
            self.left_out[f"{task.name}, which has none of {', '.join(asked['languages'])}"] = None
            return None
        layer = None if is_trained(task) else asked["layer"]  # it is for pooled retrieval only
        return Wish(task.name, (), arm.how, arm.own_module, languages or None, asked["split"], layer, asked["limit"])

    def arms(self, method: str) -> Iterator[Arm]:
        """The ways that a method allows; those of the plan that it does not are noted."""
        for name in self.plan.intermediates:
            if name == NONE:
                yield Arm(NONE, (), NONE)
                continue
            for how in self.allowed(method, self.plan.compositions or (default_how(method, 1),)):
                yield Arm(name, (name,), how)
                for steps in self.plan.checkpoints:
                    yield Arm(f"{name} after {steps:,} steps", (name,), how, steps=steps)
        for name, item in self.plan.together.items():
            for how in self.allowed(method, item.compositions):
                own = item.own_module and how == "fuse"
                check_how(how, method, len(item.intermediates), own)
                yield Arm(name, item.intermediates, how, own)

    def allowed(self, method: str, hows: Iterable[str]) -> list[str]:
        found = {how: how in WORKS[method] for how in hows}
        self.left_out |= {f"{how} with {method}": None for how, works in found.items() if not works}
        return [how for how, works in found.items() if works]

    def add_arm(self, arm: Arm, targets: Sequence[TaskSpec], model: str, method: str, seed: int) -> None:
        learn = self.ask(model, method, "intermediate")
        learn = replace(learn, max_steps=arm.steps) if arm.steps else learn
        modules = tuple(self.intermediate(part, learn, seed) for part in arm.parts)
        ask = self.ask(model, method, "target")
        for task in targets:
            if arm.how == "fuse" and not is_trained(task):
                self.left_out[f"fuse for {task.name}, which is not trained"] = None
            elif wish := self.wish(task, arm):
                self.target(task, wish, arm, modules, ask, seed)

    def ask(self, model: str, method: str, role: str) -> Ask:
        """Options from weak to strong: train, the method's, the role's, the command line's."""
        tables = [self.plan.options.get(name, {}) for name in ("train", method, role)]
        options = {key: value for table in [*tables, self.overrides] for key, value in table.items()}
        name, _, revision = model.partition("@")
        return replace(self.base, model=name, revision=revision or self.base.revision, method=method, **options)

    def intermediate(self, name: str, ask: Ask, seed: int) -> str:
        entry = self.plan.joint.get(name) or Joint((name,), Mixture())
        specs = [self.task(part, "intermediate") for part in entry.tasks]
        check_mixture(entry.mixture)
        if entry.mixture.sham:
            for spec in specs:
                with_sham_labels(spec.kind, (), 0)  # refuses kinds that have none
        self.check_options(ask, specs[0].name, "")
        return self.add(
            "intermediate", name + self.length(ask), [ask, entry.tasks, entry.mixture], (), ask, seed,
            names=entry.tasks, mixture=entry.mixture,
        )  # fmt: skip

    def length(self, ask: Ask) -> str:
        """How long a checkpoint was trained, in words."""
        return f", {ask.max_steps:,} steps" if ask.max_steps in self.plan.checkpoints else ""

    def target(self, task: TaskSpec, wish: Wish, arm: Arm, modules: tuple[str, ...], ask: Ask, seed: int) -> None:
        """Training (none for pooled retrieval) and evaluation."""
        use = "no intermediate" if arm.how == NONE else f"{arm.how} on {arm.name}"
        training, rest = "", {"names": (task.name,), "modules": modules}
        if is_trained(task):
            self.check_options(ask, task.name, arm.how)
            source = self.tasks.get(task.train.task or task.name, task)
            recipe = [ask, arm.how, arm.own_module, *_training_recipe(task, source)]
            what = source.name if source.name == task.name else f"{source.name} (for {task.name})"
            training = self.add("target", f"{what}, {use}", recipe, modules, ask, seed, wish=wish, **rest)
        self.add(
            "evaluate", f"{task.name}, {use}", [ask, wish, task.name], (training, *modules), ask, seed,
            wish=wish, training=training, **rest,
        )  # fmt: skip

    def add(
        self, kind: str, what: str, recipe: list[Any], parents: tuple[str, ...], ask: Ask, seed: int, **rest: Any
    ) -> str:
        parents = tuple(dict.fromkeys(filter(None, parents)))
        identity = content_hash([kind, *map(_plain, recipe)], 16)
        key = content_hash([identity, seed, parents], 16)
        if key not in self.nodes:
            several = [ask.method] * (len(self.plan.methods) > 1)
            several += [model_name(ask.model)] * (len(self.plan.models) > 1)
            label = ", ".join([f"{kind} {what}", *several, f"seed {seed}"])
            self.nodes[key] = Node(key, kind, label, identity, seed, ask, parents=parents, **rest)
        return key

    def _check_options(self, ask: Ask, task: str, how: str) -> None:
        """Refuse numbers out of range before anything runs; the base model's own hints are not needed for that."""
        resolve(ask, self.tasks[task], ModelHints(), how or None).training(0)


def _training_recipe(task: TaskSpec, source: TaskSpec) -> list[Any]:
    """What two targets must share to share a training: as in `TrainStage.identity`, without looking at data."""
    train = {key: value for key, value in vars_of(task.train).items() if key not in ("task", "sources")}
    return [source.name, task.kind, task.labels, vars_of(task.text), source.metric.main, train]


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
