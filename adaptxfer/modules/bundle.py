"""A bundle: encoder reference, composition and heads, saved and loaded as one thing.

bundle.json          what it is, with a hash of every other file
module/              native layout of `adapters`, `peft` or `transformers`; one folder per module in a composition
head.safetensors     the head, if the task has one
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptxfer.encoder import BaseModel
from adaptxfer.errors import data_error
from adaptxfer.files import check_name, file_hash, read_json, write_error, write_json
from adaptxfer.modules.composition import METHODS, Leaf, Tree, check_tree, from_json, fusions, leaves, to_json

if TYPE_CHECKING:
    from adaptxfer.encoder import Encoder
    from adaptxfer.modules.heads import HeadSpec
    from adaptxfer.modules.method import Method
    from adaptxfer.modules.model import AdaptedModel

FILE = "bundle.json"
SCHEMA = 1
LARGEST_JSON = 1 << 20
"""Bytes that a manifest or config may have; real ones have a few thousand."""
PART = re.compile(r"head\.safetensors|module/([A-Za-z0-9_-]+/)?[A-Za-z0-9_-][A-Za-z0-9_.-]*\.(safetensors|json)")
"""What a bundle may list as its files."""


@dataclass(frozen=True)
class Bundle:
    """Where a bundle lies and what it is; loads no weights by itself."""

    folder: Path
    base: BaseModel
    method: str
    tree: Tree
    task: str
    heads: Mapping[str, HeadSpec] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def module_folder(self, name: str) -> Path:
        """The native folder of one module."""
        return self.folder / "module" if isinstance(self.tree, Leaf) else self.folder / "module" / name

    def single(self) -> str:
        """The name of the only module, for use as an intermediate.

        Raises:
            AdaptxferError: if the bundle is a composition of several.
        """
        if isinstance(self.tree, Leaf):
            return self.tree.name
        raise data_error(
            f"{self.folder.name} is a composition of {len(leaves(self.tree))} modules and cannot be an intermediate.",
            "Give bundles of train-intermediate, or of transfer with --how none, continue or merge.",
        )

    def called(self) -> str:
        """What tables call it as an intermediate: the module's name, or all tasks of one trained on several.

        Raises:
            AdaptxferError: if the bundle is a composition of several modules.
        """
        name = self.single()
        return "-".join(self.heads) if name in self.heads and len(self.heads) > 1 else name

    def to_dict(self) -> dict[str, Any]:
        """The content of ``bundle.json``."""
        return {
            "schema": SCHEMA,
            "task": self.task,
            "base_model": self.base.to_dict(),
            "method": self.method,
            "composition": to_json(self.tree),
            "options": dict(self.options),
            "heads": {task: spec.to_dict() for task, spec in self.heads.items()},
            "files": dict(self.files),
        }


def save_bundle(model: AdaptedModel, bundle: Bundle) -> Bundle:
    """Write all parts below ``bundle.folder``; ``bundle.json`` comes last and makes it readable.

    Raises:
        AdaptxferError: if the disk is full or the folder cannot be written.
    """
    from safetensors import SafetensorError

    folder = bundle.folder
    (folder / FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / "module", ignore_errors=True)
    try:
        _save_parts(model, bundle)
    except OSError as error:
        raise write_error(folder, error) from error
    except SafetensorError as error:  # how safetensors reports a full disk
        raise data_error(f"Writing {folder} failed: {error}.", "Free some space and run it again.") from error
    parts = [*sorted((folder / "module").rglob("*")), folder / "head.safetensors"]
    hashes = {path.relative_to(folder).as_posix(): file_hash(path) for path in parts if path.is_file()}
    saved = replace(bundle, files=hashes)
    write_json(folder / FILE, saved.to_dict())
    return saved


def _save_parts(model: AdaptedModel, bundle: Bundle) -> None:
    from adaptxfer.modules.weights import save_tensors

    for name in leaves(bundle.tree):
        bundle.module_folder(name).mkdir(parents=True, exist_ok=True)
        model.method.save(name, bundle.module_folder(name))
    for fused in fusions(bundle.tree):
        model.method.save_fusion(fused, bundle.folder / "module" / "fusion")
    if model.heads:
        save_tensors(bundle.folder / "head.safetensors", model.heads.state_dict())


def read_bundle(folder: Path) -> Bundle:
    """Read and verify ``bundle.json`` and the hashes of all parts.

    Raises:
        AdaptxferError: if there is no bundle, it is damaged, or a part is missing, changed or outside the folder.
    """
    from adaptxfer.modules.heads import HeadSpec

    path = Path(folder) / FILE
    if not path.is_file():
        hint = "Give a finished run that trained a module: `adaptxfer adapters list` shows them."
        raise data_error(f"{folder} holds no bundle ({FILE} is missing).", hint)
    try:
        found = read_small(path, "bundle")
        if found["schema"] != SCHEMA:
            raise data_error(f"{path} has schema {found['schema']}, expected {SCHEMA}.", "Update adaptxfer.")
        if found["method"] not in METHODS:
            raise data_error(f"{path} names the unknown method {found['method']!r}.")
        heads = {check_name(task, "task"): HeadSpec.from_dict(spec) for task, spec in found["heads"].items()}
        bundle = Bundle(
            Path(folder),
            BaseModel.from_dict(found["base_model"]),
            found["method"],
            from_json(found["composition"]),
            check_name(found["task"], "task"),
            heads,
            dict(found["options"]),
            dict(found["files"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise data_error(f"{path} is not a complete bundle ({type(error).__name__}: {str(error)[:200]}).") from error
    check_tree(bundle.tree, bundle.method)
    _verify(bundle)
    return bundle


def read_small(path: Path, what: str) -> Any:
    """Read a JSON file that may come from a stranger.

    Raises:
        AdaptxferError: if it is no JSON, or larger or in another form (gzip) than such files are.
    """
    try:
        with path.open("rb") as handle:
            start = handle.read(LARGEST_JSON + 1)
    except OSError as error:
        raise data_error(f"{what} {path} cannot be read: {error.strerror or error}.") from error
    if len(start) > LARGEST_JSON or start[:2] == b"\x1f\x8b":
        raise data_error(f"{what} {path} is gzip or has more than {LARGEST_JSON:,} bytes, which no such file has.")
    try:
        return read_json(path, what)
    except ValueError as error:  # a number of thousands of digits
        raise data_error(f"{what} {path} is not valid JSON ({error}).") from error


def _verify(bundle: Bundle) -> None:
    root = os.path.realpath(bundle.folder)  # unlike resolve(), it takes links in a circle
    for name, digest in bundle.files.items():
        part = bundle.folder / name
        known = PART.fullmatch(name) and len(name) <= 300
        if not known or not Path(os.path.realpath(part)).is_relative_to(root):
            raise data_error(
                f"{bundle.folder.name} names a file outside its folder, or one that is no part of a bundle: "
                f"{name[:100]!r}."
            )
        if part.is_symlink() or not part.is_file():
            raise data_error(f"{bundle.folder.name} lacks its file {name}.", "Train or pull it again.")
        if file_hash(part) != digest:
            raise data_error(f"{bundle.folder.name}: {name} is not the file that was saved.", "Train or pull it again.")
    found = [*(bundle.folder / "module").rglob("*"), bundle.folder / "head.safetensors"]
    there = {path.relative_to(bundle.folder).as_posix() for path in found if path.is_symlink() or path.is_file()}
    if extra := sorted(there - set(bundle.files)):  # it would be loaded without a hash
        raise data_error(f"{bundle.folder.name} holds a file that it does not list: {extra[0][:100]!r}.", "Remove it.")


def check_base(bundle: Bundle, base: BaseModel) -> None:
    """Refuse a bundle that was trained on another base model, even one of the same width.

    Raises:
        AdaptxferError: naming both models.
    """
    if bundle.base.fingerprint != base.fingerprint:
        raise data_error(
            f"{bundle.folder.name} was trained on {bundle.base.id} ({bundle.base.fingerprint[:8]}), "
            f"not on {base.id} ({base.fingerprint[:8]}).",
            f"Use --model {bundle.base.id}."
            if bundle.base.id != base.id
            else "Both go by one name but their weights differ: use the copy or revision it was trained on.",
        )


def attach(bundle: Bundle, method: Method) -> None:
    """Attach all modules and fusions of a bundle under their own names."""
    for name in leaves(bundle.tree):
        method.load(name, bundle.module_folder(name))
    for fused in fusions(bundle.tree):
        method.load_fusion(fused, bundle.folder / "module" / "fusion")


def load_bundle(bundle: Bundle, encoder: Encoder) -> AdaptedModel:
    """The whole network of a bundle, ready to predict.

    Raises:
        AdaptxferError: if the base model is another one or a weight is missing or does not fit.
    """
    from adaptxfer.modules.heads import build_head
    from adaptxfer.modules.model import AdaptedModel, make_method
    from adaptxfer.modules.weights import load_into

    check_base(bundle, encoder.base)
    for task, spec in bundle.heads.items():
        if spec.width != encoder.base.width:
            raise data_error(f"The head for {task} has width {spec.width}, the base model {encoder.base.width}.")
    method = make_method(bundle.method, encoder.network)
    attach(bundle, method)
    method.activate(bundle.tree)
    heads = {task: build_head(spec, 0, task) for task, spec in bundle.heads.items()}
    model = AdaptedModel(method, heads)
    if heads:
        load_into(model.heads.state_dict(), bundle.folder / "head.safetensors")
    model.set_trainable([])
    return model.eval()
