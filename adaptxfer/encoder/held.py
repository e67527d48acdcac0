"""Fitting a base model into memory: held in fp32, bf16, 8 or 4 bits, activations kept or computed again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from adaptxfer.errors import nearest, use_error

if TYPE_CHECKING:
    from torch import nn

HELD = ("fp32", "bf16", "int8", "nf4")
QUANTISED = ("int8", "nf4")
"""These change the encoder itself: a record says so, since a comparison with other runs is confounded by it."""
T = TypeVar("T")


def check_held(precision: str) -> None:
    """Refuse a precision that does not exist, or whose library is not here.

    Raises:
        AdaptxferError: naming it.
    """
    if precision not in HELD:
        raise use_error(f"--base-precision {precision!r} is unknown.", nearest(precision, HELD))
    if precision in QUANTISED:
        _library()


def hold(network: nn.Module, precision: str) -> None:
    """Bring a base model to ``precision`` in place, before anything is attached to it.

    Quantised are the linear layers (LLM.int8, Dettmers et al. 2022; NF4, Dettmers et al. 2023), when they move to
    their device; the rest becomes bf16.

    Raises:
        AdaptxferError: if bitsandbytes is needed and not here.
    """
    import torch

    if precision == "fp32":
        return
    network.to(torch.bfloat16)
    if precision in QUANTISED:
        quantised = _int8 if precision == "int8" else _nf4
        found = [(parent, name) for parent in network.modules() for name, part in parent.named_children()
                 if type(part) is torch.nn.Linear]  # fmt: skip
        for parent, name in found:
            setattr(parent, name, quantised(getattr(parent, name)))
        # peft asks for these before it wraps a layer
        network.is_loaded_in_8bit, network.is_loaded_in_4bit = precision == "int8", precision == "nf4"  # type: ignore[assignment]


def _library() -> Any:
    try:
        import bitsandbytes
    except ImportError as error:
        raise use_error(
            "A quantised base model needs bitsandbytes.",
            'Install it: pip install "adaptxfer[quantised]", or use --base-precision bf16.',
        ) from error
    return bitsandbytes


def _int8(layer: Any) -> nn.Module:
    layers = _library().nn
    made = layers.Linear8bitLt(layer.in_features, layer.out_features, layer.bias is not None, has_fp16_weights=False)
    made.weight = layers.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    made.bias = layer.bias
    return made


def _nf4(layer: Any) -> nn.Module:
    import torch

    layers = _library().nn
    made = layers.Linear4bit(layer.in_features, layer.out_features, layer.bias is not None, torch.bfloat16)
    made.weight = layers.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
    made.bias = layer.bias
    return made


def recompute(network: Any) -> None:
    """Let the backward pass of a network compute each layer again instead of keeping its activations."""
    network.supports_gradient_checkpointing = True  # the layers of XL do, though transformers does not say so
    # The other, reentrant kind trains nothing over a frozen encoder.
    network.gradient_checkpointing_enable({"use_reentrant": False})


def in_its_precision(encode: Callable[..., T]) -> Callable[..., T]:
    """Decorator for functions that run a network, their first argument.

    One held in less than fp32 runs under bf16 autocast, where modules in fp32 fit onto it; what comes out is fp32.
    """

    @functools.wraps(encode)
    def run(network: nn.Module, *given: Any, **named: Any) -> T:
        import torch

        words = network.get_input_embeddings().weight  # type: ignore[operator]
        if words.dtype.itemsize >= 4:
            return encode(network, *given, **named)
        with torch.autocast(words.device.type, torch.bfloat16):
            found: Any = encode(network, *given, **named)
        return [part.float() for part in found] if isinstance(found, list) else found.float()  # type: ignore[return-value]

    return run
