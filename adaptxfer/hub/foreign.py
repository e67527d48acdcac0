"""Modules of plain `adapters` and `peft`: read into the base model strictly, then saved as a bundle of ours.

Nothing of the stranger's files is kept but numbers that fit. Their keys start at a model with a head
(``roberta.encoder...``), ours at the bare encoder, and a head inside the file is left out.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptxfer.encoder.load import BaseModel, load_encoder
from adaptxfer.errors import AdaptxferError, data_error, use_error
from adaptxfer.files import write_json
from adaptxfer.hub.snapshot import CONFIG, PLAIN
from adaptxfer.modules.bundle import Bundle, read_small, save_bundle
from adaptxfer.modules.composition import Leaf
from adaptxfer.modules.method import check_module_name
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.modules.weights import read_tensors, save_tensors

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS: dict[str, str] = dict(zip(("bottleneck", "lora"), PLAIN, strict=True))
START = {"bottleneck": "", "lora": "base_model.model."}
HEADS = ("classifier", "score", "qa_outputs", "lm_head", "heads")
"""Where `transformers` and `adapters` keep heads, at the root of a model."""


def wrap(found: Path, repo: str, model: str | None, folder: Path) -> tuple[BaseModel, str, str, list[str]]:
    """Make a bundle in ``folder`` of the module in ``found``.

    Returns:
        The base model it was loaded into, its method, its name, and what it came without.

    Raises:
        AdaptxferError: if no base model is named, or the module does not fit it exactly.
    """
    config = read_small(found / CONFIG, f"{repo}:")
    method_name = _method(config, repo)
    assert isinstance(config, dict)
    said = str(config.get("base_model_name_or_path") or config.get("model_name") or "")
    if model is None:
        raise _needs_model(repo, said)
    encoder = load_encoder(model)
    name = _module_name(config.get("name"), repo)
    method = make_method(method_name, encoder.network)
    prefix = getattr(encoder.network, "base_model_prefix", "")
    with tempfile.TemporaryDirectory() as work:
        head = _normalise(found, Path(work), config, method_name, prefix)
        method.load(name, Path(work))
    method.activate(Leaf(name))
    bundle = Bundle(folder, encoder.base, method_name, Leaf(name), name)
    save_bundle(AdaptedModel(method, {}), bundle)
    missing = ["bundle.json", "the fingerprint of its base model", "the record of its training", "a head of ours"]
    if head:
        missing.append("its own head, which was left out")
    if said and said != encoder.base.id:
        missing.append(f"certainty about its base model (it names {said[:80]})")
    return encoder.base, method_name, name, missing


def _method(config: Any, repo: str) -> str:
    if isinstance(config, dict) and config.get("peft_type") == "LORA":
        return "lora"
    inner = config.get("config") if isinstance(config, dict) else None
    if isinstance(inner, dict) and inner.get("architecture") is None and "reduction_factor" in inner:
        return "bottleneck"
    raise data_error(
        f"{repo} is neither a LoRA of `peft` nor a bottleneck of `adapters`.", "Other kinds of modules are not read."
    )


def _needs_model(repo: str, said: str) -> AdaptxferError:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", said, re.ASCII):
        said = "ID"
    return use_error(
        f"{repo} has no bundle.json, so the base model it fits is not certain.", f"Give it, such as --model {said}."
    )


def _module_name(said: Any, repo: str) -> str:
    for name in (said, re.sub(r"[^A-Za-z0-9_-]", "_", repo.split("/")[-1]), "pulled"):
        try:
            if isinstance(name, str) and name not in "lora_":
                return check_module_name(name)
        except AdaptxferError:
            continue
    return "pulled_module"


def _normalise(found: Path, work: Path, config: Mapping[str, Any], method: str, prefix: str) -> bool:
    """Write the module into ``work`` as our own would lie there; True if a head was left out."""
    weights = read_tensors(_real(found / WEIGHTS[method]))
    kept: dict[str, Tensor] = {}
    for key, value in weights.items():
        rest = key.removeprefix(START[method]).removeprefix(f"{prefix}.")
        if rest.split(".")[0] not in HEADS:
            kept[START[method] + rest] = value
    save_tensors(work / WEIGHTS[method], kept)
    write_json(work / CONFIG, _without_head(config))
    return len(kept) < len(weights)


def _without_head(config: Mapping[str, Any]) -> dict[str, Any]:
    saved = config.get("modules_to_save") or []
    heads = isinstance(saved, list) and all(name in HEADS for name in saved)
    return {**config, "modules_to_save": None} if heads and "peft_type" in config else dict(config)


def _real(path: Path) -> Path:
    """The file in the client's cache behind a snapshot's link."""
    if not path.is_file():
        raise data_error(f"Weight file {path.name} is missing.", "Pickle files are never read.")
    return path.resolve()
