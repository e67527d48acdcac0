"""The commands that train and evaluate."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptxfer.cli.ask import FIRST, TRAINING, parse_languages, parse_seeds, takes
from adaptxfer.cli.options import Json, NoProgress
from adaptxfer.console import console

if TYPE_CHECKING:
    from adaptxfer.runs.settings import Ask
    from adaptxfer.runs.stage import Mixture

Languages = Annotated[str | None, typer.Option("--languages", help="Comma-separated, e.g. sw,ur.")]
Split = Annotated[str | None, typer.Option("--split", help="dev or test (default: test where labelled).")]
Layer = Annotated[str | None, typer.Option("--layer", help="Retrieval: hidden state to embed with, or all.")]
EvalLimit = Annotated[int | None, typer.Option("--eval-limit", min=1, help="Score only the first examples.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("quickstart")(quickstart)
    app.command("train-intermediate")(train_intermediate)
    app.command("transfer")(transfer)
    app.command("evaluate")(evaluate)


@takes(FIRST, TRAINING)
def train_intermediate(
    tasks_: Annotated[list[str], typer.Argument(metavar="TASK...", help="One task, or several.")],
    sampler: Annotated[
        str, typer.Option("--sampler", help="Mix: proportional, capped, sqrt, temperature, uniform.")
    ] = "capped",
    translated: Annotated[
        str | None, typer.Option("--translated", help="Train on translations, e.g. de,ru,sw (add en to keep English).")
    ] = None,
    mlm: Annotated[list[Path] | None, typer.Option("--mlm", help="Text file of one language (sw.txt); repeat.")] = None,
    mlm_weight: Annotated[float, typer.Option("--mlm-weight", help="Share of steps for masked words.")] = 0.5,
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Leave out tasks without data here.")] = False,
    separately: Annotated[
        bool, typer.Option("--separately", help="A module for each task and seed, trained at once on one encoder.")
    ] = False,
    sham: Annotated[bool, typer.Option("--sham", help="Shuffle the labels: a control that learns no task.")] = False,
    *,
    options: dict[str, Any],
) -> None:
    """Train a module on an English intermediate task (several tasks: one joint module, or --separately one each)."""
    from adaptxfer import api

    seeds, dry = parse_seeds(options.pop("seeds")), options.pop("dry_run")
    mixed = {"translated": parse_languages(translated) or (), "mlm": mlm or (), "mlm_weight": mlm_weight, "sham": sham}
    if dry:
        mixture = api.make_mixture(sampler, **mixed)
        _show_plans(tasks_, api.make_ask(**options), seeds, mixture, skip_missing, separately)
        return
    mixed["skip_missing"] = skip_missing
    if separately:
        bundles = api.train_separately(*tasks_, seeds=seeds, **mixed, **options)
    else:
        bundles = [api.train_intermediate(*tasks_, seed=seed, sampler=sampler, **mixed, **options) for seed in seeds]
    document, table = api.training_report(bundles)
    console().result(document, table, f"Next: adaptxfer transfer --to TASK --from {quote(str(bundles[-1].folder))}")


def _show_plans(
    tasks: list[str], ask: Ask, seeds: list[int], mixture: Mixture, skip_missing: bool, separately: bool
) -> None:
    from adaptxfer.runs.describe import describe_training, plan_views
    from adaptxfer.runs.plan import plan_intermediate, plan_separately
    from adaptxfer.runs.together import check_together

    told = []
    if separately:
        stages = plan_separately(tasks, ask, seeds, mixture, skip_missing)
        check_together(stages)
        told.append(f"{len(stages)} modules are trained together: the encoder is held in memory and run once for all.")
    else:
        stages = [plan_intermediate(tasks, ask, seed, mixture, skip_missing) for seed in seeds]
    plans = [describe_training(stage) for stage in stages]
    console().result({"schema": 1, "stages": plans}, *plan_views(plans), *told)


@takes(FIRST, TRAINING)
def transfer(
    to: Annotated[str, typer.Option("--to", help="Target task.")],
    from_: Annotated[list[str] | None, typer.Option("--from", help="Intermediate bundle; repeat for several.")] = None,
    how: Annotated[str | None, typer.Option("--how", help="none, continue, stack, fuse or merge.")] = None,
    own_module: Annotated[bool, typer.Option("--own-module", help="fuse: add the target's own module.")] = False,
    languages: Languages = None,
    split: Split = None,
    layer: Layer = None,
    eval_limit: EvalLimit = None,
    *,
    options: dict[str, Any],
) -> None:
    """Train for a target task in English on top of intermediate modules, score it in every language."""
    from adaptxfer import api
    from adaptxfer.runs.describe import describe_transfer, plan_views
    from adaptxfer.runs.transfer import Wish, plan_transfer

    seeds, dry = parse_seeds(options.pop("seeds")), options.pop("dry_run")
    asked = parse_languages(languages)
    if dry:
        ask = api.make_ask(**options)
        wish = Wish(to, tuple(from_ or ()), how, own_module, tuple(asked) if asked else None, split, layer, eval_limit)
        plans = [stage for seed in seeds for stage in describe_transfer(plan_transfer(wish, ask, seed))]
        console().result({"schema": 1, "stages": plans}, *plan_views(plans))
        return
    result = api.transfer(
        to, from_ or (), how, seeds=seeds, own_module=own_module, languages=asked, split=split, layer=layer,
        eval_limit=eval_limit, **options,
    )  # fmt: skip
    _show(result)


@takes(FIRST)
def evaluate(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Run folder, run name or hash.")],
    on: Annotated[str, typer.Option("--on", help="Target task.")],
    languages: Languages = None,
    split: Split = None,
    layer: Layer = None,
    eval_limit: EvalLimit = None,
    *,
    options: dict[str, Any],
) -> None:
    """Score a trained bundle as it is, without further training."""
    from adaptxfer import api

    _show(
        api.evaluate(
            bundle, on, languages=parse_languages(languages), split=split, layer=layer, eval_limit=eval_limit, **options
        )
    )


def quickstart(
    runs: Annotated[str, typer.Option("--runs", help="Folder of the runs.")] = "runs/quickstart",
    json: Json = False,
    no_progress: NoProgress = False,
) -> None:
    """Run the main job on the embedded encoder and sample tasks: CPU, offline, under three minutes."""
    from adaptxfer.quickstart import quickstart as run

    run(runs)


def _show(result: Any) -> None:
    views: list[Any] = result.tables()
    if result.comparison is None and result.records[0].languages and result.runs[0].asked("how") != "none":
        views.append("No baseline to compare with yet: run the same command with --how none and without --from.")
    console().result(result.to_dict(), *views)
