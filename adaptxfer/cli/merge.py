"""``adaptxfer merge``: several modules into one."""

from __future__ import annotations

from shlex import quote
from typing import Annotated, Any

import typer

from adaptxfer.cli.ask import FIRST, TRAINING, split_list, takes
from adaptxfer.console import Table, console


@takes(FIRST, {"dev_limit": TRAINING["dev_limit"]})
def merge(
    bundles: Annotated[list[str], typer.Argument(metavar="BUNDLE...", help="Run folders, names, hashes, hub:o/n.")],
    by: Annotated[str, typer.Option("--by", help="average, arithmetic, ties, dare or soup.")] = "average",
    weights: Annotated[str | None, typer.Option("--weights", help="One number per bundle, e.g. 1,-0.5.")] = None,
    density: Annotated[float | None, typer.Option("--density", help="ties: share kept (default 0.2).")] = None,
    drop: Annotated[float | None, typer.Option("--drop", help="dare: share dropped (default 0.5).")] = None,
    seed: Annotated[int, typer.Option("--seed", help="dare: seed of the dropping.", min=0)] = 1,
    rank: Annotated[int | None, typer.Option("--rank", help="LoRA: rank of the result (default: the largest).")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the merged module.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be merged; load no weights.")] = False,
    *,
    options: dict[str, Any],
) -> None:
    """Merge modules of one method and base model into one that `transfer --from` takes like any other.

    average: weighted mean. arithmetic: weighted sum, negative weights take a task away. ties, dare: trimmed or thinned
    first. soup: of repeats of one task, those that do not harm its English dev score.
    """
    from adaptxfer import api
    from adaptxfer.modules.recipe import Recipe, parse_weights
    from adaptxfer.runs.describe import describe_merge
    from adaptxfer.runs.merge import run_merge

    recipe = Recipe(by, parse_weights(split_list(weights or "")), density, drop, seed)
    stage = api.make_merge(bundles, recipe, rank, name, options)
    plan = describe_merge(stage)
    if dry_run:
        console().result({"schema": 1, **plan}, _parts(plan["stage"], plan["parts"], plan["state"]))
        return
    bundle = run_merge(stage)
    facts = api.Run(bundle.folder).manifest["merge"]
    document = {"schema": 1, **plan, "state": "finished", "folder": bundle.folder, **facts}
    told = f"Next: adaptxfer transfer --to TASK --from {quote(str(bundle.folder))}"
    console().result(document, *_views(bundle.folder.name, facts), told)


def _views(title: str, facts: dict[str, Any]) -> list[Any]:
    told = [f"Rank {facts['rank']} keeps {100 * facts['kept']:.1f} % of the merged update."] if facts["rank"] else []
    views: list[Any] = [_parts(title, facts["parts"], ""), *told]
    if facts["soup"]:
        rows = [[e["run"], f"{e['alone']:.1f}", f"{e['with']:.1f}", "yes" if e["stays"] else ""] for e in facts["soup"]]
        columns = ["run", ("alone", "right"), ("with it", "right"), "stays"]
        views.insert(0, Table("Greedy soup on English dev data", columns, rows, "points; best first"))
    return views


def _parts(title: str, parts: list[dict[str, Any]], caption: str) -> Table:
    rows = [[part["run"], part["task"], "?" if part["weight"] is None else f"{part['weight']:.3g}"] for part in parts]
    return Table(title, ["part", "task", ("weight", "right")], rows, caption)
