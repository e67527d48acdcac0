"""Safe loading of a base model: what its config may ask for is checked before transformers sees it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptxfer.console import console
from adaptxfer.embedded import encoder_dir
from adaptxfer.encoder.held import hold
from adaptxfer.errors import data_error, use_error
from adaptxfer.files import is_offline, read_json

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerFast

SUPPORTED = ("xlm-roberta", "xlm-roberta-xl", "roberta", "bert")
FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "sentencepiece.bpe.model",
    "vocab.*",
    "merges.txt",
    "adaptxfer.json",
)
_CODE_KEYS = (
    "auto_map",
    "custom_pipelines",
    "_attn_implementation",
    "_attn_implementation_internal",
    "attn_implementation",
    "_experts_implementation",
    "kernel_config",
    "kernels",
    "use_kernels",
    "quantization_config",
)


@dataclass(frozen=True)
class BaseModel:
    """Which pretrained encoder something was trained on; compared whenever a bundle is loaded."""

    id: str
    revision: str | None
    fingerprint: str  # see `fingerprint`
    model_type: str
    layers: int
    width: int

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle and a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> BaseModel:
        """Rebuild from `to_dict`; TypeError if a field is missing, unknown or empty."""
        base = cls(**found)
        if not all(isinstance(value, str) and value for value in (base.id, base.fingerprint, base.model_type)):
            raise TypeError("id, fingerprint and model_type of the base model must be words")
        return base


@dataclass(frozen=True)
class ModelHints:
    """What the folder of a base model recommends in its ``adaptxfer.json``; empty for most models."""

    max_length: int | None = None  # longest useful sequence
    retrieval_layer: int | None = None
    learning_rate: dict[str, float] | None = None  # by method


@dataclass
class Encoder:
    """A loaded base model: the network (no pooler, no head), its tokenizer, its identity and its hints."""

    network: nn.Module
    tokenizer: PreTrainedTokenizerFast
    base: BaseModel
    hints: ModelHints


def locate(model: str, revision: str | None = None, weights: bool = True) -> tuple[Path, str, str | None]:
    """Find the folder of a base model: the embedded one, a local folder, or a snapshot from the Hub.

    Args:
        model: ``mini``, a folder, or a Hub id.
        revision: of a Hub model.
        weights: False fetches the small files of a Hub model alone, enough to plan.

    Returns:
        The folder, the id to record (never a path of this machine: a local folder is known by its name) and the
        revision, if the model came from the Hub.

    Raises:
        AdaptxferError: if it is neither here nor to be had.
    """
    if embedded := encoder_dir(model):
        return embedded, model, None
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder, folder.resolve().name, None
    if folder.is_absolute() or model.startswith(".") or model.count("/") > 1:
        raise use_error(f"There is no model folder {model}.", "Give a Hub id, a folder, or --model mini.")
    return _snapshot(model, revision, FILES if weights else tuple(f for f in FILES if ".safetensors" not in f))


def _snapshot(model: str, revision: str | None, patterns: tuple[str, ...]) -> tuple[Path, str, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        path = Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))
    except HFValidationError as error:
        raise use_error(f"{model!r} is no Hub id and no folder.", "Use owner/name, a folder, or mini.") from error
    except GatedRepoError as error:
        raise data_error(f"{model} asks you to accept its terms first.", "Accept them and set HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise data_error(f"{model} has no revision {revision!r} on the Hub.") from error
    except RepositoryNotFoundError as error:
        raise data_error(f"{model} is not on the Hub.", "Check the spelling, or set HF_TOKEN if private.") from error
    except LocalEntryNotFoundError as error:
        why = "--offline is set and it is not in the cache" if is_offline() else "the Hub cannot be reached"
        raise data_error(
            f"Base model {model} is not here: {why}.",
            "Run once with a network, give a folder, or use --model mini.",
        ) from error
    except OSError as error:  # connection problems of every kind arrive as OSError
        raise data_error(
            f"Fetching {model} failed: {_first_line(error)}.", "Try again, or use --model mini."
        ) from error
    return path, model, path.name


def check_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` and refuse what would run foreign code or fetch kernels.

    transformers 4.57 follows an attention implementation named in the file to a kernel on the Hub and runs it
    (CVE-2026-4372), so the file is checked before transformers reads it.

    Raises:
        AdaptxferError: naming the key that is refused, or the model type if it is not supported.
    """
    if (folder / "adapter_config.json").exists():  # transformers would follow it to another model, unchecked
        raise data_error(
            f"{folder.name} holds an adapter_config.json: it is a module, not a base model.",
            "Give the base model it was trained on.",
        )
    config = read_json(folder / "config.json", "base model config")
    if not isinstance(config, dict):
        raise data_error(f"{folder / 'config.json'} is not a JSON object.")
    if bad := _find_keys(config, set(_CODE_KEYS)):
        raise data_error(
            f"The config.json of {folder.name} sets {', '.join(bad)}, which can make code from elsewhere run.",
            "Remove the key if you trust the model, or use another copy of it.",
        )
    if config.get("model_type") not in SUPPORTED:
        raise data_error(
            f"Model type {config.get('model_type')!r} is not supported.", f"Supported: {', '.join(SUPPORTED)}."
        )
    return config


def _find_keys(value: Any, wanted: set[str], depth: int = 0) -> list[str]:
    if depth > 20 or not isinstance(value, dict | list):
        return []
    children = value.values() if isinstance(value, dict) else value
    own = [key for key in value if key in wanted and value[key] is not None] if isinstance(value, dict) else []
    return sorted({*own, *(key for child in children for key in _find_keys(child, wanted, depth + 1))})


def read_hints(folder: Path) -> ModelHints:
    """The recommendations of ``adaptxfer.json`` beside a base model, if there are any."""
    path = folder / "adaptxfer.json"
    if not path.is_file():
        return ModelHints()
    found = read_json(path, "model hints")
    fits = {"max_length": int, "retrieval_layer": int, "learning_rate": dict}
    if not isinstance(found, dict) or any(not isinstance(found.get(k), t | None) for k, t in fits.items()):
        raise data_error(f"{path} should hold max_length, retrieval_layer (numbers) and learning_rate (by method).")
    return ModelHints(found.get("max_length"), found.get("retrieval_layer"), found.get("learning_rate"))


def load_encoder(model: str, revision: str | None = None, precision: str = "fp32") -> Encoder:
    """Load a base model with its fast tokenizer.

    It is read in float32, which its fingerprint is of, and then held in ``precision`` (`adaptxfer.encoder.held`).

    Raises:
        AdaptxferError: if it cannot be found, is not safe, or lacks weights.
    """
    folder, name, commit = locate(model, revision)
    config = check_config(folder)
    if not list(folder.glob("*.safetensors")):
        raise data_error(f"{name} has no safetensors weights.", "Convert it; pickle files are never loaded.")
    with console().waiting(f"Loading {name}"):  # seconds, for the imports of torch and transformers alone
        network, tokenizer = _read(folder, name)
    network.config._name_or_path = name  # recorded by adapters and peft: no path of this machine
    network.name_or_path = name
    base = BaseModel(
        name,
        commit,
        fingerprint(network),
        config["model_type"],
        network.config.num_hidden_layers,
        network.config.hidden_size,
    )
    hold(network, precision)
    return Encoder(network, tokenizer, base, read_hints(folder))


def _read(folder: Path, name: str) -> tuple[Any, Any]:
    """The network in float32 and its tokenizer."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        network, info = AutoModel.from_pretrained(
            folder,
            add_pooling_layer=False,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation="sdpa",
            dtype=torch.float32,  # exact for fp16 and bf16 files, whatever the config says
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # safetensors and tokenizers have errors of their own for damaged files
        raise data_error(f"{name} cannot be loaded: {_first_line(error)}.", "Fetch it again.") from error
    if info["missing_keys"] or info["mismatched_keys"]:
        missing = sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])])
        raise data_error(f"{name} lacks {len(missing)} weights of its architecture, e.g. {missing[0]}.")
    return network, tokenizer


def body_parameters(network: nn.Module) -> int:
    """Weights of the encoder outside its embeddings, the size by which encoders are compared."""
    return sum(value.numel() for name, value in network.named_parameters() if not name.startswith("embeddings."))


def fingerprint(network: nn.Module) -> str:
    """A hash that tells base models apart: names, shapes and at most 1,024 evenly spaced values of every weight.

    Values are compared as float32, so the same weights stored as fp16 and loaded as fp32 agree; a copy resaved in
    another file layout agrees too.
    """
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        flat = value.detach().reshape(-1)
        step = max(1, -(-flat.numel() // 1024))
        digest.update(json.dumps([name, list(value.shape)]).encode())
        digest.update(flat[::step].to(torch.float32).cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")


def load_masked_head(model: str, revision: str | None = None) -> dict[str, Tensor]:
    """The weights of a base model's masked-word head, without the decoder it shares with the word embeddings.

    Raises:
        AdaptxferError: if the model was saved without one.
    """
    from safetensors import safe_open

    folder, name, _ = locate(model, revision)
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as handle:
            for key in handle.keys():
                if key.startswith("lm_head.") and not key.startswith("lm_head.decoder"):
                    found[key.removeprefix("lm_head.")] = handle.get_tensor(key)
    if not found:
        raise data_error(f"{name} has no masked-word head (lm_head).", "Leave out --mlm or use another base model.")
    return found
