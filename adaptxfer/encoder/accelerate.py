"""Making the models of other libraries faster in place: their encoder runs without padding, on the kernels."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from adaptxfer.encoder.lower import lower
from adaptxfer.encoder.packed import run, say_once
from adaptxfer.encoder.program import Program, Tokens
from adaptxfer.kernels.dispatch import check_machine, using

HANDLED = {"attention_mask", "token_type_ids", "position_ids", "output_hidden_states", "return_dict"}
"""Arguments besides ``input_ids``; all others must be left at None or False."""


class Accelerated:
    """What `accelerate` did to a model; `restore` or the end of a ``with`` block undoes it."""

    def __init__(self, encoders: list[nn.Module]) -> None:
        self.encoders = encoders
        """The encoders that run without padding now."""

    def restore(self) -> None:
        """Give the encoders their own forward pass back."""
        for encoder in self.encoders:
            encoder.__dict__.pop("forward", None)
        self.encoders = []

    def __enter__(self) -> Accelerated:
        return self

    def __exit__(self, *error: object) -> None:
        self.restore()


def accelerate(model: nn.Module, kernels: str | None = None) -> Accelerated:
    """Speed up a model of transformers, `adapters` or `peft` around an XLM-R, RoBERTa or BERT encoder, in place.

    It is called as before, with padded ``input_ids`` and ``attention_mask``. Weights, names and saving are untouched.
    Hidden states of real tokens and all gradients are equal but for rounding; those of padding are 0. Calls with other
    arguments, modules without a formula here, modules with hooks, and padded batches of question-answering heads (whose
    softmax includes padding) take the model's own way; the reason is logged once.

    Args:
        model: the encoder itself, or anything that holds one.
        kernels: ``auto``, ``triton`` or ``torch``; None for the environment's.

    Returns:
        A handle that undoes it, also as a context manager.

    Raises:
        AdaptxferError: for an unknown mode; with ``triton`` also, here or later, for whatever cannot run on kernels.
    """
    encoders: list[Any] = [part for part in model.modules() if _is_encoder(part)]
    reasons = [reason for encoder in encoders if isinstance(reason := lower(encoder), str)]
    with using(kernels):
        check_machine(kernels)
        for reason in reasons if encoders else ["there is no XLM-R, RoBERTa or BERT encoder in this model"]:
            say_once(reason)
    fresh = [encoder for encoder in encoders if not isinstance(encoder.__dict__.get("forward"), PackedForward)]
    for encoder in fresh:
        encoder.forward = PackedForward(encoder, model, kernels)
    return Accelerated(fresh)


def _is_encoder(part: Any) -> bool:
    return hasattr(part, "embeddings") and hasattr(getattr(part, "encoder", None), "layer")


class PackedForward:
    """Stands in for the ``forward`` of an encoder that is called with padded batches."""

    def __init__(self, encoder: nn.Module, model: nn.Module, kernels: str | None) -> None:
        self.encoder, self.model, self.kernels = encoder, model, kernels
        self.own: Callable[..., Any] = encoder.forward
        functools.update_wrapper(self, self.own)
        self.signature = _signature(encoder)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run without padding where that is known to be the same, else as before."""
        found = self._try(args, kwargs)
        if not isinstance(found, str):
            return found
        with using(self.kernels):
            say_once(found)
        return self.own(*args, **kwargs)

    def _try(self, args: Any, kwargs: Any) -> Any:
        """The output, or why there is none."""
        try:
            given = self.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            return str(error)
        ids, mask = given.pop("input_ids", None), given.get("attention_mask")
        if others := [name for name, value in _flat(given) if name not in HANDLED and value is not None]:
            return f"{others[0]} is given"
        if given.get("output_attentions") is None and self.encoder.config.output_attentions:  # type: ignore
            return "output_attentions is given"
        if ids is None or ids.dim() != 2 or (mask is not None and mask.shape != ids.shape):
            return "a batch is not (sequences, tokens) with a mask of the same shape"
        if reason := _watched(self.encoder):
            return reason
        keep = None if mask is None or bool((mask == 1).all()) else (mask == 1).flatten().nonzero()[:, 0]
        if keep is not None and _reads_padding(self.model, self.encoder):
            return "a question-answering head reads the states of padding"
        program = lower(self.encoder)
        return program if isinstance(program, str) else self._run(program, ids, mask, keep, given)

    def _run(self, program: Program, ids: Tensor, mask: Tensor | None, keep: Tensor | None, given: dict) -> Any:
        config: Any = self.encoder.config
        choice = {name: given.get(name) for name in ("output_hidden_states", "return_dict")}
        all_states = config.output_hidden_states if choice["output_hidden_states"] is None else choice[
            "output_hidden_states"]  # fmt: skip
        as_dict = config.use_return_dict if choice["return_dict"] is None else choice["return_dict"]
        count = len(program.layers)
        tokens = _tokens(program, ids, mask, keep, given)
        with using(self.kernels):
            states: Any = run(program, tokens, range(count + 1) if all_states else [count])
        return self._output([_padded(state, keep, ids.shape) for state in states], all_states, as_dict)

    def _output(self, states: list[Tensor], all_states: bool, as_dict: bool) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

        pooler: Any = getattr(self.encoder, "pooler", None)
        pooled = None if pooler is None else pooler(states[-1])
        kept = tuple(states) if all_states else None
        if not as_dict:
            return (states[-1], pooled) if kept is None else (states[-1], pooled, kept)
        return BaseModelOutputWithPoolingAndCrossAttentions(states[-1], pooled, kept)  # type: ignore[arg-type]


def _signature(encoder: nn.Module) -> inspect.Signature:
    """Of the first ``forward`` that names its arguments: `adapters` wraps it in one that takes anything."""
    found = inspect.signature(encoder.forward)
    for kind in type(encoder).__mro__:
        if "input_ids" in found.parameters:
            break
        if "forward" in vars(kind):
            named = inspect.signature(vars(kind)["forward"])
            found = named.replace(parameters=list(named.parameters.values())[1:])
    return found


def _flat(given: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Arguments by name, those of ``**kwargs`` among them, but for what is switched off."""
    for name, value in given.items():
        for key, item in value.items() if name == "kwargs" else [(name, value)]:
            yield key, None if item is False else item


def _tokens(program: Program, ids: Tensor, mask: Tensor | None, keep: Tensor | None, given: dict) -> Tokens:
    """The real tokens of a padded batch, with the rows of the embeddings that the library would read."""
    types, places = given.get("token_type_ids"), given.get("position_ids")
    lengths = ids.new_full((len(ids),), ids.shape[1]) if keep is None else (mask == 1).sum(1)
    places = _places(program, ids) if places is None else places
    flat = [None if part is None else part.expand(ids.shape).flatten() for part in (ids, types, places)]
    ids, types, places = (part if part is None or keep is None else part[keep] for part in flat)  # type: ignore
    return Tokens(ids, torch.nn.functional.pad(lengths.cumsum(0), (1, 0)), (), types, places)


def _places(program: Program, ids: Tensor) -> Tensor:
    """Row of the position embeddings for every place of a padded batch, masked ones counted as in the library."""
    if not program.embeddings.roberta:
        return torch.arange(ids.shape[1], device=ids.device)[None]
    padding = program.embeddings.padding
    assert padding is not None  # RoBERTa counts from it
    real = (ids != padding).long()
    return real.cumsum(1) * real + padding


def _padded(state: Tensor, keep: Tensor | None, shape: torch.Size) -> Tensor:
    if keep is not None:
        state = state.new_zeros(shape.numel(), state.shape[1]).index_copy(0, keep, state)
    return state.view(*shape, -1)


def _watched(encoder: nn.Module) -> str:
    """What would not happen in a forward pass of our own."""
    for part in encoder.modules():
        hooks = [*part._forward_hooks.values(), *part._forward_pre_hooks.values(), *part._backward_hooks.values()]
        if part is not encoder and any(not getattr(hook, "__module__", "").startswith("adapters.") for hook in hooks):
            return f"{type(part).__name__} has hooks"
    library: Any = sys.modules.get("adapters.context")
    context = library.ForwardContext.get_context() if library else None
    wanted = ("output_adapter_gating_scores", "output_adapter_fusion_attentions", "task_ids")
    return next((f"{name} is given" for name in wanted if getattr(context, name, None)), "")


def _reads_padding(model: nn.Module, encoder: nn.Module) -> bool:
    """Whether something around the encoder normalises over all places, padding included."""
    if model is encoder:
        return False
    named = type(model).__name__ == "QuestionAnsweringHead" or hasattr(model, "qa_outputs")
    return named or any(_reads_padding(part, encoder) for part in model.children())
