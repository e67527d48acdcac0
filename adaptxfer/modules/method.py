"""What every method (bottleneck, lora, full) does to an encoder; one subclass per library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from adaptxfer.errors import use_error
from adaptxfer.files import check_name, derived_seed
from adaptxfer.modules.composition import Fuse, Tree
from adaptxfer.modules.weights import copy_into

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def seeded(seed: int, *names: str) -> Iterator[None]:
    """Random numbers inside the block depend on the seed and the names alone, and leave no trace outside."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, *names))  # the CPU's; everything is built there
        yield


def check_module_name(name: str) -> str:
    """Return ``name`` if torch can hold a module or head under it.

    Raises:
        AdaptxferError: if it has unsafe characters, or is a word like ``keys`` or ``type`` that torch keeps for itself.
    """
    from torch import nn

    check_name(name, "module name")
    if hasattr(nn.ModuleDict(), name):
        raise use_error(f"{name!r} cannot name a module: torch uses that word itself.", "Give the task another name.")
    return name


def check_number(options: Mapping[str, Any], key: str, least: float, below: float, whole: bool = False) -> None:
    """Refuse an option that is no number in [least, below).

    Raises:
        AdaptxferError: naming the option, the range and what was found.
    """
    value = options[key]
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not least <= value < below:
        kind = "a whole number" if whole else "a number"
        raise use_error(f"Option {key} must be {kind} from {least} to below {below}, got {value!r}.")


class Method(ABC):
    """Modules attached to one encoder.

    Args:
        network: the base model; it is changed in place and stays the thing to call.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]]
    """Every option of a module with its default; anything else is refused."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @abstractmethod
    def add(self, name: str, options: Mapping[str, Any], seed: int) -> None:
        """Attach a fresh module, initialised from ``seed`` and ``name`` alone."""

    @abstractmethod
    def activate(self, tree: Tree) -> None:
        """Make the forward pass run through ``tree``."""

    @abstractmethod
    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """The weights of one module under the keys of its native file."""

    @abstractmethod
    def save(self, name: str, folder: Path) -> None:
        """Write one module in the native layout of its library."""

    @abstractmethod
    def attach(self, name: str, folder: Path, rank: int | None = None) -> None:
        """Attach a module as the configuration in ``folder`` describes it, without its weights.

        With ``rank`` a LoRA gets this one and keeps its scale; the other methods have none.
        """

    @abstractmethod
    def read(self, name: str, folder: Path) -> dict[str, Tensor]:
        """The weights saved in ``folder`` under the keys that `parameters` gives a module called ``name``."""

    def load(self, name: str, folder: Path) -> None:
        """Attach a module from its native layout.

        Raises:
            AdaptxferError: if a weight is missing, unexpected, not finite or of another shape.
        """
        self.attach(name, folder)
        copy_into(self.parameters(name), self.read(name, folder), str(folder))

    def scale(self, folder: Path) -> float:
        """What the update of a saved module is multiplied by; 1 except for LoRA."""
        return 1.0

    def rank(self, folder: Path) -> int | None:
        """The rank of a saved LoRA; None for the other methods."""
        return None

    def origin(self, name: str) -> dict[str, Tensor] | None:
        """Weights of a module that changes nothing, under the keys of `parameters`; None where all are zero."""
        return None

    def add_fusion(self, fused: Fuse, seed: int) -> None:
        """Attach a fresh AdapterFusion layer over modules that are already attached."""
        raise use_error(f"--method {self.name} has no fusion.", "Use --method bottleneck.")

    def fusion_parameters(self, key: str) -> dict[str, nn.Parameter]:
        """The weights of one fusion layer."""
        raise use_error(f"--method {self.name} has no fusion.", "Use --method bottleneck.")

    def save_fusion(self, fused: Fuse, folder: Path) -> None:
        """Write one fusion layer in the native layout."""
        raise use_error(f"--method {self.name} has no fusion.", "Use --method bottleneck.")

    def load_fusion(self, fused: Fuse, folder: Path) -> None:
        """Attach a fusion layer from its native layout."""
        raise use_error(f"--method {self.name} has no fusion.", "Use --method bottleneck.")

    def penalty(self) -> Tensor | None:
        """A term to add to the loss of every step, or None."""
        return None

    def set_trainable(self, modules: Sequence[str], fusions: Sequence[str] = ()) -> dict[str, nn.Parameter]:
        """Freeze everything but the named modules and fusions.

        Returns:
            The trainable weights by their name in the network.
        """
        wanted = [p for name in modules for p in self.parameters(name).values()]
        wanted += [p for key in fusions for p in self.fusion_parameters(key).values()]
        chosen = {id(parameter) for parameter in wanted}
        for parameter in self.network.parameters():
            parameter.requires_grad_(id(parameter) in chosen)
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def check_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults overlaid with ``options``.

        Raises:
            AdaptxferError: for an option this method does not have.
        """
        if unknown := sorted(set(options) - set(self.options)):
            raise use_error(
                f"Method {self.name} has no option {unknown[0]!r}.", f"It has: {', '.join(self.options) or 'none'}."
            )
        return {**self.options, **options}
