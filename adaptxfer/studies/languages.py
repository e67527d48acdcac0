"""Features of languages, and of pairs of an intermediate task and a language, from files with notices of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adaptxfer.errors import data_error, nearest, use_error
from adaptxfer.files import csv_rows, read_text
from adaptxfer.studies.codes import match, told

FAMILY = "family"
NOTICE = "#"


@dataclass(frozen=True)
class LanguageFeatures:
    """What is known of languages; what is not stays unknown (NaN).

    Args:
        names: of the features of a language (F,).
        by_language: values (F,) by language.
        pair_names: of the features of an intermediate and a language (G,).
        by_pair: values (G,) by intermediate and language.
        families: of languages, where a file says so.
        notices: licences and sources, as the files give them.
    """

    names: tuple[str, ...] = ()
    by_language: Mapping[str, np.ndarray] = field(default_factory=dict)
    pair_names: tuple[str, ...] = ()
    by_pair: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    families: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def __add__(self, other: LanguageFeatures) -> LanguageFeatures:
        """Both side by side."""
        return LanguageFeatures(
            (*self.names, *other.names),
            _beside(self.by_language, len(self.names), other.by_language, len(other.names)),
            (*self.pair_names, *other.pair_names),
            _beside(self.by_pair, len(self.pair_names), other.by_pair, len(other.pair_names)),
            {**self.families, **other.families},
            tuple(dict.fromkeys((*self.notices, *other.notices))),
        )

    def aligned(self, languages: Sequence[str]) -> LanguageFeatures:
        """The same where features of other codes for ``languages`` stand under these too; notices say so."""
        used: dict[tuple[str, str, str], None] = {}

        def renamed(known: Iterable[str]) -> dict[str, str]:
            here = set(known)
            found = {code: match(code, here) for code in languages}
            used.update({(code, name, how): None for code, (name, how) in found.items() if name not in ("", code)})
            return {code: name for code, (name, _) in found.items() if name}

        single, paired = renamed(self.by_language), renamed(code for _, code in self.by_pair)
        related = renamed(self.families)
        return LanguageFeatures(
            self.names,
            dict(self.by_language) | {code: self.by_language[name] for code, name in single.items()},
            self.pair_names,
            dict(self.by_pair) | {(who, code): values for code, name in paired.items()
                                  for (who, other), values in self.by_pair.items() if other == name},
            dict(self.families) | {code: self.families[name] for code, name in related.items()},
            (*self.notices, *told(used, "Features of languages")),
        )  # fmt: skip

    def of_languages(self, languages: Sequence[str]) -> np.ndarray:
        """Features (L, F); NaN where unknown."""
        return _rows(self.by_language, languages, len(self.names))

    def of_pairs(self, intermediates: Sequence[str], languages: Sequence[str]) -> np.ndarray:
        """Features (L, I, G); NaN where unknown."""
        keys = [(name, language) for language in languages for name in intermediates]
        found = _rows(self.by_pair, keys, len(self.pair_names))
        return found.reshape(len(languages), len(intermediates), len(self.pair_names))


def _beside(one: Mapping, n: int, other: Mapping, m: int) -> dict:
    keys = dict.fromkeys((*one, *other))
    return {key: np.concatenate([one.get(key, np.full(n, np.nan)), other.get(key, np.full(m, np.nan))]) for key in keys}


def _rows(known: Mapping, keys: Sequence, width: int) -> np.ndarray:
    found = [known.get(key, np.full(width, np.nan)) for key in keys]
    return np.array(found, float).reshape(len(keys), width)


def read_features(path: Path) -> LanguageFeatures:
    """Features from a CSV or TSV file.

    Lines that begin with ``#`` are notices (licence, source) and are kept. Columns: ``language``; ``intermediate`` if
    the features are of pairs; ``family`` if known; all others are numbers, empty where unknown.

    Raises:
        AdaptxferError: if a column is missing, a value is no number, or a language stands twice.
    """
    lines = read_text(path, "feature file").splitlines()
    notices = [line.lstrip("# ").strip() for line in lines if line.startswith(NOTICE)]
    text = "\n".join(line for line in lines if line.strip() and not line.startswith(NOTICE))
    columns, rows = csv_rows(text, str(path))
    if "language" not in columns:
        raise data_error(f"{path} has no column language.", "Needed: language, and one column for each feature.")
    names = tuple(name for name in columns if name not in ("language", "intermediate", FAMILY))
    found: dict = {}
    families: dict[str, str] = {}
    for number, line in rows:
        key = (line["intermediate"], line["language"]) if "intermediate" in columns else line["language"]
        if key in found:
            raise data_error(f"{path} has two lines for {key}.", "Keep one.")
        found[key] = np.array([_number(line[name], path, number) for name in names])
        if line.get(FAMILY):
            families[line["language"]] = line[FAMILY]
    if not names and not families:
        raise data_error(f"{path} holds no feature.", "Add a column of numbers.")
    told = tuple(f"{path.name}: {notice}" for notice in notices)
    if "intermediate" in columns:
        return LanguageFeatures((), {}, names, found, families, told)
    return LanguageFeatures(names, found, (), {}, families, told)


def _number(text: str | None, path: Path, line: int) -> float:
    if not (text or "").strip():
        return math.nan
    try:
        return float(text or "")
    except ValueError as error:
        raise data_error(f"{path}, line {line}: {text!r} is no number.", "Leave it empty if unknown.") from error


def features_text(features: LanguageFeatures) -> str:
    """The features of languages as a TSV text that ``read_features`` reads; pairs if there are only those."""
    pairs = not features.names
    names = features.pair_names if pairs else features.names
    known = features.by_pair if pairs else features.by_language
    lines = [f"{NOTICE} {notice}" for notice in features.notices]
    lines.append("\t".join([*(["intermediate"] if pairs else []), "language", *names]))
    for key, values in known.items():
        cells = ["" if math.isnan(value) else repr(float(value)) for value in values]
        lines.append("\t".join([*((key,) if isinstance(key, str) else key), *cells]))
    return "\n".join(lines) + "\n"


def low_resource(said: str | None, languages: Sequence[str], features: LanguageFeatures) -> tuple[str, ...]:
    """The languages a claim is about, fixed before looking at results.

    Args:
        said: codes with commas between, ``FEATURE:bottom-third``, or None for all but English.
        languages: those of the records.
        features: where FEATURE is looked up, such as the size of the pre-training text.

    Raises:
        AdaptxferError: if a code or feature is unknown.
    """
    if not said:
        return tuple(language for language in languages if language != "en")
    features, (name, colon, rule) = features.aligned(languages), said.partition(":")
    if colon:
        if rule != "bottom-third" or name not in features.names:
            raise use_error(f"--low-resource {said!r} is not understood.", f"FEATURE:bottom-third; {_known(features)}")
        values = dict(zip(languages, features.of_languages(languages)[:, features.names.index(name)], strict=True))
        known = [value for value in values.values() if math.isfinite(value)]
        limit = float(np.quantile(known, 1 / 3)) if known else math.nan
        return tuple(language for language, value in values.items() if value <= limit)
    codes = [code.strip() for code in said.split(",") if code.strip()]
    found = [match(code, languages)[0] for code in codes]
    for code, name in zip(codes, found, strict=True):
        if not name:
            raise use_error(f"The records have no language {code!r}.", nearest(code, languages))
    return tuple(dict.fromkeys(found))


BINS = ("low-resource", "bottom third", "middle third", "top third", "others", "unknown")
"""Bins of languages by resources, in the order they are shown."""


def resource_bins(said: str | None, languages: Sequence[str], features: LanguageFeatures) -> dict[str, str]:
    """By language how much there is of it: thirds by the feature that ``--low-resource`` names, else low or not.

    Raises:
        AdaptxferError: as ``low_resource``.
    """
    low = low_resource(said, languages, features)
    name, colon, _ = (said or "").partition(":")
    if not colon:
        return {code: "low-resource" if code in low else "others" for code in languages}
    values = features.aligned(languages).of_languages(languages)[:, features.names.index(name)]
    ends = np.nanquantile(values, [1 / 3, 2 / 3])
    thirds = ("bottom third", "middle third", "top third")
    return {
        code: thirds[int((value > ends).sum())] if math.isfinite(value) else "unknown"
        for code, value in zip(languages, values, strict=True)
    }


def _known(features: LanguageFeatures) -> str:
    return f"known features: {', '.join(features.names) or 'none, give --features FILE'}."
