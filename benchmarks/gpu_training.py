"""Whole optimiser steps for `benchmarks.gpu`: captured ones against ordinary ones, and all beside a plain loop."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import XLMRobertaModel

from adaptxfer.data.features import Features, make_features
from adaptxfer.encoder.held import hold
from adaptxfer.modules.composition import Leaf
from adaptxfer.modules.dual import MaskedHead
from adaptxfer.modules.heads import HeadSpec, build_head
from adaptxfer.modules.model import AdaptedModel, make_method
from adaptxfer.training.graphs import GraphLearner
from adaptxfer.training.loop import Learner
from adaptxfer.training.options import TrainingOptions
from adaptxfer.training.steps import TaskData, single_task
from benchmarks.gpu_bench import CUDA, Bench, Make, Run
from benchmarks.gpu_cases import Sizes
from benchmarks.gpu_steps import config

WORDS = 1000
OPTIONS = TrainingOptions(learning_rate=1e-4, max_steps=100_000, batch_size=8, precision="bf16" if CUDA else "fp32")
NEAR = 0.03
"""How far the losses of captured and ordinary steps may be apart in bf16: they add up in another order."""


def model(s: Sizes, kind: str, dropout: float, held: str = "fp32") -> tuple[AdaptedModel, dict[str, nn.Parameter]]:
    """A random encoder with one seq_bn adapter and a head, and what trains."""
    torch.manual_seed(0)
    shape = config(s, WORDS)
    shape.hidden_dropout_prob = shape.attention_probs_dropout_prob = dropout
    with torch.device(s.device):
        network = XLMRobertaModel(shape, add_pooling_layer=False)
        hold(network, held)
        method = make_method("bottleneck", network)
        method.add("xa", {}, 1)
        method.activate(Leaf("xa"))
        labels = ("no", "yes") if kind in ("classify", "tag") else ()
        spec = HeadSpec(kind, s.width, labels, dropout)
        words = network.get_input_embeddings().weight  # type: ignore[operator]
        head = MaskedHead(spec, words) if kind == "mlm" else build_head(spec, 1, "goal")
        found = AdaptedModel(method, {"goal": head})
    found.to(s.device)
    return found, found.set_trainable(["xa"])


def learner(
    parts: tuple[AdaptedModel, dict[str, nn.Parameter]],
    data: TaskData,
    options: TrainingOptions,
    graphs: bool,
    report: Any,
) -> Learner:
    """A run over toy data, without checkpoints."""
    folder = Path(tempfile.mkdtemp())
    found, trained = parts
    given = (found, trained, single_task(data, options), options, folder, report)
    return GraphLearner(*given, capture=CUDA) if graphs else Learner(*given)


def captured(bench: Bench) -> None:
    """The losses of captured steps against ordinary ones, for every kind of task, without dropout."""
    from tests.training.toy import toy_data

    s = bench.sizes._replace(width=128, layers=2)
    options = replace(OPTIONS, max_steps=16, learning_rate=1e-3)
    for kind in ("classify", "choose", "tag", "span", "retrieve", "mlm"):
        losses: dict[bool, list[float]] = {}
        for graphs in (False, True):
            told: list[float] = []
            data = toy_data("goal", kind, options)
            run = learner(model(s, kind, 0.0), data, options, graphs, lambda e, told=told: told.append(e["loss"]))
            while not run.done:
                run.step()
            run.settle()
            losses[graphs] = told
            if CUDA and isinstance(run, GraphLearner) and not any(slot.graph for slot in run.slots.values()):
                bench.failures.append(f"captured steps, {kind}: nothing was captured")
        pairs = list(zip(losses[True], losses[False], strict=True))
        worst = max(abs(one - other) / max(1.0, other) for one, other in pairs)
        print(f"captured steps, {kind:<8} largest difference of a loss {worst:.1e}", flush=True)
        if not worst <= (10 * NEAR if kind == "retrieve" else NEAR):  # its cosines are multiplied by 100
            bench.failures.append(f"captured steps, {kind}: losses are {worst:.1e} apart")


def features(length: int, count: int) -> Features:
    """Random sequences of one length with two labels."""
    random = np.random.default_rng(0)
    ids = random.integers(4, WORDS, length * count).astype(np.int32)
    label = {"label": random.integers(0, 2, count)}
    numbers = np.arange(count)
    return make_features(
        "classify", ids, np.arange(count + 1) * length, numbers, count, label, {}, np.arange(count + 1)
    )


def variants(s: Sizes, count: int, length: int) -> dict[str, Make]:
    """Forward, backward, clipping and AdamW over a classifier; the library in a loop with fp32 weights and autocast."""
    options = replace(OPTIONS, batch_size=count, batch_tokens=count * length, graphs="on")

    def library() -> Run:
        found, trained = model(s, "classify", 0.1)
        optimiser = torch.optim.AdamW(trained.values(), lr=1e-4, fused=CUDA)
        found.train()
        ids = torch.randint(4, WORDS, (count, length), device=s.device)
        labels, starts = torch.randint(2, (count,), device=s.device), torch.arange(count + 1, device=s.device)

        def run() -> Tensor:
            with torch.autocast(s.device.type, torch.bfloat16):
                hidden: Any = found.network(ids)[0][:, 0]
                loss = nn.functional.cross_entropy(found.head("goal")(hidden, starts).float(), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            return loss

        return run

    def ours(graphs: bool) -> Run:
        data = TaskData("goal", features(length, 8 * count), count, 1)
        return learner(model(s, "classify", 0.1, "bf16"), data, options, graphs, lambda _: None).step

    return {
        "library, eager, autocast": library,
        "adaptxfer, ordinary steps": lambda: ours(False),
        "adaptxfer, graphs": lambda: ours(True),
    }


def training(bench: Bench) -> None:
    """Time whole optimiser steps."""
    for count, length in ((2, 16),) if bench.smoke else ((8, 128), (32, 128), (128, 128)):
        if bench.late():
            return
        s, shape = bench.sizes, f"{count} sequences of {length} tokens"
        shape = f"{s.layers} layers, width {s.width}, {shape}"
        bench.compare("optimiser step, seq_bn", shape, variants(s, count, length), count * length)
