"""Full fine-tuning: the module is the encoder itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from adaptxfer.errors import use_error
from adaptxfer.modules.composition import Leaf, Tree
from adaptxfer.modules.method import Method
from adaptxfer.modules.weights import read_tensors


class Full(Method):
    """All weights of the encoder train; saved as a plain Hugging Face model."""

    name = "full"
    options: ClassVar[Mapping[str, Any]] = {}

    def add(self, name: str, options: Mapping[str, Any], seed: int) -> None:
        """Nothing to attach: the encoder starts as it was loaded."""
        self.check_options(options)

    def activate(self, tree: Tree) -> None:
        """Only a single module exists."""
        if not isinstance(tree, Leaf):
            raise use_error("Full fine-tuning has one module, the encoder.", "Use --how continue or merge.")

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """All weights of the encoder."""
        return dict(self.network.named_parameters())

    def save(self, name: str, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        self.network.save_pretrained(str(folder), safe_serialization=True, max_shard_size="1000GB")  # type: ignore[operator]

    def attach(self, name: str, folder: Path, rank: int | None = None) -> None:
        """Nothing to attach: the weights go into the encoder."""

    def origin(self, name: str) -> dict[str, Tensor]:
        """The base model, as long as nothing was loaded over it."""
        return {key: value.detach().clone() for key, value in self.parameters(name).items()}

    def read(self, name: str, folder: Path) -> dict[str, Tensor]:
        """Weights of a whole encoder."""
        return read_tensors(folder / "model.safetensors")
