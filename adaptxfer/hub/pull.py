"""Fetching a module from the Hub into the runs: checked before it gets a name there, whole or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adaptxfer.encoder.load import load_encoder
from adaptxfer.errors import AdaptxferError, data_error, use_error
from adaptxfer.files import write_error, write_json
from adaptxfer.hub import manifest
from adaptxfer.hub.client import check_repo, check_revision
from adaptxfer.hub.foreign import wrap
from adaptxfer.hub.layout import BUNDLE, MANIFEST, places
from adaptxfer.hub.snapshot import Snapshot, fetch_snapshot
from adaptxfer.modules.bundle import Bundle, check_base, read_bundle, read_small
from adaptxfer.modules.weights import check_file
from adaptxfer.runs.run import Run
from adaptxfer.runs.store import FROM_HUB

PREFIX = "hub:"


@dataclass(frozen=True)
class Source:
    """Where a pulled bundle comes from; ``missing`` is what it came without, and only a bundle is ``verified``."""

    repo: str
    commit: str
    verified: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pulled:
    """A bundle that lies here now. ``new`` is False if it did before."""

    bundle: Bundle
    source: Source
    new: bool


def fetch(text: str, runs: Path, model: str | None = None) -> Path:
    """The folder of ``hub:owner/name`` or ``hub:owner/name@revision``, pulled unless it is here.

    ``model`` is for a module without ``bundle.json``; a bundle is compared with its base model when it is used.

    Raises:
        AdaptxferError: as `pull` does.
    """
    repo, _, revision = text.removeprefix(PREFIX).partition("@")
    return pull(repo, runs, revision=revision or None, model=model, compare=False).bundle.folder


def pull(
    repo: str,
    runs: Path,
    *,
    to: Path | None = None,
    revision: str | None = None,
    model: str | None = None,
    fresh: bool = False,
    compare: bool = True,
) -> Pulled:
    """Fetch a bundle, or a module of plain `adapters` or `peft`, from the Hub.

    Args:
        repo: ``owner/name``.
        runs: it becomes the folder ``hub-<owner>-<name>-<commit>`` below this one.
        to: a folder to use instead.
        revision: branch, tag or commit; None is the newest of the main branch.
        model: base model; needed for a module without ``bundle.json``, compared with its fingerprint otherwise.
        fresh: fetch it again, although it is here.
        compare: load ``model`` to compare a bundle with it.

    Raises:
        AdaptxferError: if it cannot be had, is damaged, unsafe, or made for another base model.
    """
    snapshot = fetch_snapshot(check_repo(repo), check_revision(revision), fresh)
    target = to or runs / f"{FROM_HUB}-{re.sub(r'[^A-Za-z0-9_-]', '-', repo)[:80]}-{snapshot.commit[:8]}"
    checked = model if compare else None
    if found := _present(target, repo, snapshot.commit, fresh):
        _check_model(found.bundle, checked)
        return found
    with _all_or_nothing(target) as part:
        source = _unpack(snapshot, part, model)
        _check_model(read_bundle(part), checked if source.verified else None)
    return Pulled(read_bundle(target), source, True)


def source_of(folder: Path) -> Source | None:
    """Where a pulled bundle came from; None for one that was trained here."""
    try:
        found: Any = Run(folder).manifest.get("pulled")
        return Source(**{**found, "missing": tuple(found["missing"])})
    except (TypeError, KeyError):
        return None


def _present(target: Path, repo: str, commit: str, fresh: bool) -> Pulled | None:
    """What lies at ``target`` if it is this very commit."""
    source = source_of(target)
    if source is None:
        if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
            raise use_error(f"{target} exists and was not pulled.", "Choose another folder with --to DIR.")
        return None
    if (source.repo, source.commit) != (repo, commit):
        if fresh:
            return None
        raise use_error(
            f"{target} holds {source.repo} at {source.commit[:8]}.", "Use --fresh to replace it, or another --to DIR."
        )
    try:
        return None if fresh else Pulled(read_bundle(target), source, False)
    except AdaptxferError:  # damaged since: fetch it again
        return None


def _check_model(bundle: Bundle, model: str | None) -> None:
    if model is not None:
        check_base(bundle, load_encoder(model, bundle.base.revision if bundle.base.id == model else None).base)


@contextmanager
def _all_or_nothing(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` that takes its place when the block ends without an error."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".pull-"))
    except OSError as error:
        raise write_error(target, error) from error
    try:
        part = work / target.name
        part.mkdir()
        yield part
        if target.exists():
            target.rename(work / "old")
        part.rename(target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unpack(snapshot: Snapshot, part: Path, model: str | None) -> Source:
    """Write bundle and manifest into ``part``, verified as far as can be."""
    if not snapshot.is_bundle:
        base, method, name, missing = wrap(snapshot.folder, snapshot.repo, model, part)
        source = Source(snapshot.repo, snapshot.commit, False, tuple(missing))
        write_json(part / MANIFEST, manifest.pulled(manifest.empty(name, base, method), asdict(source)))
        return source
    listed = read_small(snapshot.folder / BUNDLE, "bundle")["files"]
    for place, name in {**places(listed, snapshot.repo), BUNDLE: BUNDLE}.items():
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(snapshot.folder / place, part / name)
    bundle = read_bundle(part)
    for name in bundle.files:
        if name.endswith(".safetensors"):
            check_file(part / name)
        elif not isinstance(read_small(part / name, "module config"), dict):
            raise data_error(f"{name} of {snapshot.repo} is no configuration.", "Ask its owner to push it again.")
    recorded, missing = _record(snapshot.folder / MANIFEST)
    if recorded and recorded["base_model"].get("fingerprint") not in (None, bundle.base.fingerprint):
        raise data_error(f"{snapshot.repo} contradicts itself about its base model.", "Ask its owner to push it again.")
    source = Source(snapshot.repo, snapshot.commit, True, tuple(missing))
    found = recorded or manifest.empty(bundle.task, bundle.base, bundle.method)
    write_json(part / MANIFEST, manifest.pulled(found, asdict(source)))
    return source


def _record(path: Path) -> tuple[manifest.Manifest | None, list[str]]:
    if not path.is_file():
        return None, ["the record of its training"]
    found = read_small(path, "manifest")
    if not isinstance(found, dict):
        raise data_error(f"{path.name} of the repository is not a manifest.")
    return manifest.cleaned(found), []
