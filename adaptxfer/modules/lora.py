"""LoRA modules. The only file that imports `peft`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import peft
from torch import Tensor, nn

from adaptxfer.errors import AdaptxferError, data_error, use_error
from adaptxfer.files import read_json, write_json
from adaptxfer.modules.composition import Fuse, Tree, leaves
from adaptxfer.modules.method import Method, check_module_name, check_number, seeded
from adaptxfer.modules.weights import read_tensors, save_tensors

FILE = "adapter_model.safetensors"
_CONFIG_KEYS = {"r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "rank_pattern", "alpha_pattern"}
_NO_EFFECT = {"peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "task_type",
              "inference_mode", "megatron_core", "qalora_group_size"}  # fmt: skip
_PLAIN_START = (True, False, "gaussian", "orthogonal", "eva")
"""Values of ``init_lora_weights`` that leave the base model's weights as they are."""


class Lora(Method):
    """Modules of `peft`. A stack of LoRAs adds their updates: y = Wx + sum_i (alpha/r) B_i A_i x.

    The head stays outside of peft, which would freeze or drop it for some kinds, and the trainable set is fixed by
    `Method.set_trainable`, since activating several adapters makes all of them trainable in peft.
    """

    name = "lora"
    options: ClassVar[Mapping[str, Any]] = {"r": 8, "alpha": 16, "dropout": 0.0, "target_modules": ("query", "value")}

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self._wrapped: peft.PeftModel | None = None

    def add(self, name: str, options: Mapping[str, Any], seed: int) -> None:
        """Attach a fresh LoRA: A drawn from ``seed`` and ``name``, B zero."""
        options = self.check_options(options)
        config = peft.LoraConfig(
            r=options["r"],
            lora_alpha=options["alpha"],
            lora_dropout=options["dropout"],
            target_modules=list(options["target_modules"]),
            base_model_name_or_path=str(self.network.name_or_path),
        )
        self._add(name, config, seed)

    def _add(self, name: str, config: peft.LoraConfig, seed: int) -> None:
        if check_module_name(name) in "lora_":  # peft mistakes such a name for a piece of its own prefix
            raise use_error(f"{name!r} is no usable name for a LoRA module.", "Give the task another name.")
        _check_config(config)
        try:
            with seeded(seed, "module", name):
                if self._wrapped is None:
                    self._wrapped = peft.PeftModel(self.network, config, adapter_name=name)
                else:
                    self._wrapped.add_adapter(name, config)
        except ValueError as error:
            raise _nothing_to_adapt(config) from error
        if any(".lora_embedding_" in key for key in self.network.state_dict()):
            raise _nothing_to_adapt(config)

    def activate(self, tree: Tree) -> None:
        """Run the forward pass through all modules of the tree at once."""
        if isinstance(tree, Fuse):
            raise use_error("LoRA modules cannot be fused.", "Use --how stack or merge, or --method bottleneck.")
        self._model.base_model.set_adapter(leaves(tree))  # type: ignore[operator]

    @property
    def _model(self) -> peft.PeftModel:
        if self._wrapped is None:
            raise use_error("No LoRA module is attached yet.")
        return self._wrapped

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Weights of one LoRA under the keys of its file (the name is not part of them)."""
        return {
            f"base_model.model.{key.removesuffix(f'.{name}.weight')}.weight": parameter
            for key, parameter in self.network.named_parameters()
            if key.endswith((f".lora_A.{name}.weight", f".lora_B.{name}.weight"))
        }

    def save(self, name: str, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``."""
        folder.mkdir(parents=True, exist_ok=True)
        self._model.peft_config[name].save_pretrained(str(folder), auto_mapping_dict=self._auto_mapping())
        config = read_json(folder / "adapter_config.json")
        if isinstance(config["target_modules"], list):  # a set in peft: its order changes from process to process
            config["target_modules"].sort()
        write_json(folder / "adapter_config.json", config)
        save_tensors(folder / FILE, self.parameters(name))

    def _auto_mapping(self) -> dict[str, str]:
        kind = type(self.network)
        return {"base_model_class": kind.__name__, "parent_library": kind.__module__}

    def attach(self, name: str, folder: Path, rank: int | None = None) -> None:
        """Attach a LoRA as ``adapter_config.json`` describes it, at another rank if one is given."""
        config = self._read_config(folder)
        if rank not in (None, config.r):
            config.lora_alpha, config.r, config.use_rslora = self.scale(folder) * rank, rank, False  # type: ignore[operator]
        try:
            self._add(name, config, 0)
        except (TypeError, RuntimeError, ArithmeticError) as error:
            raise data_error(f"{folder} does not describe a LoRA module ({error}).") from error

    def read(self, name: str, folder: Path) -> dict[str, Tensor]:
        """Weights of a LoRA saved here or by `peft`, whatever name it had."""
        return read_tensors(folder / FILE)

    def scale(self, folder: Path) -> float:
        """Alpha / r, or alpha / sqrt(r) for a rank-stabilised LoRA."""
        config = self._read_config(folder)
        if config.rank_pattern or config.alpha_pattern:
            raise use_error(f"{folder} has another r or alpha in some layers, so it cannot be merged.")
        return config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)

    def rank(self, folder: Path) -> int:
        """R as the configuration says."""
        return self._read_config(folder).r

    def _read_config(self, folder: Path) -> peft.LoraConfig:
        found = read_json(folder / "adapter_config.json", "module config")
        if not isinstance(found, dict) or found.get("peft_type") != "LORA":
            raise data_error(f"{folder} is not a LoRA module of `peft`.")
        if found.get("modules_to_save"):
            raise data_error(f"{folder} carries a head inside the LoRA (modules_to_save).", "Train it without.")
        try:
            known = {key: value for key, value in found.items() if key in _CONFIG_KEYS}
            config = peft.LoraConfig(**known, base_model_name_or_path=str(self.network.name_or_path))
            _check_config(config)
        except (TypeError, ValueError, AdaptxferError) as error:
            raise data_error(f"{folder} does not describe a LoRA module ({error}).") from error
        if strange := sorted(_unsupported(found)):
            raise data_error(f"{folder} is a LoRA with {', '.join(strange)}, which is not supported here.")
        return config


def _unsupported(found: Mapping[str, Any]) -> list[str]:
    """Keys of a LoRA config that change what it computes in a way that is not read here."""
    plain = peft.LoraConfig().to_dict()
    unread = set(found) - _CONFIG_KEYS - _NO_EFFECT - {"init_lora_weights"}
    changed = [key for key in unread if found[key] not in (plain.get(key), None, False, [], {})]
    return changed + ([] if found.get("init_lora_weights", True) in _PLAIN_START else ["init_lora_weights"])


def _check_config(config: peft.LoraConfig) -> None:
    values = {"r": config.r, "alpha": config.lora_alpha, "dropout": config.lora_dropout}
    check_number(values, "r", 1, 10_000, whole=True)
    check_number(values, "alpha", 1e-6, 1e6)
    check_number(values, "dropout", 0, 1)


def _nothing_to_adapt(config: peft.LoraConfig) -> AdaptxferError:
    found = config.target_modules
    targets = found if isinstance(found, str) else ", ".join(sorted(found or ())) or "none"
    return use_error(
        f"LoRA finds no linear layers to adapt: target modules {targets}.", "XLM-R has query, key, value, dense."
    )
