"""Which implementation of an operation runs: Triton kernels where they are supported and right, else plain torch.

``--kernels``, `using` or ``ADAPTXFER_KERNELS`` sets the mode: ``auto`` takes the kernels where it can and logs once why
not; ``triton`` raises with the reason instead; ``torch`` never takes them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

from adaptxfer.errors import AdaptxferError, use_error
from adaptxfer.kernels.modes import effective_mode, known_mode
from adaptxfer.kernels.parts import ACTIVATIONS

LOWEST = (8, 0)
"""Compute capability from which bf16 products and asynchronous copies exist."""
PRODUCTS = ("bottleneck", "lora_linear", "grouped_bottleneck", "grouped_lora_linear")
"""Tensor cores give kernels with products of their own their speed; in float32 they have none."""
OPERATIONS = ("add_norm", "gelu", "masked_lm", "fusion", *PRODUCTS)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MOST_INNER, MOST_STACKED, MOST_FUSED, WIDEST_NORM = 128, 2, 16, 4096

_forced: list[str] = []
_told: set[tuple[str, str]] = set()
NO_DEVICE = "there is no CUDA device"


@contextmanager
def using(mode: str | None) -> Iterator[None]:
    """Set the mode within a block, whatever the environment says; None leaves it as it is.

    Raises:
        AdaptxferError: for an unknown mode.
    """
    if mode is None:
        yield
        return
    _forced.append(known_mode(mode, "the mode of the kernels"))
    try:
        yield
    finally:
        _forced.pop()


def choose(
    op: str,
    rows: Tensor,
    *,
    inner: Sequence[int] = (),
    acts: Sequence[str] = (),
    drops: Sequence[float] = (),
    trains_norm: bool = False,
    mode: str | None = None,
) -> bool:
    """Whether to run the Triton kernel of an operation.

    Args:
        op: one of ``OPERATIONS``.
        rows: (T, H) activations it works on.
        inner: widths of its bottlenecks or ranks of its updates, one for each.
        acts: their activations.
        drops: their dropout probabilities.
        trains_norm: whether its LayerNorm wants gradients.
        mode: ``auto``, ``triton`` or ``torch``; None for that of `using`, else the environment's, else ``auto``.

    Raises:
        AdaptxferError: for an unknown mode, or in mode ``triton`` if the kernel cannot be used, with the reason.
    """
    device, dtype = rows.device, rows.dtype
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
    return _decide(
        op, device.type, device.index or 0, dtype, rows.shape[-1], tuple(inner), tuple(acts), tuple(drops), trains_norm,
        mode or (_forced[-1] if _forced else None),
    )  # fmt: skip


@torch.compiler.assume_constant_result
def _decide(
    op: str, kind: str, index: int, dtype: torch.dtype, width: int, inner: tuple[int, ...], acts: tuple[str, ...],
    drops: tuple[float, ...], trains_norm: bool, mode: str | None,
) -> bool:  # fmt: skip
    mode, _ = effective_mode(mode)
    if mode == "torch":
        return False
    reason = _obstacle(op, kind, index, dtype, mode) or refusal(op, width, inner, acts, drops, trains_norm)
    reason = reason or _fault(op, kind, index, dtype)
    if reason and mode == "triton":
        raise unusable(f"kernel of {op}", reason)
    if reason and (op, reason) not in _told:
        _told.add((op, reason))
        logging.getLogger("adaptxfer").info("%s runs in plain torch: %s.", op, reason)
    return not reason


def current_mode() -> tuple[str, str]:
    """The mode that holds here and where it comes from: that of `using`, else the environment's, else ``auto``."""
    return effective_mode(_forced[-1] if _forced else None)


def unusable(what: str, reason: str) -> AdaptxferError:
    """The error of mode ``triton`` where plain torch would run in mode ``auto``."""
    return use_error(
        f"The Triton {what} cannot be used: {reason}.", "With --kernels auto plain torch runs in such cases."
    )


def check_machine(mode: str | None) -> None:
    """Refuse mode ``triton`` on a machine that can run no kernel at all, before anything is loaded.

    Args:
        mode: what was asked; None for the environment's.

    Raises:
        AdaptxferError: with the reason.
    """
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    if effective_mode(mode)[0] == "triton" and (reason := _device_refusal(kind, 0, torch.float32)):
        raise unusable("kernels", reason)


def choices(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """For every operation why it runs in plain torch on this device in the mode that holds; empty for its kernel.

    What depends on sizes is left out. Kernels that may run are checked here, as at their first use.
    """
    (mode, origin), place = current_mode(), (device.type, device.index or 0)
    if mode == "torch":
        return dict.fromkeys(OPERATIONS, f"the mode is torch ({origin})")
    return {op: _obstacle(op, *place, dtype, mode) or _fault(op, *place, dtype) for op in OPERATIONS}


def _obstacle(op: str, kind: str, index: int, dtype: torch.dtype, mode: str) -> str:
    """What speaks against a kernel whatever the sizes."""
    if mode == "auto" and kind != "cuda":
        return NO_DEVICE
    if found := _device_refusal(kind, index, dtype):
        return found
    return (
        "matrix products in float32 are left to it"
        if mode == "auto" and dtype == torch.float32 and op in PRODUCTS
        else ""
    )


@lru_cache(maxsize=256)
def _device_refusal(kind: str, index: int, dtype: torch.dtype) -> str:
    if find_spec("triton") is None:
        return "the package triton is not installed"
    if kind != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"it needs a CUDA device, the tensors are on {kind}" if torch.cuda.is_available() else NO_DEVICE
    if kind == "cuda" and (found := torch.cuda.get_device_capability(index)) < LOWEST:
        return f"it needs compute capability {LOWEST[0]}.{LOWEST[1]}, this GPU has {found[0]}.{found[1]}"
    if dtype not in DTYPES:
        return f"it has no kernel for {str(dtype).removeprefix('torch.')}"
    return ""


@lru_cache(maxsize=256)
def refusal(
    op: str, width: int, inner: tuple[int, ...], acts: tuple[str, ...], drops: tuple[float, ...], trains_norm: bool
) -> str:
    """Why the kernel of an operation does not take these sizes and options; empty if it does. See `choose`."""
    if trains_norm:
        return "the LayerNorm trains"
    if op in PRODUCTS and width % 64:
        return f"the width {width} is not a multiple of 64"
    if op == "add_norm" and width > WIDEST_NORM:
        return f"the width {width} is above {WIDEST_NORM}"
    if inner and max(inner) > MOST_INNER:
        return f"the bottleneck width {max(inner)} is above {MOST_INNER}"
    if unknown := [act for act in acts if act not in ACTIVATIONS]:
        return f"it has no activation {unknown[0]}"
    if op in ("bottleneck", "grouped_bottleneck") and len(inner) > MOST_STACKED:
        return f"it stacks {MOST_STACKED} adapters at most, not {len(inner)}"
    if op == "fusion" and len(inner) > MOST_FUSED:
        return f"it fuses {MOST_FUSED} adapters at most, not {len(inner)}"
    if op in ("fusion", "lora_linear", "grouped_lora_linear") and len(set(drops)) > 1:
        return "the dropout probabilities of the updates differ"
    if any(p >= 1.0 for p in drops):
        return "a dropout probability is 1"
    return ""


@lru_cache(maxsize=64)
def _fault(op: str, kind: str, index: int, dtype: torch.dtype) -> str:
    """What is wrong with a kernel on this device: 64 rows against plain torch, once. No kernel is trusted unseen."""
    from adaptxfer.kernels.triton.self_check import fault

    found = fault(op, torch.device(kind, index) if kind == "cuda" else torch.device(kind), dtype)
    if found:
        logging.getLogger("adaptxfer").warning("The Triton kernel of %s failed its check on this GPU: %s.", op, found)
        return f"it failed its check on this GPU ({found})"
    return ""
