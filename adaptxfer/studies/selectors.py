"""Selectors that may look at languages: ridge regressions on gains, with a language or a target task left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptxfer.errors import data_error
from adaptxfer.studies.codes import one_name_each, related, told
from adaptxfer.studies.languages import LanguageFeatures
from adaptxfer.studies.outcomes import paired
from adaptxfer.studies.table import RecordTable

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Ridge penalties of everything that looks at languages; chosen in inner folds."""

SOFT = 1e-3
"""Penalty of the mean gain of each intermediate, next to nothing."""

INNER = 5
BLIND, LANGUAGE, INTERACTION, PAIR, ALL = "task", "task + languages", "task x languages", "task + pairs", "all features"
SELECTORS: Mapping[str, tuple[str, ...]] = {
    BLIND: (),
    LANGUAGE: ("language",),
    INTERACTION: ("language", "interaction"),
    PAIR: ("pair",),
    ALL: ("language", "interaction", "pair"),
}
"""Blocks of features by selector. The first is blind to languages; the last is what a claim is about."""


@dataclass(frozen=True)
class Cells:
    """Gains of every intermediate at every place, a place being a target task in a language.

    Args:
        names: intermediates (I,).
        targets: target task of each place (P,).
        languages: language of each place (P,).
        gains: points (P, I).
        features: language features (P, F), standardised, 0 where unknown.
        pairs: features of intermediate and language (P, I, G), standardised, 0 where unknown.
        notes: which codes stand for one language.
    """

    names: tuple[str, ...]
    targets: np.ndarray
    languages: np.ndarray
    gains: np.ndarray
    features: np.ndarray
    pairs: np.ndarray
    notes: tuple[str, ...] = ()


def gain_cells(table: RecordTable, features: LanguageFeatures) -> Cells:
    """The gains of a table with the features of their languages; intermediates that not all targets have are left out.

    Raises:
        AdaptxferError: if fewer than two intermediates have gains on all targets.
    """
    found = paired(table)
    names = tuple(name for name in found[0].labels() if all(name in p.labels() for p in found)) if found else ()
    if len(names) < 2:
        raise data_error(f"{len(names)} intermediates have gains on all targets.", "A choice needs two.")
    gains = np.concatenate([np.stack([p.differences(name).mean(1) for name in names], 1) for p in found])
    codes = [language for p in found for language in p.languages]
    one = one_name_each(codes)  # a language left out is left out under all its codes
    languages = [one[code] for code in codes]
    features = features.aligned(list(dict.fromkeys(languages)))
    merged = [(code, name, related(code, name)) for code, name in one.items() if code != name]
    targets = [p.target for p in found for _ in p.languages]
    return Cells(
        names, np.array(targets), np.array(languages), gains,
        standard(features.of_languages(languages)), standard(features.of_pairs(names, languages)),
        tuple(told(merged, "Languages of target tasks")),
    )  # fmt: skip


def standard(values: np.ndarray) -> np.ndarray:
    """Values (..., F) with mean 0 and standard deviation 1 over all but the last axis; what is unknown becomes 0."""
    if not values.size:
        return values
    flat = values.reshape(-1, values.shape[-1])
    known = np.isfinite(flat)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, flat, 0).sum(0) / count
    off = np.where(known, flat - mean, 0)
    spread = np.sqrt((off**2).sum(0) / count)
    return np.divide(off, spread, out=np.zeros_like(off), where=spread > 1e-12).reshape(values.shape)


def shuffled(cells: Cells, generator: np.random.Generator) -> Cells:
    """The same cells with the features of languages dealt out anew among languages: a placebo."""
    codes = np.unique(cells.languages)
    dealt = dict(zip(codes, generator.permutation(codes), strict=True))
    first = {code: int(np.flatnonzero(cells.languages == code)[0]) for code in codes}
    places = np.array([first[dealt[code]] for code in cells.languages])
    return replace(cells, features=cells.features[places], pairs=cells.pairs[places])


def design(cells: Cells, blocks: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Columns (P, I, K), each centred over the intermediates of a place, and which of them are penalised (K,).

    Only differences between intermediates can change a choice. What is the same for all of them in a language, such as
    its distance from English, is 0 after centring: alone it leaves every ranking as it was.
    """
    p, i = cells.gains.shape
    one_hot = np.broadcast_to(np.eye(i), (p, i, i))
    parts = {
        "language": np.broadcast_to(cells.features[:, None, :], (p, i, cells.features.shape[1])),
        "interaction": (one_hot[..., None] * cells.features[:, None, None, :]).reshape(p, i, -1),
        "pair": cells.pairs,
    }
    columns = np.concatenate([one_hot, *(parts[name] for name in blocks)], axis=2)
    return columns - columns.mean(1, keepdims=True), np.arange(columns.shape[2]) >= i


class Ridge:
    """Sums of squares by group, from which a regression without any of the groups takes one small solve."""

    def __init__(self, cells: Cells, blocks: Sequence[str], groups: np.ndarray) -> None:
        self.columns, penalised = design(cells, blocks)
        y = cells.gains - cells.gains.mean(1, keepdims=True)
        self.codes, self.group = np.unique(groups, return_inverse=True)
        shape = (len(self.codes), self.columns.shape[2])
        self.squares, self.products, self.total = np.zeros((*shape, shape[1])), np.zeros(shape), np.zeros(shape[0])
        for g in range(shape[0]):
            x, t = self.columns[self.group == g].reshape(-1, shape[1]), y[self.group == g].ravel()
            self.squares[g], self.products[g], self.total[g] = x.T @ x, x.T @ t, float(t @ t)
        self.penalties = [np.where(penalised, size, SOFT) for size in (PENALTIES if penalised.any() else PENALTIES[:1])]

    def without(self, g: int) -> np.ndarray:
        """Coefficients (K,) fitted on all other groups, the penalty chosen in inner folds of them."""
        rest = [place for place in range(len(self.codes)) if place != g]
        penalty = self.penalties[0]
        if len(self.penalties) > 1 and len(rest) > 1:
            penalty = min(self.penalties, key=lambda size: self._error(rest, size))
        return self._fit(rest, penalty)

    def _fit(self, groups: Sequence[int], penalty: np.ndarray) -> np.ndarray:
        squares = self.squares[groups].sum(0)
        return np.linalg.solve(squares + np.diag(penalty), self.products[groups].sum(0))

    def _error(self, groups: Sequence[int], penalty: np.ndarray) -> float:
        """Squared error on inner folds."""
        total = 0.0
        for fold in range(min(INNER, len(groups))):
            held = list(groups[fold::INNER])
            b = self._fit([g for g in groups if g not in held], penalty)
            squares, products = self.squares[held].sum(0), self.products[held].sum(0)
            total += float(self.total[held].sum() - 2 * products @ b + b @ squares @ b)
        return total

    def predictions(self) -> np.ndarray:
        """Gains of each place predicted without its group, up to a constant of the place (P, I)."""
        found = np.zeros(self.columns.shape[:2])
        for g in range(len(self.codes)):
            found[self.group == g] = self.columns[self.group == g] @ self.without(g)
        return found


def left_out(cells: Cells, selector: str, cv: str) -> np.ndarray:
    """Predicted gains (P, I) by one of ``SELECTORS``, up to a constant of the place.

    Args:
        cells: gains and features.
        selector: whose blocks of features are used.
        cv: ``lolo`` leaves each language out in turn, ``loto`` each target task.
    """
    groups = cells.languages if cv == "lolo" else cells.targets
    return Ridge(cells, SELECTORS[selector], groups).predictions()


def taken(cells: Cells, predictions: np.ndarray) -> np.ndarray:
    """Gain of the first choice at each place (P,); ties go to the first name."""
    return cells.gains[np.arange(len(cells.gains)), predictions.argmax(1)]
