"""A tiny random XLM-R for tests: 2 layers of width 32, saved as a user's folder would be."""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "sentencepiece.bpe.model")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny matrices: more threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def save_tiny(
    folder: Path, tokenizer_dir: Path, seed: int = 0, dtype: str = "float32", kind: str = "XLMRoberta", **changed: Any
) -> Path:
    """Write a random encoder (safetensors) and the tokenizer of ``tokenizer_dir`` to ``folder``.

    ``kind`` XLMRobertaXL has its LayerNorms before the sub-layers, as XLM-R XL and XXL.

    Weights have a deviation of 0.2, so that modules and inputs make a difference that a comparison can see.
    """
    import torch
    import transformers

    options = {
        "vocab_size": 16_000,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 130,
        "type_vocab_size": 1,
        "pad_token_id": 1,
        "initializer_range": 0.2,
    }
    config = getattr(transformers, f"{kind}Config")(**(options | changed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = getattr(transformers, f"{kind}Model")(config, add_pooling_layer=False)
    network.to(getattr(torch, dtype)).save_pretrained(folder, safe_serialization=True)
    for name in TOKENIZER_FILES:
        if (tokenizer_dir / name).is_file():
            shutil.copy(tokenizer_dir / name, folder / name)
    return folder


def fresh(encoder: Any) -> Any:
    """A copy of a loaded encoder that shares nothing a test could change but the tokenizer."""
    return type(encoder)(copy.deepcopy(encoder.network), encoder.tokenizer, encoder.base, encoder.hints)


def packed(lengths: tuple[int, ...] = (7, 4, 9), seed: int = 0) -> tuple[Any, Any]:
    """Random packed ids (T,) and bounds (S+1,) as the encoder takes them, each sequence in <s> ... </s>."""
    import torch

    random = torch.Generator().manual_seed(seed)
    parts = [torch.randint(4, 1000, (length,), generator=random) for length in lengths]
    for part in parts:
        part[0], part[-1] = 0, 2
    return torch.cat(parts), torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])


def hash_of(tensors: Any) -> str:
    """SHA-256 over names and bytes of a dictionary of tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def randomise(parameters: Any, seed: int, deviation: float = 0.1) -> None:
    """Give fresh modules weights that do something (a fresh bottleneck or LoRA is nearly or exactly idle)."""
    import torch

    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in sorted(parameters):
            parameters[name].add_(torch.randn(parameters[name].shape, generator=random) * deviation)


def arrange(encoder: Any, method: str, how: str, own_module: bool = False, task: str = "goal", spec: Any = None) -> Any:
    """A model that trains ``task`` over modules ``one`` and ``two`` as ``how`` says.

    Returns:
        The adapted model, its composition tree and the weights that train.
    """
    from adaptxfer.modules.composition import fusions, leaves, target_tree, trained_parts
    from adaptxfer.modules.heads import HeadSpec, build_head
    from adaptxfer.modules.model import AdaptedModel, make_method

    method = make_method(method, fresh(encoder).network)
    given = {"stack": ["one"], "fuse": ["two", "one"]}.get(how, [])
    tree = target_tree(how, task, given, own_module)
    for number, name in enumerate([*given, *({task} & set(leaves(tree)))]):
        method.add(name, {}, seed=1)
        if name != task or how in ("continue", "merge"):  # as if it had been trained before
            randomise(method.parameters(name), number)
    for fused in fusions(tree):
        method.add_fusion(fused, seed=1)
    method.activate(tree)
    spec = spec or HeadSpec("classify", encoder.base.width, ("no", "yes"))
    model = AdaptedModel(method, {task: build_head(spec, 1, task)})
    return model, tree, model.set_trainable(*trained_parts(how, tree, task))


WAYS = [
    ("bottleneck", "none", False),
    ("bottleneck", "continue", False),
    ("bottleneck", "merge", False),
    ("bottleneck", "stack", False),
    ("bottleneck", "fuse", False),
    ("bottleneck", "fuse", True),
    ("lora", "none", False),
    ("lora", "continue", False),
    ("lora", "merge", False),
    ("lora", "stack", False),
    ("full", "none", False),
    ("full", "continue", False),
    ("full", "merge", False),
]
"""Every method with every way of using intermediate modules; the last is --own-module."""


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: Any, mini_dir: Path) -> Path:
    """A folder with the tiny encoder, to be read only."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", mini_dir)


@pytest.fixture(scope="session")
def tiny_encoder(tiny_dir: Path) -> Any:
    """The tiny encoder as loaded; take a `fresh` copy before attaching anything."""
    from adaptxfer.encoder import load_encoder

    return load_encoder(str(tiny_dir))
