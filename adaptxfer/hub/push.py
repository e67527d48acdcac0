"""Sending a bundle to the Hub: its hashed files, its record and a card, in one commit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptxfer.errors import data_error, use_error
from adaptxfer.files import is_offline
from adaptxfer.hub.card import render_card
from adaptxfer.hub.client import asking, check_repo, check_revision, patient
from adaptxfer.hub.layout import BUNDLE, CARD, MANIFEST, places
from adaptxfer.hub.manifest import cleaned
from adaptxfer.modules.bundle import Bundle, read_bundle
from adaptxfer.runs.run import Run

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Parts = dict[str, Path | bytes]


@dataclass(frozen=True)
class Pushed:
    """What was sent, or would be: sizes in bytes by place in the repository; no commit if nothing was sent."""

    repo: str
    revision: str | None
    files: dict[str, int]
    commit: str | None = None


def push(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    tasks: Sequence[Path] = (),
) -> Pushed:
    """Send a bundle to ``owner/name`` on the Hub, which is made if it does not exist.

    Args:
        folder: of the bundle.
        repo: the repository.
        private: make it private; an existing public one is refused.
        revision: the branch, made if it does not exist; None is the main one.
        dry_run: send nothing, ask nobody.
        tasks: folders of task files, for the card.

    Raises:
        AdaptxferError: if the bundle is damaged, or the Hub refuses.
    """
    check_repo(repo)
    check_revision(revision)
    bundle = read_bundle(folder)
    parts = parts_of(bundle, repo, tasks)
    sizes = {name: len(part) if isinstance(part, bytes) else part.stat().st_size for name, part in parts.items()}
    if dry_run:
        return Pushed(repo, revision, sizes)
    if is_offline():
        raise use_error("A push needs the network, but --offline is set.", "Leave it out, and unset HF_HUB_OFFLINE.")
    with asking(repo, "Pushing to") as api:
        parent = _prepare(api, repo, private, revision)
        commit = _commit(api, repo, revision, parent, parts, f"{bundle.task}: {bundle.method} module")
    return Pushed(repo, revision, sizes, commit)


def parts_of(bundle: Bundle, repo: str, tasks: Sequence[Path] = ()) -> Parts:
    """Everything that is sent, by place in the repository: the files with a hash, the record, and the card."""
    parts: Parts = {place: bundle.folder / name for place, name in places(bundle.files, bundle.folder.name).items()}
    run = Run(bundle.folder)
    if run.manifest:
        shared: dict[str, Any] = cleaned(run.manifest)
        parts[MANIFEST] = (json.dumps(shared, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    parts[BUNDLE] = (json.dumps(bundle.to_dict(), ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    parts[CARD] = render_card(bundle, repo, tasks).encode()
    return dict(sorted(parts.items()))


def _prepare(api: HfApi, repo: str, private: bool, revision: str | None) -> str | None:
    """Make the repository and the branch; the commit that the new one follows."""
    patient(lambda: api.create_repo(repo, private=private or None, exist_ok=True))
    if revision is not None:
        patient(lambda: api.create_branch(repo, branch=revision, exist_ok=True))
    info = patient(lambda: api.model_info(repo, revision=revision))
    if private and not info.private:
        raise data_error(f"{repo} exists and is public, but --private is set.", "Choose another name.")
    return info.sha


def _commit(api: HfApi, repo: str, revision: str | None, parent: str | None, parts: Parts, message: str) -> str:
    from huggingface_hub import CommitOperationAdd

    adds = [CommitOperationAdd(name, part if isinstance(part, bytes) else str(part)) for name, part in parts.items()]
    # the parent makes the Hub refuse if somebody else was faster; an answer that is lost is not asked for again
    made = patient(
        lambda: api.create_commit(repo, adds, commit_message=message, revision=revision, parent_commit=parent),
        again_after_loss=False,
    )
    return made.oid
