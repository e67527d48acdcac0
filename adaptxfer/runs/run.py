"""One run folder: reading it, and writing it while its lock is held."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adaptxfer import __version__
from adaptxfer.errors import INTERRUPTED, AdaptxferError, data_error
from adaptxfer.files import atomic_file, check_name, read_json, read_text, write_error, write_json
from adaptxfer.runs.lock import NAME as LOCK
from adaptxfer.runs.lock import Lock, is_held, now
from adaptxfer.runs.scores import check_scores

SCHEMA = 1
CHECKPOINT = "checkpoint"
"""Folder of a run that is not finished, from which its training continues."""
STATUSES = ("new", "running", "interrupted", "failed", "finished", "unreadable")
FIELDS = {
    **dict.fromkeys(("kind", "name", "hash", "status"), str),
    **dict.fromkeys(("request", "versions", "base_model", "data"), dict),
    **{"seed": int, "parents": list, "started": str, "finished": str | None, "duration_s": float | int},
}
"""What a manifest holds besides its schema and the error."""

LIBRARIES = ("torch", "transformers", "adapters", "peft", "datasets")

Manifest = dict[str, Any]


class Run:
    """A run folder as it lies on disk, for reading.

    ``manifest`` is empty for a folder without one. ``problem`` says why a folder is unreadable, else it is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self.manifest: Manifest = {}
        try:
            self.manifest = read_manifest(path)
        except AdaptxferError as error:
            self.problem = error.message

    @property
    def name(self) -> str:
        """The folder's name, by which other runs and commands refer to it."""
        return self.path.name

    @property
    def status(self) -> str:
        """One of ``STATUSES``; a run whose process died counts as interrupted."""
        if self.problem:
            return "unreadable"
        status = self.manifest.get("status", "new")
        return "interrupted" if status == "running" and not self._is_written() else status

    def _is_written(self) -> bool:
        return is_held(self.path)

    def asked(self, key: str) -> Any:
        """The value of ``key`` in the request, or None."""
        entry = self.manifest.get("request", {}).get(key)
        return entry.get("value") if isinstance(entry, dict) else None

    def read_scores(self) -> dict[str, Any]:
        """The checked content of ``scores.json``.

        Raises:
            AdaptxferError: if it is missing or not valid.
        """
        path = self.path / "scores.json"
        return check_scores(read_json(path, "scores file"), str(path))

    def read_log(self) -> list[dict[str, Any]]:
        """The entries of ``log.jsonl``; a line torn by a sudden end is left out."""
        path = self.path / "log.jsonl"
        return _read_lines(read_text(path, "log"), str(path)) if path.exists() else []

    def predicted(self) -> list[str]:
        """The languages that have predictions, sorted."""
        return sorted(path.stem for path in (self.path / "predictions").glob("*.jsonl"))

    def read_predictions(self, language: str) -> list[dict[str, Any]]:
        """The records of ``predictions/<language>.jsonl``, one per example.

        Raises:
            AdaptxferError: if there are none or the file is damaged.
        """
        path = self._predictions(language)
        return _read_lines(read_text(path, "predictions file"), str(path), may_be_torn=False)

    def _predictions(self, language: str) -> Path:
        return self.path / "predictions" / f"{check_name(language, 'Language')}.jsonl"


class OpenRun(Run):
    """A run folder held for writing; a context manager that releases its lock.

    Leaving the block by an exception marks the run as interrupted or failed; leaving it without ``finish`` marks it as
    interrupted, so that the same request continues it.
    """

    def __init__(self, path: Path, lock: Lock, identity: Mapping[str, Any]) -> None:
        self._lock, self._identity, self._begun = lock, dict(identity), 0.0
        super().__init__(path)

    def _is_written(self) -> bool:
        return self._begun > 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.manifest.get("status") == "running" and self._begun:
                stopped = isinstance(error, AdaptxferError) and error.code == INTERRUPTED
                if error is None or stopped or not isinstance(error, Exception):
                    self.interrupt()
                else:
                    self.fail(str(error) or type(error).__name__)
        finally:
            self.close()

    def close(self) -> None:
        """Release the lock without changing the status; a folder in which nothing was written goes with it.

        So does the checkpoint of a finished run, if Ctrl-C or a kill came before it was gone.
        """
        try:
            if self.status == "finished":
                self._remove_checkpoint()
            with suppress(OSError):  # somebody else may be waiting for it
                if [entry.name for entry in self.path.iterdir()] == [LOCK]:
                    (self.path / LOCK).unlink()
                    self.path.rmdir()
        finally:
            self._lock.release()

    def start(
        self,
        request: Mapping[str, Mapping[str, Any]],
        *,
        seed: int,
        base_model: Mapping[str, Any] | None = None,
        data: Mapping[str, str] | None = None,
        parents: Sequence[str] = (),
    ) -> None:
        """Write the manifest with status running; a run stopped before keeps its start and its spent time.

        Args:
            request: what was asked, each key as ``{"value": ..., "from": where it was set}``.
            seed: the run's seed.
            base_model: id, revision and fingerprint of the encoder.
            data: fingerprint of each data set used.
            parents: names of the runs this one builds on.

        Raises:
            AdaptxferError: if the run is finished already.
        """
        if self.status == "finished":
            raise data_error(f"Run {self.name} is finished.", "Use --fresh to run it again.")
        self._begun = time.monotonic()
        self._save(
            {
                "schema": SCHEMA,
                **self._identity,
                "status": "running",
                "request": {key: dict(entry) for key, entry in request.items()},
                "versions": versions(),
                "base_model": dict(base_model or {}),
                "data": dict(data or {}),
                "seed": seed,
                "parents": list(parents),
                "started": self.manifest.get("started") or now(),
                "finished": None,
                "duration_s": self.manifest.get("duration_s") or 0.0,
                "error": None,
            }
        )

    def update(self, **fields: Any) -> None:
        """Add facts to the manifest that became known after the start."""
        self._save({**self.manifest, **fields})

    def finish(self, manifest_updates: Mapping[str, Any] | None = None) -> None:
        """Mark the run as finished, everything else being written; nothing continues it, so its checkpoint goes."""
        self._end("finished", {**(manifest_updates or {}), "finished": now(), "error": None})
        self._remove_checkpoint()

    def interrupt(self) -> None:
        """Mark the run as stopped; the same request continues it."""
        self._end("interrupted", {})

    def fail(self, message: str) -> None:
        """Mark the run as failed and say why."""
        self._end("failed", {"error": message})

    def _end(self, status: str, fields: Mapping[str, Any]) -> None:
        if not self._begun:
            raise RuntimeError("start the run before ending it")
        spent = self.manifest["duration_s"] + time.monotonic() - self._begun
        self._save({**self.manifest, **fields, "status": status, "duration_s": round(spent, 3)})
        self._begun = 0.0

    def _save(self, manifest: Manifest) -> None:
        write_json(self.path / "manifest.json", manifest)
        self.manifest = manifest

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Add one line to ``log.jsonl``; numbers that are not finite become null."""
        path = self.path / "log.jsonl"
        finite = {key: value if _is_finite(value) else None for key, value in entry.items()}
        try:
            _mend(path)
            with path.open("a", encoding="utf-8") as handle:
                handle.write(_line(finite))
        except OSError as error:
            raise write_error(path, error) from error

    def cut_log(self, step: int) -> None:
        """Forget the entries after ``step``: training continues from a checkpoint made there."""
        kept = [entry for entry in self.read_log() if entry.get("step", 0) <= step]
        self._write_lines(self.path / "log.jsonl", kept)

    def write_scores(self, scores: Mapping[str, Any]) -> None:
        """Write ``scores.json`` after checking it."""
        path = self.path / "scores.json"
        write_json(path, check_scores(dict(scores), str(path)))

    def write_predictions(self, language: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write ``predictions/<language>.jsonl``, one record per example, whole or not at all."""
        self._write_lines(self._predictions(language), rows)

    def _write_lines(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
            handle.writelines(_line(row) for row in rows)

    def _remove_checkpoint(self) -> None:
        shutil.rmtree(self.path / CHECKPOINT, ignore_errors=True)


class FollowedRun(OpenRun):
    """The run folder as processes besides the first hold it: they keep its manifest in mind and write nothing."""

    def __init__(self, path: Path, identity: Mapping[str, Any], manifest: Manifest) -> None:
        super().__init__(path, Lock(path), identity)
        self.manifest, self.problem = manifest, ""

    def _save(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Nothing: the first process writes."""

    def cut_log(self, step: int) -> None:
        """Nothing: the first process writes."""

    def write_scores(self, scores: Mapping[str, Any]) -> None:
        """Nothing: the first process writes."""

    def _write_lines(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        pass

    def _remove_checkpoint(self) -> None:
        pass


def read_manifest(path: Path) -> Manifest:
    """The manifest of a run folder; empty if it has none.

    Raises:
        AdaptxferError: if it is not a manifest of schema 1.
    """
    file = path / "manifest.json"
    try:
        file.stat()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise data_error(f"{path} cannot be read: {error.strerror}.") from error
    manifest = read_json(file, "manifest")
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise data_error(f"Manifest {file} has schema {found!r}, expected {SCHEMA}.")
    wrong = [key for key, kind in FIELDS.items() if not isinstance(manifest.get(key), kind)]
    if wrong or manifest["status"] not in STATUSES[1:5]:
        raise data_error(f"Manifest {file} has a missing or unknown {', '.join(wrong) or 'status'}.")
    return manifest


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries below it; nothing is imported for it."""
    found = {"adaptxfer": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or value - value == 0.0


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _mend(path: Path) -> None:
    """Cut a torn last line, so that the next one does not run into it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as handle:
        handle.seek(-1, os.SEEK_END)
        if handle.read(1) != b"\n":
            handle.seek(0)
            handle.truncate(handle.read().rfind(b"\n") + 1)


def _read_lines(text: str, where: str, may_be_torn: bool = True) -> list[dict[str, Any]]:
    lines = text.split("\n")
    last = lines.pop()  # empty unless the last line was cut off
    if last and not may_be_torn:
        lines.append(last)
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise data_error(f"{where} is damaged in line {number} ({error.msg}).", "Run it with --fresh.") from error
    return rows
