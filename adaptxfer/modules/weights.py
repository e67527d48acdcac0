"""Strict reading and writing of weight files: exactly the tensors that are expected, finite, and never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adaptxfer.errors import data_error
from adaptxfer.files import atomic_file

if TYPE_CHECKING:
    from torch import Tensor


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all.

    Raises:
        AdaptxferError: if the disk is full or the file cannot be written; what was there before is kept.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_file(path) as temporary:
        try:
            save_file(plain, temporary, metadata={"format": "pt"})
        except SafetensorError as error:  # how safetensors reports a full disk
            raise data_error(
                f"Writing {path} failed: {error}.", "Free some space and run the same command again."
            ) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        AdaptxferError: if it is missing, a link, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.is_symlink() or not path.is_file():
        raise data_error(f"Weight file {path} is missing.", "Only safetensors files are read, never pickle.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise data_error(f"Weight file {path} is damaged: {error}.", "Fetch or train it again.") from error


def check_file(path: Path) -> None:
    """Look at the names and types in a safetensors file without loading it.

    Raises:
        AdaptxferError: if it is missing, a link, or damaged, holds nothing, or something else than floats.
    """
    from safetensors import SafetensorError, safe_open

    if path.is_symlink() or not path.is_file():
        raise data_error(f"Weight file {path} is missing.", "Only safetensors files are read, never pickle.")
    try:
        with safe_open(path, "pt") as found:
            types = {name: found.get_slice(name).get_dtype() for name in found.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise data_error(f"Weight file {path} is damaged: {error}.", "Fetch or train it again.") from error
    if strange := sorted(name for name, kind in types.items() if kind not in ("F32", "F16", "BF16")):
        raise data_error(f"{path}: {strange[0]} is of type {types[strange[0]]}, expected a float of 16 or 32 bits.")
    if not types:
        raise data_error(f"Weight file {path} holds no weights.")


def load_into(parameters: Mapping[str, Tensor], path: Path) -> None:
    """Copy the tensors of a file into parameters of the same names.

    Raises:
        AdaptxferError: if a name is missing or unexpected, or a shape, a dtype or a value does not fit.
    """
    copy_into(parameters, read_tensors(path), str(path))


def copy_into(parameters: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Copy ``found`` into ``parameters`` if they fit exactly (see `load_into`)."""
    import torch

    if missing := sorted(set(parameters) - set(found)):
        raise data_error(f"{where} lacks {len(missing)} of {len(parameters)} weights, e.g. {missing[0]}.")
    if extra := sorted(set(found) - set(parameters)):
        raise data_error(f"{where} holds {len(extra)} weights that have no place here, e.g. {extra[0]}.")
    for name, parameter in parameters.items():
        value = found[name]
        if value.shape != parameter.shape:
            expected, got = list(parameter.shape), list(value.shape)
            raise data_error(f"{where}: {name} should have the shape {expected}, found {got}.")
        if value.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise data_error(f"{where}: {name} is of type {value.dtype}, expected a float of 16 or 32 bits.")
        if not bool(torch.isfinite(value).all()):
            raise data_error(f"{where}: {name} holds NaN or infinite values.", "This module is broken; train it again.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(placed_like(found[name], parameter))


def whole(value: Tensor) -> Tensor:
    """A tensor that is spread over processes in one piece, for which all of them must ask; others as they are."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value  # type: ignore[attr-defined]


def placed_like(value: Tensor, parameter: Tensor) -> Tensor:
    """``value`` on the device of ``parameter``, and of one that is spread over processes this process's share."""
    value = value.to(parameter.device)
    if not hasattr(parameter, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
    return distribute_tensor(value, mesh, placements, src_data_rank=None)  # each reads its own; nothing is sent
