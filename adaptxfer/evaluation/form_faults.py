"""What can be wrong with the content of one file of a submission."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptxfer.evaluation.forms import RANKS, Part

WRONG, SHORT, MISSING = "wrong", "short", "missing"
"""Kinds of faults: something no script could score, fewer examples than the split has, nothing at all."""

CHOICES = ("0", "1")
"""The labels of XCOPA."""

Problem = tuple[str, str]
"""The kind of a fault and what is wrong, to be read after the name of the file."""


@dataclass(frozen=True)
class Known:
    """What is known of the examples of a file: how many there are, their ids, the number of words of each sentence.

    For a retrieval task ``ids`` are those of the queries and ``candidates`` those of the other side.
    """

    rows: int | None = None
    ids: Collection[str] = ()
    candidates: Collection[str] = ()
    words: Sequence[int] = ()


def check_form(part: Part, language: str, text: str, known: Known) -> list[Problem]:
    """Everything that is wrong with a file; a fault that occurs more than once is told once, with its first place."""
    return CHECKS[part.form](part, language, text, known)


def _labels(part: Part, language: str, text: str, known: Known) -> list[Problem]:
    lines = _split(text)
    return _count(len(lines), known, "lines") + _outside(dict(enumerate(lines, 1)), part.labels.values(), "label")


def _choices(part: Part, language: str, text: str, known: Known) -> list[Problem]:
    lines = _split(text)
    found = {number: _choice(line) for number, line in enumerate(lines, 1)}
    return _count(len(lines), known, "lines") + _outside(found, CHOICES, "label")


def _choice(line: str) -> str:
    """The label in a line such as {"label": 0}; the quoted line if it has none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    return json.dumps(found["label"] if isinstance(found, dict) and "label" in found else line) if line else ""


def _indices(part: Part, language: str, text: str, known: Known) -> list[Problem]:
    lines = _split(text)
    size = known.rows or len(lines)
    problems = _count(len(lines), known, "lines")
    return problems + _outside(dict(enumerate(lines, 1)), [*map(str, range(size))], "number", f"0 to {size - 1}")


def _tags(part: Part, language: str, text: str, known: Known) -> list[Problem]:
    lines = _split(text)
    sentences: list[list[str]] = [[]]
    for line in lines:
        if line:
            sentences[-1].append(line)
        else:
            sentences.append([])
    if not sentences[-1]:  # an empty line after the last sentence does no harm
        sentences.pop()
    problems = _count(len(sentences), known, "sentences")
    problems += _told([place for place, tags in enumerate(sentences, 1) if not tags], "no tag", "sentence")
    if len(sentences) == len(known.words):
        pairs = enumerate(zip(sentences, known.words, strict=True), 1)
        uneven = [place for place, (tags, words) in pairs if tags and len(tags) != words]
        problems += _told(uneven, "another number of tags than words", "sentence")
    return problems + _outside({i: line for i, line in enumerate(lines, 1) if line}, part.labels.values(), "tag")


def _answers(part: Part, language: str, text: str, known: Known) -> list[Problem]:
    found, problems = _object(text)
    if found is None:
        return problems
    problems += _count(len(found), known, "questions") + _ids(found, known.ids)
    odd = [key for key, value in found.items() if not isinstance(value, str)]
    empty = [key for key, value in found.items() if isinstance(value, str) and not value.strip()]
    return problems + _told(odd, "an answer that is no text", "question") + _told(empty, "an empty answer", "question")


def _ranked(part: Part, language: str, text: str, known: Known) -> list[Problem]:
    found, problems = _object(text)
    if found is None:
        return problems
    problems += _count(len(found), known, "queries") + _ids(found, known.ids)
    odd = [key for key, value in found.items() if not _is_ranking(value)]
    return problems + _told(odd, f"something else than 1 to {RANKS} different ids", "query")


def _is_ranking(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        return False
    return 0 < len(value) <= RANKS and len(set(value)) == len(value)


def _pairs(part: Part, language: str, text: str, known: Known) -> list[Problem]:
    lines = _split(text)
    pairs = {number: tuple(line.split("\t")) for number, line in enumerate(lines, 1)}
    whole = [pair for pair in pairs.values() if len(pair) == 2 and all(pair)]
    odd = [number for number, pair in pairs.items() if len(pair) != 2 or not all(pair)]
    problems = [] if lines else [(WRONG, "has no pair")]
    problems += _told(odd, "something else than two ids with a tab between", "line")
    problems += _told([" ".join(pair) for pair in _repeated(whole)], "a pair twice", "pair")
    for side, (prefix, ids) in enumerate(((language, known.ids), ("en", known.candidates))):
        strange = [pair[side] for pair in whole if not _is_sentence(pair[side], prefix, ids)]
        problems += _told(strange, f"an unknown id of a sentence in {prefix}", "id")
    return problems


def _is_sentence(name: str, prefix: str, ids: Collection[str]) -> bool:
    """BUCC's ids are the language, a dash and a number."""
    start, _, number = name.partition("-")
    return name in ids if ids else start == prefix and number.isdecimal()


def _split(text: str) -> list[str]:
    """Lines as the script reads them: stripped; a line end at the very end starts no further line."""
    lines = [line.strip() for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


class _Object(list):
    """The pairs of a JSON object."""


def _object(text: str) -> tuple[dict[str, Any] | None, list[Problem]]:
    """A JSON object, or None; with faults for what is no JSON, no object, or an id that occurs twice."""
    try:
        pairs = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        return None, [(WRONG, f"is not valid JSON ({error})")]
    if not isinstance(pairs, _Object):
        return None, [(WRONG, "is no JSON object from id to prediction")]
    return dict(pairs), _told(_repeated([key for key, _ in pairs]), "an id twice", "id")


def _repeated(items: Sequence[Hashable]) -> list[Any]:
    return [item for item, times in Counter(items).items() if times > 1]


def _ids(found: Mapping[str, Any], ids: Collection[str]) -> list[Problem]:
    if not ids:
        return []
    absent = [key for key in ids if key not in found]
    problems = _told([key for key in found if key not in ids], "an unknown id", "id")
    return problems + [(SHORT, problem) for _, problem in _told(absent, "no prediction", "id")]


def _count(found: int, known: Known, unit: str) -> list[Problem]:
    if not found:
        return [(WRONG, f"has no {unit}")]
    if known.rows is None or found == known.rows:
        return []
    return [(SHORT if found < known.rows else WRONG, f"has {found:,} {unit}, expected {known.rows:,}")]


def _outside(found: Mapping[int, str], allowed: Collection[str], what: str, listed: str = "") -> list[Problem]:
    """Faults for empty items and for those that are not allowed, by line."""
    allowed = set(allowed)
    problems = _told([line for line, item in found.items() if not item], f"an empty {what}", "line")
    strange = [line for line, item in found.items() if item and item not in allowed]
    if strange:
        item = found[strange[0]][:40]
        problems += _told(strange, f"the {what} {item!r}, not one of {listed or ', '.join(sorted(allowed))}", "line")
    return problems


def _told(places: Sequence[Any], what: str, unit: str) -> list[Problem]:
    """One sentence for all places with the same fault."""
    if not places:
        return []
    more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
    return [(WRONG, f"has {what} ({unit} {places[0]}{more})")]


CHECKS: dict[str, Callable[[Part, str, str, Known], list[Problem]]] = {
    "labels": _labels,
    "choices": _choices,
    "indices": _indices,
    "tags": _tags,
    "answers": _answers,
    "ranked": _ranked,
    "pairs": _pairs,
}
