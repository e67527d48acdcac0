"""Bottleneck adapters and AdapterFusion. The only file that imports `adapters`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import adapters
import torch
from adapters.composition import Fuse as LibraryFuse
from adapters.composition import Stack as LibraryStack
from adapters.configuration import AdapterConfig, AdapterFusionConfig, BnConfig
from torch import Tensor, nn

from adaptxfer.errors import data_error, nearest, use_error
from adaptxfer.files import read_json
from adaptxfer.modules.composition import Fuse, Leaf, Tree
from adaptxfer.modules.method import Method, check_module_name, check_number, seeded
from adaptxfer.modules.weights import load_into, read_tensors

VARIANTS = ("seq_bn", "double_seq_bn", "par_bn")
PRE_NORM = adapters.AdapterModelInterface(
    adapter_methods=["bottleneck"],
    model_embeddings="embeddings",
    model_layers="encoder.layer",
    layer_self_attn="attention",
    layer_cross_attn=None,  # type: ignore[arg-type]
    attn_q_proj="self.query",
    attn_k_proj="self.key",
    attn_v_proj="self.value",
    attn_o_proj="output.dense",
    layer_intermediate_proj="intermediate.dense",
    layer_output_proj="output.dense",
    layer_pre_self_attn="attention.self_attn_layer_norm",
    layer_pre_ffn="LayerNorm",
)
INTERFACES = {"xlm-roberta-xl": PRE_NORM}
"""Where the parts of models are that `adapters` does not know by itself, laid out as its own for Qwen, which also puts
its LayerNorms first; it goes into the saved module, so that the library loads it."""


class Bottleneck(Method):
    """Modules of `adapters`: Pfeiffer (seq_bn), Houlsby (double_seq_bn) and parallel (par_bn) bottlenecks.

    Works around three faults of `adapters` 1.3: the fusion regulariser belongs to the loss of its own step
    (`penalty`), a fusion is keyed by sorted names, and a file that lacks weights is refused.
    """

    name = "bottleneck"
    options: ClassVar[Mapping[str, Any]] = {"variant": "seq_bn", "reduction": None, "dropout": None}

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        kind = str(network.config.model_type)  # type: ignore[union-attr]
        try:
            adapters.init(network, interface=INTERFACES.get(kind))  # type: ignore[arg-type]
        except ValueError as error:
            raise use_error(
                f"The adapters library has no bottlenecks for {kind} models.", "Use --method lora or full."
            ) from error
        self._fusions: list[str] = []

    def add(self, name: str, options: Mapping[str, Any], seed: int) -> None:
        """Attach a fresh bottleneck; ``reduction`` None takes the variant's default (16; par_bn 2)."""
        options = self.check_options(options)
        if options["variant"] not in VARIANTS:
            raise use_error(f"Variant {options['variant']!r} is unknown.", nearest(str(options["variant"]), VARIANTS))
        for key, least, below in (("reduction", 1, 10_000), ("dropout", 0, 1)):
            if options[key] is not None:
                check_number(options, key, least, below)
        changed = {"reduction_factor": options["reduction"], "dropout": options["dropout"]}
        config = AdapterConfig.load(options["variant"], **{k: v for k, v in changed.items() if v is not None})
        self._add(name, config, seed)

    def _add(self, name: str, config: Any, seed: int) -> None:
        with seeded(seed, "module", check_module_name(name)):
            self.network.add_adapter(name, config=config)  # type: ignore[operator]

    def add_fusion(self, fused: Fuse, seed: int) -> None:
        """Attach AdapterFusion (Pfeiffer et al. 2021): dynamic query, key and value, value near identity."""
        self._add_fusion(fused, AdapterFusionConfig.load("dynamic"), seed)

    def _add_fusion(self, fused: Fuse, config: Any, seed: int) -> None:
        with seeded(seed, "fusion", fused.key):
            self.network.add_adapter_fusion(_compose(fused), config=config)  # type: ignore[operator]
        self._fusions.append(fused.key)

    def activate(self, tree: Tree) -> None:
        """Run the forward pass through ``tree``."""
        with _quiet():
            self.network.set_active_adapters(_compose(tree))  # type: ignore[operator]

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Weights of one bottleneck under the library's names."""
        return self._matching(f".adapters.{name}.")

    def fusion_parameters(self, key: str) -> dict[str, nn.Parameter]:
        """Weights of one fusion layer under the library's names."""
        return self._matching(f".adapter_fusion_layer.{key}.")

    def _matching(self, part: str) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.network.named_parameters() if part in name}

    def save(self, name: str, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter.safetensors``."""
        self.network.save_adapter(str(folder), name, use_safetensors=True)  # type: ignore[operator]

    def origin(self, name: str) -> None:
        """All zeros: such a bottleneck passes on what it gets.

        Raises:
            AdaptxferError: if the module has norms or gates too, which zeros would break.
        """
        strange = [
            key
            for key, value in self.parameters(name).items()
            if not (".adapter_down." in key or ".adapter_up." in key) or (key.endswith("weight") and value.dim() < 2)
        ]
        if strange:
            told = f"This bottleneck has more than two projections ({strange[0]}): a difference from it is not defined."
            raise use_error(told, "Use --by average.")

    def attach(self, name: str, folder: Path, rank: int | None = None) -> None:
        """Attach a bottleneck as ``adapter_config.json`` describes it."""
        config = _read_config(folder / "adapter_config.json", self.network)
        try:
            self._add(name, BnConfig.from_dict(dict(config["config"])), 0)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
            raise data_error(f"{folder} does not describe a bottleneck adapter ({error}).") from error

    def read(self, name: str, folder: Path) -> dict[str, Tensor]:
        """Weights of a bottleneck saved here or by `adapters`, whatever name it had."""
        old = str(_read_config(folder / "adapter_config.json", self.network).get("name"))
        found = read_tensors(folder / "adapter.safetensors")
        return {key.replace(f".adapters.{old}.", f".adapters.{name}."): value for key, value in found.items()}

    def save_fusion(self, fused: Fuse, folder: Path) -> None:
        """Write ``adapter_fusion_config.json`` and its weights."""
        self.network.save_adapter_fusion(str(folder), fused.key, use_safetensors=True)  # type: ignore[operator]

    def load_fusion(self, fused: Fuse, folder: Path) -> None:
        """Attach a fusion layer saved by `save_fusion` over the same module names."""
        found = _read_config(folder / "adapter_fusion_config.json", self.network)
        if found.get("name") != fused.key:
            raise data_error(f"{folder} is a fusion over {found.get('name')}, expected {fused.key}.")
        try:
            self._add_fusion(fused, AdapterFusionConfig.from_dict(dict(found["config"])), 0)
        except (TypeError, ValueError, AttributeError) as error:
            raise data_error(f"{folder} does not describe a fusion ({error}).") from error
        load_into(self.fusion_parameters(fused.key), folder / "model_adapter_fusion.safetensors")

    def penalty(self) -> Tensor | None:
        """0.01 * ||I - Wv||^2 over the value matrices that train (Pfeiffer et al. 2021, section 4.2)."""
        terms = []
        for key in self._fusions:
            for name, weight in self.fusion_parameters(key).items():
                if name.endswith(".value.weight") and weight.requires_grad:
                    identity = torch.eye(len(weight), device=weight.device, dtype=weight.dtype)
                    terms.append(0.01 * (identity - weight).square().sum())
        return torch.stack(terms).sum() if terms else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside the block `adapters` does not warn that nothing is active, as it does on the way to activating it."""
    log = logging.getLogger("adapters.model_mixin")

    def keep(record: logging.LogRecord) -> bool:
        return "none are activated" not in record.getMessage()

    log.addFilter(keep)
    try:
        yield
    finally:
        log.removeFilter(keep)


def _compose(tree: Tree) -> Any:
    if isinstance(tree, Leaf):
        return tree.name
    kind = LibraryFuse if isinstance(tree, Fuse) else LibraryStack
    return kind(*(_compose(child) for child in tree.children))


def _read_config(path: Path, network: nn.Module) -> dict[str, Any]:
    config = read_json(path, "module config")
    if not isinstance(config, dict) or "config" not in config:
        raise data_error(f"{path} is not a module config of `adapters`.")
    width = network.config.hidden_size  # type: ignore[union-attr]
    if config.get("hidden_size") not in (None, width):
        raise data_error(
            f"{path.parent} was made for an encoder of width {config['hidden_size']}, this one has {width}.",
            "Give the base model it was trained on with --model.",
        )
    return config
