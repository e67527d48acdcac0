"""What a stage would do, for ``--dry-run``: sizes and steps without loading weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adaptxfer.console import Table
from adaptxfer.encoder.load import check_config, locate
from adaptxfer.modules.composition import draw, trained_parts
from adaptxfer.runs.merge import MergeStage
from adaptxfer.runs.quiet import quiet_libraries
from adaptxfer.runs.sizes import count, memory_gib
from adaptxfer.runs.stage import EvaluateStage, TrainStage
from adaptxfer.runs.store import RunStore
from adaptxfer.runs.train import attach_parents
from adaptxfer.runs.transfer import Transfer
from adaptxfer.tasks.load import read_examples
from adaptxfer.tasks.spec import TaskSpec


def describe_training(stage: TrainStage) -> dict[str, Any]:
    """Composition, sizes, steps, memory and state of a training stage."""
    sizes = model_sizes(stage)
    examples = [_examples(stage, source) for source in stage.sources]
    batch, epochs = stage.settings["batch_size"], stage.settings["epochs"]
    passes = sum(epochs * -(-n // batch) for n in examples)
    if stage.mixture.mlm:  # its share of the steps comes on top
        passes /= 1 - stage.mixture.mlm_weight
    steps = stage.settings["max_steps"] or max(1, round(passes))
    modules, fusions = trained_parts(stage.how, stage.tree, stage.module)
    return {
        "stage": stage.folder,
        "state": _state(stage),
        "composition": draw(stage.tree, (*modules, *fusions)) if stage.ask.method != "full" else "encoder  (trains)",
        "training_examples": dict(zip((source.name for source in stage.sources), examples, strict=True)),
        "steps": steps,
        "steps_exact": bool(stage.settings["max_steps"]) or all(source.kind != "span" for source in stage.sources),
        **sizes,
        "settings": stage.settings.to_request(),
    }


def _examples(stage: TrainStage, source: TaskSpec) -> int:
    limit, where = stage.settings["limit"], stage.ask.data_dir
    return sum(len(read_examples(source, "train", code, where, limit).items) for code in stage.mixture.languages)


def describe_transfer(plan: Transfer) -> list[dict[str, Any]]:
    """The stages of a transfer: training (none for retrieval) and evaluation."""
    found = [describe_training(plan.training)] if plan.training else []
    name = f"evaluate-{plan.task.name}"
    if plan.training is None:
        stage: EvaluateStage = plan.evaluation(None)
        return [{"stage": stage.folder, "state": _state(stage), "languages": list(stage.languages)}]
    from adaptxfer.evaluation.evaluate import evaluation_languages

    languages = evaluation_languages(plan.task, plan.ask.data_dir, plan.wish.languages, plan.wish.split)
    return [*found, {"stage": name, "state": "after training", "languages": languages}]


def describe_merge(stage: MergeStage) -> dict[str, Any]:
    """What is merged with which weights, and whether it was done before."""
    shares = stage.recipe.shares(len(stage.bundles))
    soup = stage.task is not None
    parts = [{"run": bundle.folder.name, "task": bundle.task, "weight": None if soup else share}
             for share, bundle in zip(shares, stage.bundles, strict=True)]  # fmt: skip
    return {
        "stage": stage.folder,
        "state": _state(stage),
        "method": stage.bundles[0].method,
        **stage.recipe.to_dict(len(stage.bundles)),
        "rank": stage.rank,
        "tasted_on": stage.task.name if stage.task else None,
        "head": bool(stage.head),
        "parts": parts,
    }


def model_sizes(stage: TrainStage) -> dict[str, Any]:
    """Weights in all and weights that train, counted on a model without storage; memory by a rule of thumb."""
    import torch
    from transformers import AutoConfig, AutoModel

    from adaptxfer.modules.model import make_method

    folder, name, _ = locate(stage.ask.model, stage.ask.revision, weights=False)
    check_config(folder)
    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"), quiet_libraries():
        network = AutoModel.from_config(config, add_pooling_layer=False)
        network.name_or_path = name
        base = count(network)
        method = make_method(stage.ask.method, network)
        attach_parents(stage, method, weights=False)
        method.activate(stage.tree)
        trained = method.set_trainable(*trained_parts(stage.how, stage.tree, stage.module))
    total, training = count(network), sum(weight.numel() for weight in trained.values())
    kept = "fuse" if stage.how == "fuse" else stage.ask.method
    tokens, precision = stage.settings["batch_tokens"], stage.settings["precision"]
    return {
        "weights_of_base_model": base,
        "weights_total": total,
        "weights_training": training,
        "weights_training_percent": round(100 * training / base, 3),
        "memory_estimate_gib": memory_gib(
            total,
            training,
            config.num_hidden_layers,
            config.hidden_size,
            kept,
            tokens,
            precision,
            stage.ask.base_precision,
        ),
    }


def plan_views(plans: Sequence[dict[str, Any]]) -> list[Table | str]:
    """The stages for people."""
    views: list[Table | str] = []
    for plan in plans:
        if "steps" not in plan:
            views.append(f"{plan['stage']}: {plan['state']}; languages {', '.join(plan['languages'])}")
            continue
        rows = [
            ["state", plan["state"]],
            ["training examples", ", ".join(f"{name} {n:,}" for name, n in plan["training_examples"].items())],
            ["optimiser steps", f"{plan['steps']:,}{'' if plan['steps_exact'] else ' or more (long texts are cut)'}"],
            ["weights that train (without head)",
             f"{plan['weights_training']:,} ({plan['weights_training_percent']} % of the base model)"],
            ["memory (rough estimate)", f"{plan['memory_estimate_gib']} GiB"],
            *([name, f"{_text(entry['value'])}  (from {entry['from']})"] for name, entry in plan["settings"].items()
              if entry["value"] is not None),
        ]  # fmt: skip
        views += [Table(plan["stage"], ["what", "value"], rows), plan["composition"]]
    return views


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _state(stage: TrainStage | EvaluateStage | MergeStage) -> str:
    run = RunStore(stage.ask.runs).look(stage.kind, stage.name, stage.hash)
    if run is None or run.status == "new":
        return "to do"
    if stage.ask.fresh and run.status != "running":
        return f"{run.status}, will be done again"
    return {"finished": "finished, will be reused", "running": "running elsewhere"}.get(
        run.status, f"{run.status}, will continue"
    )
