"""``adaptxfer push``, ``pull`` and ``adapters list``: sharing modules."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from adaptxfer.cli.options import RUNS, Json, Offline, Runs, Tasks, folders
from adaptxfer.console import Table, console

if TYPE_CHECKING:
    from adaptxfer.hub.push import Pushed

Repo = Annotated[str, typer.Argument(metavar="REPO", help="Repository on the Hub, owner/name.")]
Revision = Annotated[str | None, typer.Option("--revision", help="Branch (pull: or tag or commit).")]

adapters = typer.Typer(help="List the bundles that are here.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("push")(push)
    app.command("pull")(pull)
    app.add_typer(adapters, name="adapters")


def push(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Run folder, its name, or its hash.")],
    repo: Repo,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    revision: Revision = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be sent, and send nothing.")] = False,
    runs: Runs = RUNS,
    tasks: Tasks = None,
    json: Json = False,
) -> None:
    """Share a bundle on the Hub: module, head, record and a card, in one commit.

    The token is that of HF_TOKEN or of `hf auth login`.
    """
    from adaptxfer.hub import push as sending
    from adaptxfer.runs.plan import bundle_folder

    folder = bundle_folder(bundle, runs)
    done = sending.push(folder, repo, private=private, revision=revision, dry_run=dry_run, tasks=folders(tasks))
    document = {"schema": 1, "bundle": folder.name, "repo": repo, "revision": revision, "private": private,
                "sent": not dry_run, "commit": done.commit, "files": done.files}  # fmt: skip
    console().result(document, _files(done), _told(done))


def _files(done: Pushed) -> Table:
    rows = [[name, f"{size:,}"] for name, size in done.files.items()]
    return Table(done.repo, ["file", ("bytes", "right")], rows, f"{sum(done.files.values()):,} bytes in all")


def _told(done: Pushed) -> str:
    if done.commit is None:
        return "Nothing was sent (--dry-run)."
    return f"Sent as commit {done.commit[:8]}. Next: adaptxfer pull {done.repo}"


def pull(
    repo: Repo,
    revision: Revision = None,
    to: Annotated[Path | None, typer.Option("--to", help="Folder to make (default: one in --runs).")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Base model: id or folder; needed for modules of other tools.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Fetch it again.")] = False,
    runs: Runs = RUNS,
    offline: Offline = False,
    json: Json = False,
) -> None:
    """Fetch a bundle, or a module of plain adapters or peft, from the Hub.

    Hashes, names and (with --model) the base model are checked before anything is loaded; pickle files never are.
    """
    from adaptxfer.hub import pull as fetching

    repo = repo.removeprefix("hub:")  # as --from takes it
    done = fetching.pull(repo, runs, to=to, revision=revision, model=model, fresh=fresh)
    bundle, source = done.bundle, done.source
    document = {"schema": 1, "repo": repo, "commit": source.commit, "folder": str(bundle.folder), "new": done.new,
                "verified": source.verified, "missing": source.missing, "task": bundle.task, "method": bundle.method,
                "base_model": bundle.base.to_dict()}  # fmt: skip
    state = "Pulled" if done.new else "Already here:"
    views = [f"{state} {repo} at {source.commit[:8]}: {bundle.method} for {bundle.base.id}, in {bundle.folder}"]
    if source.missing:
        mark = "" if source.verified else "unverified; "
        views.append(f"{mark}it came without {', '.join(source.missing)}")
    console().result(document, *views, f"Next: adaptxfer transfer --to TASK --from {quote(str(bundle.folder))}")


@adapters.command("list")
def list_all(runs: Runs = RUNS, json: Json = False) -> None:
    """List all bundles in --runs, trained here or pulled."""
    from adaptxfer.hub.shelf import list_bundles

    found = list_bundles(runs)
    marks = {None: "", True: "verified", False: "unverified"}
    rows = [[item.name, item.origin, item.method, item.task, item.base_model, item.problem or marks[item.verified]]
            for item in found]  # fmt: skip
    table = Table("", ["bundle", "from", "method", "task", "base model", "state"], rows)
    console().result({"schema": 1, "folder": runs, "bundles": found}, table if rows else f"No bundles in {runs}.")
