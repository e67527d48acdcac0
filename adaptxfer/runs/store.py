"""All runs under one folder: opening, finding and removing them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from adaptxfer import ranks
from adaptxfer.errors import AdaptxferError, data_error, nearest, use_error
from adaptxfer.files import check_name, remove_temporaries, write_error
from adaptxfer.runs.lock import NAME as LOCK
from adaptxfer.runs.lock import Lock, is_held
from adaptxfer.runs.run import CHECKPOINT, FollowedRun, OpenRun, Run

KINDS = ("intermediate", "target", "evaluate", "merged")
PULLED, FROM_HUB = "pulled", "hub"
"""Kind of a module that came from the Hub, and how its folder's name begins: it can be pulled again."""
FOLDER = re.compile(rf"({'|'.join(KINDS)})-([A-Za-z0-9_-]+)-([0-9a-f]{{8}})")


def middle_of(folder: str) -> str:
    """What a run is called, from the name of its folder; any other name as it is."""
    found = FOLDER.fullmatch(folder)
    return found[2] if found else folder


class RunStore:
    """The runs under ``root``, one folder ``<kind>-<name>-<hash8>`` each."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, name: str, hash8: str) -> Path:
        """Where the run of a stage lies, whether it exists or not.

        Raises:
            AdaptxferError: if the kind is unknown or the name unsafe.
        """
        if kind not in KINDS:
            raise use_error(f"{kind!r} is not a kind of stage.", nearest(kind, KINDS))
        if not re.fullmatch(r"[0-9a-f]{8}", hash8):
            raise use_error(f"{hash8!r} is not a hash of eight hexadecimal digits.")
        return self.root / f"{kind}-{check_name(name, 'Run name')}-{hash8}"

    def look(self, kind: str, name: str, hash8: str) -> Run | None:
        """The run of a stage for reading; None if its folder does not exist.

        A process that is killed right after its run was finished leaves the checkpoint, and nobody would open that run
        again: it is removed here, if nobody holds the run now and we may.
        """
        path = self.folder(kind, name, hash8)
        if not path.is_dir():
            return None
        run = Run(path)
        if run.status == "finished" and (path / CHECKPOINT).is_dir():
            with suppress(AdaptxferError):
                self._open(path, run.manifest, fresh=False).close()
        return run

    def is_finished(self, kind: str, name: str, hash8: str) -> bool:
        """Whether the run of a stage is there as a whole."""
        found = self.look(kind, name, hash8)
        return found is not None and found.status == "finished"

    def open(self, kind: str, name: str, hash8: str, fresh: bool = False) -> OpenRun:
        """Lock the folder of a stage for writing, made if it does not exist.

        Of several processes the first locks it and writes; the others get a run that writes nothing.

        Args:
            kind: one of ``KINDS``.
            name: name of the run.
            hash8: hash of the request, so that another request has another folder.
            fresh: forget what the folder holds.

        Raises:
            AdaptxferError: if another process writes there, or the folder is not a run.
        """
        path, identity = self.folder(kind, name, hash8), {"kind": kind, "name": name, "hash": hash8}
        opened: list[OpenRun] = []

        def open_here() -> tuple[str, dict[str, Any]]:
            opened.append(self._open(path, identity, fresh))
            return path.name, opened[0].manifest

        folder, manifest = ranks.first(open_here)
        if folder != path.name:
            raise data_error(
                f"The processes disagree about what to do: {folder} or {path.name}.",
                "All of them must see the same files: use a folder that every machine shares.",
            )
        return opened[0] if opened else FollowedRun(path, identity, manifest)

    def _open(self, path: Path, identity: dict[str, Any], fresh: bool) -> OpenRun:
        _refuse_foreign(path)
        lock = Lock(path)
        lock.take()
        try:
            if fresh:
                _empty(path)
            remove_temporaries(path)  # of a process that was killed: the lock was free
            run = OpenRun(path, lock, identity)
            if run.problem:
                raise data_error(run.problem, "Use --fresh to run it again.")
        except BaseException:
            lock.release()
            raise
        return run

    def list(self) -> Sequence[Run]:
        """Every run under the root by name; folders that are no readable run have the status unreadable.

        Folders of runs of their own, as the quickstart leaves one, are left out.
        """
        if not self.root.is_dir():
            return []
        folders = [path for path in sorted(self.root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
        found = [Run(path) for path in folders if not holds_runs(path)]
        for run in found:
            if not run.problem and not run.manifest and not _looks_like_run(run.path):
                run.problem = f"{run.path} is not a run folder."
        return found

    def find(self, text: str) -> Run:
        """The run that ``text`` means: a folder name, a path to it, or its hash alone.

        Raises:
            AdaptxferError: if there is none (the nearest is offered) or several.
        """
        runs = {run.name: run for run in self.list()}
        name = Path(text).name if Path(text).resolve().parent == self.root.resolve() else text
        fitting = [name] if name in runs else [known for known in runs if known.endswith(f"-{text}")]
        if len(fitting) > 1:
            raise use_error(f"{text!r} means several runs: {', '.join(fitting)}.", "Give the whole name.")
        if not fitting:
            raise use_error(f"There is no run {text!r} in {self.root}.", nearest(text, runs))
        return runs[fitting[0]]

    def find_finished(self, kind: str | None = None, **asked: Any) -> Sequence[Run]:
        """Finished runs, newest first, whose request holds every value in ``asked``."""
        runs = [run for run in self.list() if run.status == "finished" and kind in (None, run.manifest["kind"])]
        runs = [run for run in runs if all(run.asked(key) == value for key, value in asked.items())]
        return sorted(runs, key=lambda run: (run.manifest.get("finished") or "", run.name), reverse=True)

    def newest_intermediate(self, model_id: str, method: str, fingerprint: str | None = None) -> Run | None:
        """The newest finished intermediate run for a base model and method, those on sham labels apart.

        With ``fingerprint`` the weights decide, without it the model's id does.
        """
        key, wanted = ("fingerprint", fingerprint) if fingerprint else ("id", model_id)
        runs = self.find_finished("intermediate", method=method)
        fitting = (run for run in runs if run.manifest["base_model"].get(key) == wanted and not run.asked("sham"))
        return next(fitting, None)

    def remove(self, names: Iterable[str], force: bool = False) -> Sequence[str]:
        """Remove runs and return their names; nothing is removed unless all of them may be.

        Args:
            names: as ``find`` takes them.
            force: also remove runs that remaining runs build on, and unreadable ones.

        Raises:
            AdaptxferError: if one is being written, is a link, or needs ``force``.
        """
        runs = list({run.name: run for run in map(self.find, names)}.values())
        for run in runs:
            self._refuse_removal(run, {run.name for run in runs}, force)
        for run in runs:
            lock = Lock(run.path)
            lock.take()
            try:
                gone = run.path.rename(self.root / f".removed-{run.name}-{os.getpid()}")  # at once, whatever follows
                shutil.rmtree(gone)
            except OSError as error:
                raise write_error(run.path, error) from error
            finally:
                lock.release()
        return [run.name for run in runs]

    def _refuse_removal(self, run: Run, going: set[str], force: bool) -> None:
        pulled = run.manifest.get("kind") == PULLED and run.path.name.startswith(f"{FROM_HUB}-")
        if run.path.is_symlink() or not (pulled or _looks_like_run(run.path)):
            raise use_error(f"{run.path} is a link or not a run folder.", "Remove it by hand if you are sure.")
        if is_held(run.path):
            raise use_error(f"Run {run.name} is being written.", "Stop its process first.")
        if force:
            return
        if run.status == "unreadable":
            raise use_error(f"Run {run.name} is unreadable: {run.problem}", "Use --force to remove it all the same.")
        children = [child.name for child in self.list() if run.name in child.manifest.get("parents", ())]
        if left := [child for child in children if child not in going]:
            raise use_error(f"{', '.join(left)} built on {run.name}.", "Remove them too, or use --force.")


def holds_runs(path: Path) -> bool:
    """Whether a folder is no run, but has runs in it."""
    try:
        return not FOLDER.fullmatch(path.name) and any(FOLDER.fullmatch(below.name) for below in path.iterdir())
    except OSError:
        return False


def _looks_like_run(path: Path) -> bool:
    """A folder of ours by its name that holds a manifest, a lock, or nothing."""
    try:
        entries = {entry.name for entry in path.iterdir()}
    except OSError:
        return False
    return bool(FOLDER.fullmatch(path.name)) and (not entries or bool(entries & {"manifest.json", LOCK}))


def _refuse_foreign(path: Path) -> None:
    if path.is_symlink() or (path.exists() and (not path.is_dir() or not _looks_like_run(path))):
        raise data_error(f"{path} exists and is not a run folder.", "Move it away, or choose another --runs DIR.")


def _empty(path: Path) -> None:
    (path / "manifest.json").unlink(missing_ok=True)  # first: what is left is no result
    for entry in path.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
