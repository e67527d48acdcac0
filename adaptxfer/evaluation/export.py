"""The folder of an XTREME submission: written whole or not at all, and checked."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptxfer.errors import AdaptxferError, data_error, nearest, use_error
from adaptxfer.evaluation.form_faults import MISSING, WRONG, Known, check_form
from adaptxfer.evaluation.forms import Part, write_form
from adaptxfer.evaluation.score import Record
from adaptxfer.tasks.examples import RetrieveExample, TagExample
from adaptxfer.tasks.load import Examples, available, read_examples

Parts = Mapping[str, Part]


@dataclass(frozen=True)
class Predictions:
    """What one run predicted.

    Args:
        run: its name.
        scores: its scores document, which says for each language the split and, for BUCC, the threshold.
        read: gives the records of a language.
        fingerprints: of the data, by ``task/split/language``.
        limit: how many examples of each language were read, if not all.
    """

    run: str
    scores: Mapping[str, Any]
    read: Callable[[str], Sequence[Record]]
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None

    def entry(self, language: str) -> Mapping[str, Any] | None:
        """What the scores document says about a language, scored or only predicted."""
        return self.scores["languages"].get(language) or self.scores.get("unscored", {}).get(language)

    def has(self, language: str, split: str) -> bool:
        """Whether there are predictions for this split of a language."""
        values = self.entry(language)
        return values is not None and values.get("split", self.scores["split"]) == split


@dataclass(frozen=True)
class Fault:
    """One fault of a submission: its kind (``wrong``, ``short``, ``missing``), the file or folder, and a sentence."""

    kind: str
    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place} {self.problem}"


def export_submission(
    found: Mapping[str, Predictions],
    parts: Parts,
    out: Path,
    split: str = "test",
    *,
    partial: bool = False,
    fresh: bool = False,
    data_dir: Path | None = None,
) -> list[Fault]:
    """Write the predictions of runs as a submission, one folder per task and one file per language.

    ``out`` gets the whole folder at the end or stays as it is. Tatoeba needs its sentences: the script wants the
    English ones in alphabetical order.

    Args:
        found: predictions by task.
        parts: what the submission consists of.
        out: the folder to make.
        split: only predictions for this split are taken.
        partial: accept that tasks, languages or examples are missing.
        fresh: replace a submission that ``out`` holds.
        data_dir: where Tatoeba's files are; else the Hub is asked.

    Returns:
        what is missing; always empty unless ``partial``.

    Raises:
        AdaptxferError: if the folder is not free, or the submission has faults, all of which are listed.
    """
    for task in found:
        if task not in parts:
            raise use_error(f"{found[task].run}: the submission has no place for {task}.", nearest(task, parts))
    with _new_folder(out, {part.folder for part in parts.values()}, fresh) as folder:
        for task, predictions in found.items():
            part = parts[task]
            for language in part.offered(split):
                if predictions.has(language, split):
                    path = folder / part.path(language, split)
                    path.parent.mkdir(exist_ok=True)
                    text = _content(part, language, split, predictions, data_dir)
                    path.write_text(text, encoding="utf-8", newline="\n")
        faults = check_submission(folder, parts, split)
        fatal = [fault for fault in faults if fault.kind == WRONG]
        if fatal or (faults and not partial):
            hint = "" if fatal else "With --partial what is there is written; it is then no valid submission."
            raise faults_error(f"The predictions make no valid submission, {out} is not written", faults, hint)
    return faults


def check_submission(folder: Path, parts: Parts, split: str = "test", data_dir: Path | None = None) -> list[Fault]:
    """All faults of a submission at once; none means that the script can score every task.

    Missing tasks and languages, files that do not belong there or have the wrong suffix, numbers of examples against
    the task files, labels that are empty or outside the list. With the complete data under ``data_dir`` also ids that
    do not exist and sentences with the wrong number of tags.

    Raises:
        AdaptxferError: if ``folder`` is no folder, or data cannot be read.
    """
    if not folder.is_dir():
        raise data_error(f"{folder} is not a folder.", "Give the folder that holds one folder per task.")
    homes = {part.folder for part in parts.values()}
    strange = sorted(entry.name for entry in _entries(folder) if entry.name not in homes or not entry.is_dir())
    faults = [Fault(WRONG, name, f"is not a task's folder. {nearest(name, homes)}") for name in strange]
    for part in parts.values():
        if not (folder / part.folder).is_dir():
            faults.append(Fault(MISSING, part.folder, "is missing"))
            continue
        faults += _check_names(folder, part, split)
        for language in part.offered(split):
            if (folder / part.path(language, split)).is_file():
                faults += _check_file(folder, part, language, split, data_dir)
    return faults


def faults_error(what: str, faults: Sequence[Fault], hint: str = "") -> AdaptxferError:
    """An error (exit code 2) that lists every fault."""
    return data_error(f"{what}:" + "".join(f"\n  - {fault}" for fault in faults), hint)


def _content(part: Part, language: str, split: str, predictions: Predictions, data_dir: Path | None) -> str:
    records = predictions.read(language)
    try:
        places: Mapping[str, int] = {}
        if part.form == "indices":
            queries, places = _script_order(part, language, split, predictions, data_dir)
            by_query = {record["id"]: record for record in records}
            records = [by_query[query] for query in queries if query in by_query]
        if part.form == "pairs":
            records = _kept(records, language, split, predictions)
        return write_form(part, records, places)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise data_error(
            f"The predictions of {predictions.run} in {language} are not those of {part.spec.name} ({error!r}).",
            "Evaluate it again with --fresh.",
        ) from error


def _script_order(
    part: Part, language: str, split: str, predictions: Predictions, data_dir: Path | None
) -> tuple[list[str], dict[str, int]]:
    """Ids of the queries in the order of the script's file, and the number of each candidate in its own.

    The script sorts the English sentences, by code points, and leaves the other side as it was.
    """
    examples = read_examples(part.spec, split, language, data_dir, predictions.limit)
    made_from = predictions.fingerprints.get(f"{part.spec.name}/{split}/{language}")
    if made_from != examples.fingerprint:
        raise data_error(
            f"{predictions.run} did not predict {language} from {examples.source}: the data differ.",
            "Give with --data-dir the folder that the run read.",
        )
    sides = {side: _side(examples, side) for side in ("query", "candidate")}
    queries = sorted(sides["query"], key=lambda example: example.text.strip())
    return [query.id for query in queries], {item.id: place for place, item in enumerate(sides["candidate"])}


def _kept(records: Sequence[Record], language: str, split: str, predictions: Predictions) -> list[Record]:
    """The mined pairs at or above the threshold; records round their scores to six digits."""
    scores = predictions.entry(language) or {}
    if scores.get("oracle") and split == "test":
        raise data_error(
            f"The threshold of {predictions.run} in {language} was tuned on the gold of the very set it is for.",
            "Evaluate again with the dev files beside the test files.",
        )
    return [record for record in records if record["score"] >= round(scores["threshold"], 6)]


def _side(examples: Examples, side: str) -> list[RetrieveExample]:
    return [item for item in examples.items if isinstance(item, RetrieveExample) and item.side == side]


def _entries(folder: Path) -> list[Path]:
    """What a folder holds besides the hidden files that file managers leave."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _check_names(folder: Path, part: Part, split: str) -> list[Fault]:
    """Faults for languages without a file, and for files that are none of the task's."""
    wanted = {part.path(language, split).name: language for language in part.offered(split)}
    present = {entry.name for entry in _entries(folder / part.folder)}
    absent = [language for name, language in wanted.items() if name not in present]
    faults = []
    for name in sorted(present - wanted.keys()):
        language = name.removeprefix(f"{split}-").split(".")[0]
        if language in absent:
            absent.remove(language)
            faults.append(Fault(WRONG, f"{part.folder}/{name}", f"should be called {part.path(language, split).name}"))
        else:
            faults.append(Fault(WRONG, f"{part.folder}/{name}", "is no file of this task"))
    if absent:
        faults.append(Fault(MISSING, part.folder, f"lacks the languages {', '.join(absent)}"))
    return faults


def _check_file(folder: Path, part: Part, language: str, split: str, data_dir: Path | None) -> list[Fault]:
    path = part.path(language, split)
    try:
        text = (folder / path).read_bytes().decode()
    except UnicodeDecodeError as error:
        return [Fault(WRONG, str(path), f"is not UTF-8 text (byte {error.start})")]
    except OSError as error:
        return [Fault(WRONG, str(path), f"cannot be read ({error.strerror})")]
    known = _known(part, language, split, data_dir)
    return [Fault(kind, str(path), problem) for kind, problem in check_form(part, language, text, known)]


def _known(part: Part, language: str, split: str, data_dir: Path | None) -> Known:
    """What the task file and, if all of it is at hand, the data say about the examples of a file."""
    rows = part.spec.expected(split, language)
    if data_dir is None or language not in available(part.spec, data_dir).get(split, ()):
        return Known(rows)
    items = read_examples(part.spec, split, language, data_dir).items
    queries = [item for item in items if not isinstance(item, RetrieveExample) or item.side == "query"]
    if rows is not None and len(queries) != rows:
        return Known(rows)
    candidates = {item.id for item in items if isinstance(item, RetrieveExample) and item.side == "candidate"}
    words = [len(item.words) for item in items if isinstance(item, TagExample)]
    counted = None if part.form == "pairs" else len(queries)
    return Known(counted, {item.id for item in queries}, candidates, words)


@contextmanager
def _new_folder(out: Path, names: set[str], fresh: bool) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when the block ends without an error."""
    _refuse(out, names, fresh)
    out = out.resolve()
    temporary, old = (out.with_name(f".{out.name}.{secrets.token_hex(4)}.{word}") for word in ("new", "old"))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if out.exists():
            out.rename(old)
        temporary.rename(out)
    except OSError as error:
        raise data_error(f"Writing {out} failed: {error.strerror or error}.", "Give another --out DIR.") from error
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _refuse(out: Path, names: set[str], fresh: bool) -> None:
    """Refuse to replace anything but an empty folder, or with ``fresh`` an earlier submission.

    Raises:
        AdaptxferError: otherwise.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise use_error(f"{out} exists and is not a folder.", "Give another --out DIR.")
    if not out.exists() or not any(out.iterdir()):
        return
    if not fresh:
        raise use_error(f"{out} is not empty.", "Give another --out DIR, or --fresh to replace it.")
    if other := sorted(entry.name for entry in _entries(out) if entry.name not in names):
        raise use_error(f"{out} holds more than a submission: {other[0]}.", "Give another --out DIR.")
