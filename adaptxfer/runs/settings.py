"""What a run was asked for, and every value it runs with together with where that value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptxfer.embedded import encoder_dir
from adaptxfer.encoder.held import QUANTISED, check_held
from adaptxfer.encoder.load import ModelHints
from adaptxfer.errors import use_error
from adaptxfer.kernels.modes import effective_mode
from adaptxfer.modules.composition import METHODS
from adaptxfer.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from adaptxfer.training.options import TrainingOptions

DEFAULT_MODEL = "FacebookAI/xlm-roberta-large"
FUSE_RATE = 5e-5  # documentation of `adapters`

MODULE_OPTIONS = {
    "bottleneck": ("variant", "reduction", "dropout"),
    "lora": ("r", "alpha", "dropout", "target_modules"),
    "full": (),
}
UNHASHED = ("batch_tokens", "on_chance", "graphs", "recompute", "sharded")
"""Options that do not decide what is learnt; they may change between a start and its continuation."""
ARRANGED = ("how", "intermediates", "own_module")
"""What a run with an intermediate task and its baseline are meant to differ in."""


@dataclass(frozen=True)
class Ask:
    """What the user may ask for, on the command line or in Python; None means not asked.

    The first block concerns every stage, the others training, data and modules.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    method: str = "bottleneck"
    data_dir: Path | None = None
    tasks: tuple[Path, ...] = ()
    runs: Path = Path("runs")
    fresh: bool = False
    kernels: str | None = None
    base_precision: str = "fp32"

    learning_rate: float | None = None
    epochs: float | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    batch_tokens: int | None = None
    warmup: float | None = None
    weight_decay: float | None = None
    clip: float | None = None
    precision: str | None = None
    evaluations: int | None = None
    on_chance: str | None = None
    recompute: bool | None = None
    sharded: bool | None = None
    graphs: str | None = None

    max_length: int | None = None
    limit: int | None = None
    dev_limit: int | None = None

    variant: str | None = None
    reduction: float | None = None
    r: int | None = None
    alpha: float | None = None
    dropout: float | None = None
    target_modules: tuple[str, ...] | None = None

    def to_request(self) -> dict[str, dict[str, Any]]:
        """Base model, method and kernels as stored in a manifest; a folder is known by its name, never by its path.

        The kernels are no part of a stage's identity: they compute the same function but for rounding.
        """
        values = {"model": (model_name(self.model), DEFAULT_MODEL), "method": (self.method, METHODS[0])}
        request = {
            name: {"value": value, "from": "default" if value == default else "you"}
            for name, (value, default) in values.items()
        }
        mode, origin = effective_mode(self.kernels)
        request["kernels"] = {"value": mode, "from": origin}
        if self.base_precision != "fp32":
            request["base_precision"] = {"value": self.base_precision, "from": "you"}
        return request

    @property
    def confounds(self) -> dict[str, list[str]]:
        """For the manifest: what makes this run another one than its settings say, if anything."""
        told = f"the base model is quantised to {self.base_precision}"
        return {"confounds": [told]} if self.base_precision in QUANTISED else {}

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise use_error(f"--method {self.method!r} is unknown.", f"Choose one of {', '.join(METHODS)}.")
        effective_mode(self.kernels)  # refuses unknown ones
        check_held(self.base_precision)
        if self.method == "full" and self.base_precision != "fp32":
            raise use_error(
                f"--base-precision {self.base_precision} is for frozen base models, and --method full trains it.",
                "Use --precision bf16, or --method bottleneck or lora.",
            )
        if self.sharded and self.method != "full":
            raise use_error(
                f"--sharded spreads a base model that trains, and --method {self.method} freezes it.",
                "Use --base-precision bf16 to fit it, or --method full.",
            )
        foreign = [
            name
            for name in ("variant", "reduction", "r", "alpha", "dropout", "target_modules")
            if getattr(self, name) is not None and name not in MODULE_OPTIONS[self.method]
        ]
        if foreign:
            flags = ", ".join("--" + name.replace("_", "-") for name in foreign)
            raise use_error(f"{flags} does not belong to --method {self.method}.", "Leave it out or change the method.")
        for name in ("limit", "dev_limit", "max_length", "r"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise use_error(f"--{name.replace('_', '-')} must be positive, got {value}.")


def model_name(model: str) -> str:
    """The id under which a base model is recorded."""
    folder = Path(model).expanduser()
    return folder.resolve().name if encoder_dir(model) is None and folder.is_dir() else model


@dataclass(frozen=True)
class Value:
    """A value and where it was set."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """All values of a training stage."""

    values: Mapping[str, Value] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values[name].value

    def to_request(self) -> dict[str, dict[str, Any]]:
        """As stored in a manifest: ``{name: {"value": ..., "from": ...}}``."""
        return {name: {"value": _plain(v.value), "from": v.origin} for name, v in self.values.items()}

    def identity(self) -> dict[str, Any]:
        """What decides the result."""
        return {name: _plain(v.value) for name, v in self.values.items() if name not in UNHASHED}

    def module_options(self, method: str) -> dict[str, Any]:
        """The options of a fresh module."""
        return {name: self[name] for name in MODULE_OPTIONS[method] if self[name] is not None}

    def training(self, seed: int) -> TrainingOptions:
        """The numbers of the training loop.

        Raises:
            AdaptxferError: naming every option that is out of range.
        """
        from adaptxfer.training.options import TrainingOptions

        names = {item.name for item in fields(TrainingOptions)} - {"seed"}
        return TrainingOptions(**{name: self[name] for name in names if name in self.values}, seed=seed)


def resolve(ask: Ask, task: TaskSpec, hints: ModelHints, how: str | None = None) -> Settings:
    """Merge, strongest first: what was asked, what the base model recommends, the task file, the defaults."""
    rate_key = "fuse" if how == "fuse" else ask.method
    train = task.train
    rates = dict(hints.learning_rate or {})
    known: dict[str, list[Value]] = {
        "learning_rate": [
            Value(rates.get(rate_key), "base model"),
            Value(train.learning_rate.get(rate_key), "task file"),
            Value(FUSE_RATE, "default"),
        ],
        "epochs": [Value(train.epochs, "task file")],
        "max_steps": [],
        "batch_size": [Value(train.batch_size, "task file")],
        "batch_tokens": [Value(8192, "default")],
        "warmup": [Value(train.warmup, "task file")],
        "weight_decay": [Value(train.weight_decay, "task file")],
        "clip": [Value(train.clip, "task file")],
        "precision": [default_precision()],
        "evaluations": [Value(10, "default")],
        "on_chance": [Value("stop", "default")],
        "recompute": [Value(False, "default")],
        "sharded": [Value(False, "default")],
        "graphs": [Value("auto", "default")],
        "max_length": [_max_length(task, hints)],
        "limit": [],
        "dev_limit": [Value(1000, "default")],
    }
    known |= {name: [] for name in MODULE_OPTIONS[ask.method]}
    return Settings({name: _first(getattr(ask, name), options) for name, options in known.items()})


def default_precision() -> Value:
    """bf16 on a GPU that has it, else fp32."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_bf16_supported():
        return Value("bf16", "this GPU")
    return Value("fp32", "this device")


def _max_length(task: TaskSpec, hints: ModelHints) -> Value:
    if hints.max_length is not None and hints.max_length < task.text.max_length:
        return Value(hints.max_length, "base model")
    return Value(task.text.max_length, "task file")


def _first(asked: Any, options: list[Value]) -> Value:
    if asked is not None:
        return Value(asked, "you")
    return next((option for option in options if option.value is not None), Value(None, "default"))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
