"""The files of a repository on the Hub that matter here, in the client's cache."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaptxfer.errors import data_error
from adaptxfer.files import is_offline
from adaptxfer.hub.client import asking, patient
from adaptxfer.hub.layout import BUNDLE, MANIFEST, places
from adaptxfer.modules.bundle import LARGEST_JSON, read_small

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CONFIG = "adapter_config.json"
PLAIN = ("adapter.safetensors", "adapter_model.safetensors")
"""Weights of a module of `adapters` or `peft` at the root of its repository."""


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit: where the fetched files are, and whether it is a bundle of ours."""

    repo: str
    commit: str
    folder: Path
    is_bundle: bool


def fetch_snapshot(repo: str, revision: str | None, fresh: bool = False) -> Snapshot:
    """Fetch what a bundle lists, or the module of a repository without bundle; nothing else, and no pickle.

    Raises:
        AdaptxferError: if it cannot be had, has no safetensors weights, or holds files of absurd size.
    """
    with asking(repo, "Pulling from") as api:
        if is_offline():
            return _cached(repo, revision)
        info = patient(lambda: api.model_info(repo, revision=revision, files_metadata=True))
        sizes = {item.rfilename: item.size or 0 for item in info.siblings or ()}
        folder = _download(api, repo, revision, info.sha, sizes, {BUNDLE, MANIFEST, CONFIG} & set(sizes), fresh)
        _download(api, repo, revision, info.sha, sizes, _wanted(folder, repo, sizes), fresh)
        return Snapshot(repo, folder.name, folder, BUNDLE in sizes)


def _cached(repo: str, revision: str | None) -> Snapshot:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(repo, revision=revision, local_files_only=True))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if lacking := sorted(_wanted(folder, repo, names) - names):
        raise data_error(f"Only a part of {repo} is in the cache ({lacking[0]} is not).", "Pull it without --offline.")
    return Snapshot(repo, folder.name, folder, BUNDLE in names)


def _wanted(folder: Path, repo: str, there: Iterable[str]) -> set[str]:
    """Names of the weight and config files to fetch."""
    names = set(there)
    if BUNDLE in names:
        found = read_small(folder / BUNDLE, f"{repo}:")
        if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
            raise data_error(f"The {BUNDLE} of {repo} is not a complete bundle.", "Ask its owner to push it again.")
        return set(places(found["files"], repo))
    if CONFIG not in names:
        raise data_error(
            f"{repo} holds no module: neither {BUNDLE} nor {CONFIG} is at its root.",
            "A whole encoder is used with --model.",
        )
    if not (weights := names & set(PLAIN)):
        raise data_error(
            f"{repo} holds no safetensors weights.", "Pickle files are never read; ask its owner to push safetensors."
        )
    return weights


def _download(
    api: HfApi, repo: str, revision: str | None, commit: str | None, sizes: dict[str, int], names: set[str], fresh: bool
) -> Path:
    """The snapshot's folder with the files of ``names`` in it."""
    from huggingface_hub import snapshot_download

    _check_sizes(repo, sizes, names)
    folder = Path(
        patient(
            lambda: snapshot_download(
                repo, revision=revision, allow_patterns=sorted(names) or [BUNDLE], force_download=fresh
            )
        )
    )
    if folder.name != commit:  # also what the client does when it falls back on an older copy
        raise data_error(f"{repo} changed while it was being fetched.", "Run the same command again.")
    if lacking := [name for name in sorted(names) if not (folder / name).is_file()]:
        raise data_error(f"Fetching {repo} left {lacking[0]} out.", "Run the same command again.")
    return folder


def _check_sizes(repo: str, sizes: dict[str, int], names: set[str]) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    if missing := sorted(names - set(sizes)):
        raise data_error(f"{repo} lacks its file {missing[0]}.", "Ask its owner to push it again.")
    for name in sorted(names):
        if name.endswith(".json") and sizes[name] > LARGEST_JSON:
            raise data_error(f"{name} of {repo} has {sizes[name]:,} bytes, which no configuration has.")
    cache = next(path for path in (Path(HF_HUB_CACHE), *Path(HF_HUB_CACHE).parents) if path.exists())
    needed, free = sum(sizes[name] for name in names), shutil.disk_usage(cache).free
    if 2 * needed > free:  # once in the cache, once in the runs
        raise data_error(f"{repo} needs {2 * needed:,} bytes, {free:,} are free.", "Free some space first.")
