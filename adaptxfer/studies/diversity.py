"""Study diversity: does it pay to look at the target language when an English intermediate task is chosen?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from adaptxfer.console import Cell, Table
from adaptxfer.studies.languages import BINS, LanguageFeatures
from adaptxfer.studies.plots import Forest, HeatMap, Line, Plot, Points
from adaptxfer.studies.report import Claim, Report
from adaptxfer.studies.selection import ndcg
from adaptxfer.studies.selectors import (
    ALL,
    BLIND,
    LANGUAGE,
    SELECTORS,
    Cells,
    gain_cells,
    left_out,
    shuffled,
    taken,
)
from adaptxfer.studies.stats.correction import holm
from adaptxfer.studies.stats.estimate import DESCRIPTIVE, Estimate, verdict
from adaptxfer.studies.stats.seeds import Spread, t_interval
from adaptxfer.studies.table import NONE, RecordTable

LANGUAGES_NEEDED, FAMILIES_NEEDED = 10, 5
"""Fewest low-resource languages, and families they come from, for a claim."""

RELEVANT = 0.5
"""Points that would make the effort worth it."""

Tested = tuple[str, Estimate, str, int, str]
"""A claim, its estimate and units, the fewest of them, and what else is missing."""

Bins = Callable[[Sequence[str]], Mapping[str, str]]

CV = {"lolo": "languages", "loto": "target tasks"}


def diversity_study(
    table: RecordTable,
    features: LanguageFeatures,
    low: Callable[[Sequence[str]], Sequence[str]],
    cv: Sequence[str] = ("lolo", "loto"),
    placebo: int = 200,
    always: str = "mnli",
    seed: int = 0,
    bins: Bins | None = None,
) -> Report:
    """Does a selector that looks at the target language choose better than one that does not?

    Outcome: the gain of what it chooses minus that of the choice blind to languages, on languages (lolo) or target
    tasks (loto) that it has not seen; mean over target tasks, and over languages in families. The placebo deals the
    features out anew among languages. All tests together are one family (Holm).

    Args:
        table: records of one base model and method.
        features: of languages and of pairs.
        low: the low-resource languages among those of the records.
        cv: ``lolo`` and ``loto``, or one of them.
        placebo: shuffles of the features.
        always: the intermediate that a lazy choice takes.
        seed: of the shuffles.
        bins: how much there is of each language, in words; None for low-resource or not.

    Raises:
        AdaptxferError: if fewer than two intermediates have gains on all targets.
    """
    cells = gain_cells(table, features)
    codes = list(dict.fromkeys(map(str, cells.languages)))
    features = features.aligned(codes)
    chosen = set(low(codes))
    mask = np.array([language in chosen for language in cells.languages])
    usable = [way for way in cv if len(set(cells.languages if way == "lolo" else cells.targets)) > 1]
    predicted = {way: {name: left_out(cells, name, way) for name in SELECTORS} for way in usable}
    found: list[Tested] = []
    for way in usable:
        benefit, unit = advantage(cells, predicted[way][ALL], predicted[way][BLIND], mask, features.families)
        text = f"Looking at languages chooses better for {CV[way]} left out (points over the blind choice)."
        found.append((text, benefit, unit, _minimum(unit), _few(chosen, features.families)))
        fake = placebo_test(cells, way, mask, benefit.value, placebo, seed, len(chosen))
        text = f"It chooses better for {CV[way]} left out than with features shuffled among languages."
        found.append((text, fake, "languages", LANGUAGES_NEEDED, ""))
    claims = _claims(found)
    binned = bins(codes) if bins else {code: "low-resource" if code in chosen else "others" for code in codes}
    lost = {way: by_bin(cells, predicted[way], binned, always) for way in usable}
    views = [_rankings(cells, predicted[way], way, always) for way in usable]
    views += [_bins_table(found, binned, way) for way, found in lost.items()]
    options = {"cv": list(usable), "placebo": placebo, "low_resource": sorted(chosen), "seed": seed,
               "features": [*features.names, *features.pair_names]}  # fmt: skip
    notes = _notes(features, cells.names, codes, cv, usable, cells.notes)
    return Report(
        "diversity", "Does looking at the target language help to choose an English intermediate task?", table,
        tuple(claims), tuple(views), _plots(cells, predicted, features, always) | _bin_plots(lost, binned), notes,
        options,
    )  # fmt: skip


def _claims(found: Sequence[Tested]) -> list[Claim]:
    claims = []
    tested = [e.p if e.n_units >= least and not few else math.nan for _, e, _, least, few in found]
    for (text, estimate, unit, least, few), p in zip(found, map(float, holm(tested)), strict=True):
        said = DESCRIPTIVE if math.isnan(p) else verdict(estimate, least, p, RELEVANT)
        why = few or (f"{least} {unit} are needed" if estimate.n_units < least else "")
        claims.append(Claim(text, estimate, unit, said, why))
    return claims


def _minimum(unit: str) -> int:
    return FAMILIES_NEEDED if unit == "families" else LANGUAGES_NEEDED


def _few(chosen: set[str], families: Mapping[str, str]) -> str:
    if len(chosen) < LANGUAGES_NEEDED:
        return f"{LANGUAGES_NEEDED} low-resource languages are needed"
    known = {families[code] for code in chosen if code in families}
    return f"{FAMILIES_NEEDED} families are needed" if known and len(known) < FAMILIES_NEEDED else ""


def advantage(
    cells: Cells, one: np.ndarray, other: np.ndarray, mask: np.ndarray, families: Mapping[str, str]
) -> tuple[Estimate, str]:
    """Gain of one choice minus gain of another, mean over languages, with an interval over clusters of languages.

    Args:
        cells: gains.
        one: predictions of the one (P, I).
        other: of the other.
        mask: the places that count (P,).
        families: of languages; without any, each language stands for itself.

    Returns:
        the estimate, and what its units are: families or languages.
    """
    difference = taken(cells, one) - taken(cells, other)
    codes = sorted(set(cells.languages[mask]))
    values = np.array([difference[mask & (cells.languages == code)].mean() for code in codes])
    units = [families.get(code, code) for code in codes]
    unit = "families" if any(code in families for code in codes) else "languages"
    if not codes:
        return Estimate(math.nan, math.nan, math.nan, math.nan, 0), unit
    _, group = np.unique(units, return_inverse=True)
    count, off = int(group.max()) + 1, values - values.mean()
    sums = np.bincount(group, off)
    spread = Spread(math.nan, 0)
    if count > 1:
        spread = Spread(float((sums**2).sum()) / len(values) ** 2 * count / (count - 1), count - 1)
    return t_interval(float(values.mean()), [spread], count), unit


def placebo_test(
    cells: Cells, way: str, mask: np.ndarray, observed: float, draws: int, seed: int, languages: int
) -> Estimate:
    """The benefit beyond that of shuffled features, p by the shuffles; unit: the language."""
    blind = taken(cells, left_out(cells, BLIND, way))
    generator = np.random.default_rng(seed)
    fakes = []
    for _ in range(draws):
        difference = taken(cells, left_out(shuffled(cells, generator), ALL, way)) - blind
        codes = sorted(set(cells.languages[mask]))
        fakes.append(np.mean([difference[mask & (cells.languages == code)].mean() for code in codes]))
    if not fakes:
        return Estimate(math.nan, math.nan, math.nan, math.nan, languages)
    p = (1 + sum(fake >= observed - 1e-12 for fake in fakes)) / (1 + draws)
    low, high = observed - np.quantile(fakes, [0.975, 0.025])
    return Estimate(observed - float(np.mean(fakes)), float(low), float(high), p, languages)


def _rankings(cells: Cells, predicted: Mapping[str, np.ndarray], way: str, always: str) -> Table:
    """How each selector ranks, place by place."""
    best = np.maximum(cells.gains.max(1), 0.0)
    rows: list[list[Cell]] = []

    def add(name: str, gain: np.ndarray, order: float | None, hits: float | None) -> None:
        lost = best - gain
        shown = ["–" if value is None else f"{value:.3f}" for value in (order, hits)]
        rows.append([name, f"{gain.mean():+.2f}", f"{lost.mean():.2f}", *shown, f"{float((gain < 0).mean()):.2f}"])

    for name, guess in predicted.items():
        hits = float((guess.argmax(1) == cells.gains.argmax(1)).mean())
        add(name, taken(cells, guess), _ranking_quality(cells, guess), hits)
    if always in cells.names:
        add(f"always {always}", cells.gains[:, cells.names.index(always)], None, None)
    add("random (expected)", cells.gains.mean(1), None, 1 / len(cells.names))
    add(NONE, np.zeros(len(best)), None, None)
    add("oracle", best, None, None)
    columns = ["selector", *((name, "right") for name in ("gain", "regret", "NDCG@3", "top-1", "harm"))]
    counts = len(set(cells.languages)), len(set(cells.targets)), len(best)
    caption = "points; {} languages, {} target tasks, {} places".format(*counts)
    return Table(f"Selectors with {CV[way]} left out", columns, rows, caption)


def by_bin(
    cells: Cells, predicted: Mapping[str, np.ndarray], binned: Mapping[str, str], always: str
) -> dict[str, dict[str, float]]:
    """Regret of each selector in points, by bin of languages; within one, languages weigh alike."""
    best = np.maximum(cells.gains.max(1), 0.0)
    lost = {name: best - taken(cells, guess) for name, guess in predicted.items()}
    if always in cells.names:
        lost[f"always {always}"] = best - cells.gains[:, cells.names.index(always)]
    lost |= {"random (expected)": best - cells.gains.mean(1), NONE: best}

    def mean(values: np.ndarray, wanted: str) -> float:
        codes = [code for code, name in binned.items() if name == wanted]
        return float(np.mean([values[cells.languages == code].mean() for code in codes]))

    return {name: {b: mean(values, b) for b in _bins(binned)} for name, values in lost.items()}


def _bins(binned: Mapping[str, str]) -> list[str]:
    return sorted(set(binned.values()), key=lambda name: BINS.index(name) if name in BINS else len(BINS))


def _bins_table(lost: Mapping[str, Mapping[str, float]], binned: Mapping[str, str], way: str) -> Table:
    sizes = Counter(binned.values())
    rows: list[list[Cell]] = [[name, *(f"{value:.2f}" for value in by.values())] for name, by in lost.items()]
    columns = ["selector", *((f"{name} ({sizes[name]})", "right") for name in _bins(binned))]
    return Table(
        f"Regret by resources, {CV[way]} left out", columns, rows, "points, languages weighing alike; (languages)"
    )


def _bin_plots(lost: Mapping[str, Mapping[str, Mapping[str, float]]], binned: Mapping[str, str]) -> dict[str, Plot]:
    names = _bins(binned)
    return {
        f"regret-by-resources-{way}": HeatMap(
            f"Regret by resources, {CV[way]} left out", list(by), names,
            np.array([[row[name] for name in names] for row in by.values()]), unit="points", digits=2,
        )
        for way, by in lost.items()
    }  # fmt: skip


def _ranking_quality(cells: Cells, guess: np.ndarray) -> float:
    """NDCG@3 of the predicted order, mean over places."""

    def named(values: np.ndarray) -> dict[str, float]:
        return dict(zip(cells.names, map(float, values), strict=True))

    return float(np.mean([ndcg(named(g), named(y)) for g, y in zip(guess, cells.gains, strict=True)]))


def _notes(
    features: LanguageFeatures, names: Sequence[str], codes: Sequence[str], cv: Sequence[str], usable: Sequence[str],
    merged: Sequence[str],
) -> tuple[str, ...]:  # fmt: skip
    notes = [
        "Features of the language alone are the same for every English intermediate task, so they cannot change their "
        f"ranking: {LANGUAGE!r} equals {BLIND!r} line by line. A pooled correlation would rise all the same, and is "
        "not given.",
        "Languages left out share their runs with those that are not; target tasks left out do not.",
    ]
    notes += [f"Leaving {CV[way]} out needs two of them." for way in cv if way not in usable]
    values = features.of_languages(codes)
    for place, name in enumerate(features.names):
        if unknown := [code for code, value in zip(codes, values[:, place], strict=True) if not math.isfinite(value)]:
            notes.append(f"{name} is unknown for {', '.join(unknown)}: taken as the mean, never filled in.")
    known = features.of_pairs(names, codes)
    for place, name in enumerate(features.pair_names):
        if unknown := [one for i, one in enumerate(names) if not np.isfinite(known[:, i, place]).any()]:
            notes.append(f"{name} is unknown for {', '.join(unknown)}: taken as the mean, never filled in.")
    if not features.names and not features.pair_names:
        notes.append("No features were given (--features FILE): every selector is blind to languages.")
    return (*notes, *merged, *features.notices)


def _plots(
    cells: Cells, predicted: Mapping[str, Mapping[str, np.ndarray]], features: LanguageFeatures, always: str
) -> dict[str, Plot]:
    best = np.maximum(cells.gains.max(1), 0.0)
    lines = [
        Line(f"{name}, {CV[way]} left out", float((best - taken(cells, guess)).mean()))
        for way, by in predicted.items() for name, guess in by.items()
    ]  # fmt: skip
    lines.append(Line(NONE, float(best.mean())))
    if always in cells.names:
        lines.append(Line(f"always {always}", float((best - cells.gains[:, cells.names.index(always)]).mean())))
    codes = list(dict.fromkeys(cells.languages))
    means = np.array([cells.gains[cells.languages == code].mean(0) for code in codes]).T
    plots: dict[str, Plot] = {
        "regret": Forest("Regret of each selector (lower is better)", lines, "points"),
        "gains-by-language": HeatMap("Gains by language, mean over target tasks", cells.names, codes, means),
    }
    if features.names:
        raw = features.of_languages(codes)
        known = np.isfinite(raw[:, 0])
        x = [float(value) for value in raw[known, 0]]
        groups = {name: (x, list(map(float, means[i][known]))) for i, name in enumerate(cells.names)}
        title = f"Gain against {features.names[0]}"
        plots["gain-and-feature"] = Points(title, features.names[0], "gain in points", groups, fitted=True)
        plots["features"] = HeatMap(
            "Features of languages, standardised (white: unknown)", features.names, codes, _shown(raw), unit="SD"
        )
    return plots


def _shown(raw: np.ndarray) -> np.ndarray:
    """Standardised features (F, L), NaN where unknown."""
    spread = np.nanstd(raw, 0)
    return ((raw - np.nanmean(raw, 0)) / np.where(spread > 0, spread, 1)).T
