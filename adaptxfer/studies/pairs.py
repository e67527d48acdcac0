"""Gains paired by seed: which runs stand against which, and their differences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaptxfer.errors import use_error
from adaptxfer.studies.table import NONE, WHOLE, RecordTable, Row, only_value

OWN_SCORE = "intermediate"
"""``study`` of a row that holds a score on the intermediate task itself."""

STEPS = "steps"
"""``metric`` of a row of own scores that says how long the module was trained."""

SELECTOR = "selector"
"""``study`` of a row that holds what a selector says about an intermediate and a target."""

APART = (OWN_SCORE, SELECTOR)
"""Rows that are no scores on a target."""


@dataclass(frozen=True)
class Pairs:
    """The runs of one target task that can be compared.

    Args:
        target: target task.
        metric: its metric.
        languages: languages that every run here was scored on, with equally many items.
        rows: by intermediate and seed the rows in the order of ``languages``; holds the baseline, ``none``.
    """

    target: str
    metric: str
    languages: tuple[str, ...]
    rows: dict[tuple[str, int], tuple[Row, ...]]

    def labels(self) -> list[str]:
        """The intermediates other than none."""
        return list(dict.fromkeys(label for label, _ in self.rows if label != NONE))

    def seeds(self, label: str) -> list[int]:
        """Seeds that both the intermediate and the baseline have."""
        return sorted(seed for name, seed in self.rows if name == label and (NONE, seed) in self.rows)

    def scores(self, label: str, seed: int) -> np.ndarray:
        """Scores by language (L,)."""
        return np.array([row.value for row in self.rows[label, seed]])

    def differences(self, label: str) -> np.ndarray:
        """Score with minus score without by language and seed (L, S)."""
        return np.stack([self.scores(label, s) - self.scores(NONE, s) for s in self.seeds(label)], axis=1)


def choose(table: RecordTable, backbone: str | None = None, method: str | None = None) -> RecordTable:
    """The rows gains are made of: whole slices, last checkpoints, one base model and one method.

    Raises:
        AdaptxferError: if the table holds several base models or methods and none was chosen, or nothing is left.
    """

    def keep(row: Row) -> bool:
        fits = (backbone in (None, row.backbone)) and (method in (None, row.method))
        return fits and row.slice == WHOLE and not row.intermediate_checkpoint and row.study not in APART

    found = [row for row in table.rows if keep(row)]
    if not found:
        raise use_error("No row of the table fits.", "Check --model and --method.")
    kept = RecordTable(tuple(found), table.notes)
    only_value(kept, "backbone", "--model")
    only_value(kept, "method", "--method")
    return kept


def one_kind(
    table: RecordTable,
    backbone: str | None = None,
    method: str | None = None,
    how: str | None = None,
    several_models: bool = False,
) -> RecordTable:
    """The records of one base model, method and composition; rows that are no scores on targets stay.

    Args:
        table: records.
        backbone: the base model; None if there is one alone.
        method: the same for methods.
        how: as for `one_composition`.
        several_models: keep those of all base models.

    Raises:
        AdaptxferError: if the table holds several and none was chosen, or nothing is left.
    """
    fits = [row for row in table.rows if backbone in (None, row.backbone) and method in (None, row.method)]
    if not fits:
        raise use_error("No record fits.", "Check --model and --method.")
    kept = RecordTable(tuple(fits), table.notes)
    if any(row.study not in APART for row in fits):
        scored = kept.where(lambda row: row.study not in APART)
        only_value(scored, "method", "--method")
        if not several_models:
            only_value(scored, "backbone", "--model")
    return one_composition(kept, how)


def one_composition(table: RecordTable, how: str | None = None) -> RecordTable:
    """The table with one composition of each intermediate on each target, so that no module counts as two units.

    Args:
        table: records.
        how: the composition that counts where there are several; None for the one with most runs of this table.

    Raises:
        AdaptxferError: if no run has the composition asked for.
    """
    found: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for row in table.rows:
        if row.intermediate != NONE and row.study not in APART:
            found[row.backbone, row.intermediate, row.target_task][row.how] += 1
    total = sum(found.values(), Counter[str]())
    if how is not None and how not in total:
        known = ", ".join(sorted(filter(None, total)))
        raise use_error(f"No record has the composition {how!r}.", f"Known: {known}." if known else "None is recorded.")
    order = sorted(total, key=lambda name: (name != how, -total[name], name))
    counts = {key: min(by, key=order.index) for key, by in found.items()}
    several = {(counts[key], *sorted(by.keys() - {counts[key]})): None for key, by in found.items() if len(by) > 1}
    told = [f"Of several compositions {kept} counts, not {', '.join(left)} (--how)." for kept, *left in several]

    def keep(row: Row) -> bool:
        return row.how == counts.get((row.backbone, row.intermediate, row.target_task), row.how)

    return RecordTable(tuple(row for row in table.rows if row.study in APART or keep(row)), (*table.notes, *told))


def pair(table: RecordTable) -> tuple[list[Pairs], list[str]]:
    """Pair every intermediate with the baseline of the same target, settings and seed.

    Returns:
        the targets that have a pair, and notes on what was left out.

    Raises:
        AdaptxferError: if a cell is filled twice, or nothing can be paired.
    """
    notes: list[str] = []
    by_target: dict[str, list[Row]] = defaultdict(list)
    hows: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in table.rows:
        if row.study not in APART:
            by_target[row.target_task].append(row)
            if row.intermediate != NONE:
                hows[row.intermediate][row.target_task].add(row.how)
    # what needs no training (retrieval) takes a module as it is, so compositions may differ between targets alone
    several = {name for name, by in hows.items() if any(len(ways) > 1 for ways in by.values())}
    found = [made for rows in by_target.values() if (made := _pair(rows, several, notes))]
    if not found:
        hint = "A gain needs runs with and without intermediate task (--how none) of one seed and equal settings."
        raise use_error("No run with an intermediate task has a baseline to compare with.", " ".join([hint, *notes]))
    return found, notes


def _pair(rows: Sequence[Row], several: set[str], notes: list[str]) -> Pairs | None:
    """Pairs of one target; intermediates in ``several`` are told apart by their composition."""
    target = rows[0].target_task
    cells: dict[tuple[str, int], dict[str, Row]] = defaultdict(dict)
    for row in _of_one_setting(rows, notes):
        label = f"{row.intermediate} ({row.how})" if row.intermediate in several else row.intermediate
        if row.language in cells[label, row.target_seed]:
            told = f"{label} -> {target} in {row.language} has several scores for seed {row.target_seed}."
            raise use_error(told, "Keep one split and one metric for each target task.")
        cells[label, row.target_seed][row.language] = row
    seeds = {seed for label, seed in cells if label == NONE}
    used = {key: by for key, by in cells.items() if key[1] in seeds and _has_partner(key, cells)}
    if lone := sorted({f"{label} seed {seed}" for label, seed in cells.keys() - used.keys()}):
        notes.append(f"{target}: without a partner of the same seed: {', '.join(lone)}.")
    languages = _common_languages(target, list(used.values()), notes)
    if not used or not languages:
        return None
    rows_of = {key: tuple(by[language] for language in languages) for key, by in used.items()}
    return Pairs(target, rows[0].metric, tuple(languages), rows_of)


def _has_partner(key: tuple[str, int], cells: dict[tuple[str, int], dict[str, Row]]) -> bool:
    label, seed = key
    return label != NONE or any(name != NONE and other == seed for name, other in cells)


def _of_one_setting(rows: Sequence[Row], notes: list[str]) -> list[Row]:
    """Rows of the settings under which most runs have a baseline."""
    settings: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        settings[row.settings].append(row)

    def pairs(group: list[Row]) -> int:
        seeds = {row.target_seed for row in group if row.intermediate == NONE}
        return sum(row.intermediate != NONE and row.target_seed in seeds for row in group)

    best = max(settings.values(), key=pairs)
    if len(settings) > 1:
        others = {row.run or row.intermediate for row in rows} - {row.run or row.intermediate for row in best}
        notes.append(f"{rows[0].target_task}: asked for with other settings and left out: {', '.join(sorted(others))}.")
    return best


def _common_languages(target: str, runs: Sequence[dict[str, Row]], notes: list[str]) -> list[str]:
    """Languages of all runs, scored on equally many items everywhere."""
    counts = Counter(language for by in runs for language in by)
    full = [language for language, count in counts.items() if count == len(runs)]
    same = [code for code in full if len({(by[code].n_items, by[code].split, by[code].metric) for by in runs}) == 1]
    if left := sorted(counts.keys() - set(same)):
        notes.append(f"{target}: not scored on the same items in all runs, left out: {', '.join(left)}.")
    return same
