"""The options of `adaptxfer.runs.settings.Ask`, given to every command that trains from one place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from adaptxfer.cli.options import RUNS, DataDir, Json, NoProgress, Offline, Runs, Tasks

MODEL, MODULE, TRAIN = "Model and data", "Module", "Training"


def _option(kind: Any, flag: str, text: str, panel: str) -> Any:
    return Annotated[kind | None, typer.Option(flag, help=text, rich_help_panel=panel)]


FIRST: dict[str, tuple[Any, Any]] = {
    "model": (
        Annotated[
            str | None,
            typer.Option("--model", help="Hub id, folder, or mini (default: XLM-R Large).", rich_help_panel=MODEL),
        ],
        None,
    ),
    "revision": (_option(str, "--revision", "Revision of a Hub model.", MODEL), None),
    "data_dir": (DataDir, None),
    "runs": (Runs, RUNS),
    "tasks": (Tasks, None),
    "kernels": (_option(str, "--kernels", "auto, triton or torch: which code runs on a GPU.", MODEL), None),
    "base_precision": (
        _option(str, "--base-precision", "How the frozen base model is held: fp32 (default), bf16, int8, nf4.", MODEL),
        None,
    ),
    "fresh": (Annotated[bool, typer.Option("--fresh", help="Forget an earlier run of the same request.")], False),
    "json": (Json, False),
    "no_progress": (NoProgress, False),
    "offline": (Offline, False),
}
"""Options of everything that loads a model."""

TRAINING: dict[str, tuple[Any, Any]] = {
    "method": (_option(str, "--method", "bottleneck (default), lora or full.", MODULE), None),
    "variant": (_option(str, "--variant", "Bottleneck: seq_bn, double_seq_bn or par_bn.", MODULE), None),
    "reduction": (_option(float, "--reduction", "Bottleneck: encoder width / bottleneck width.", MODULE), None),
    "r": (_option(int, "--r", "LoRA: rank.", MODULE), None),
    "alpha": (_option(float, "--alpha", "LoRA: scale is alpha / r.", MODULE), None),
    "dropout": (_option(float, "--dropout", "Dropout inside the module.", MODULE), None),
    "target_modules": (_option(str, "--target-modules", "LoRA: layers to adapt, comma-separated.", MODULE), None),
    "learning_rate": (_option(float, "--learning-rate", "Peak rate of AdamW.", TRAIN), None),
    "epochs": (_option(float, "--epochs", "Passes over the training data.", TRAIN), None),
    "max_steps": (_option(int, "--max-steps", "Optimiser steps, instead of epochs.", TRAIN), None),
    "batch_size": (_option(int, "--batch-size", "Examples per optimiser step.", TRAIN), None),
    "batch_tokens": (_option(int, "--batch-tokens", "Padded tokens per forward pass (memory).", TRAIN), None),
    "warmup": (_option(float, "--warmup", "Share of steps that warm up.", TRAIN), None),
    "weight_decay": (_option(float, "--weight-decay", "AdamW's decay.", TRAIN), None),
    "clip": (_option(float, "--clip", "Largest gradient norm.", TRAIN), None),
    "precision": (_option(str, "--precision", "fp32 or bf16.", TRAIN), None),
    "recompute": (
        _option(bool, "--recompute", "Save memory: compute activations again in the backward pass.", TRAIN),
        None,
    ),
    "sharded": (_option(bool, "--sharded", "full: spread weights over the processes of torchrun (FSDP).", TRAIN), None),
    "evaluations": (_option(int, "--evaluations", "How often the dev set is scored.", TRAIN), None),
    "on_chance": (_option(str, "--on-chance", "stop or warn when training stays at chance.", TRAIN), None),
    "graphs": (_option(str, "--graphs", "auto, on or off: replay whole steps as CUDA graphs.", TRAIN), None),
    "max_length": (_option(int, "--max-length", "Sub-words per sequence.", TRAIN), None),
    "limit": (_option(int, "--limit", "Use only the first training examples.", TRAIN), None),
    "dev_limit": (_option(int, "--dev-limit", "Dev examples that select checkpoints.", TRAIN), None),
    "seeds": (Annotated[str, typer.Option("--seeds", help="Comma-separated; one run each.")], "1"),
    "dry_run": (Annotated[bool, typer.Option("--dry-run", help="Show what would be done; load no weights.")], False),
}
"""Options of everything that trains."""

OUTPUT = ("json", "no_progress", "offline")


def takes(*groups: dict[str, tuple[Any, Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the command gets every option of ``groups`` and receives what was given as one dict ``options``."""
    extra = {name: item for group in groups for name, item in group.items()}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            options = {name: given.pop(name) for name in extra}
            return command(**given, options=_clean(options))

        own = inspect.signature(command, eval_str=True).parameters
        kinds = {name: parameter for name, parameter in own.items() if name != "options"}
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in extra.items()
        ]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kinds.values()]
        wrapped.__signature__ = inspect.Signature([*parameters, *added])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in [*parameters, *added]}
        return wrapped

    return decorate


def _clean(options: dict[str, Any]) -> dict[str, Any]:
    """Without the options that only concern output, comma-separated lists split, nothing that was not given."""
    kept = {name: value for name, value in options.items() if name not in OUTPUT and value is not None}
    if "target_modules" in kept:
        kept["target_modules"] = tuple(split_list(kept["target_modules"]))
    return kept


def split_list(text: str) -> list[str]:
    """Parts of a comma-separated option."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_languages(text: str | None) -> list[str] | None:
    """The codes of ``--languages sw,ur``; None if the option was not given.

    Raises:
        AdaptxferError: if it holds no code.
    """
    from adaptxfer.errors import use_error

    if text is not None and not split_list(text):
        raise use_error("--languages names no language.", "Write --languages sw,ur, or leave it out for all.")
    return split_list(text) if text else None


def parse_seeds(text: str) -> list[int]:
    """The seeds of ``--seeds 1,2,3``.

    Raises:
        AdaptxferError: if they are not distinct whole numbers from 0 on.
    """
    from adaptxfer.errors import use_error

    parts = split_list(text)
    if not parts or not all(part.isascii() and part.isdecimal() for part in parts) or len(set(parts)) != len(parts):
        raise use_error(f"--seeds {text!r} is not a list of different whole numbers.", "Write --seeds 1,2,3.")
    return [int(part) for part in parts]
