"""Predicted gains on a target that was never trained for, calibrated on the targets of a record table.

gain = mean of all gains + shrunk effect of the intermediate + slope x signal

The signal is the mean of what selectors say, standardised among the candidates of one target, so that targets can be
compared. Everything is fitted on other targets than the predicted one; how far such predictions were off, target left
out by target, gives the interval. The unit of replication is the target task.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from adaptxfer.errors import data_error
from adaptxfer.studies.answers import mean_gains
from adaptxfer.studies.pairs import APART, SELECTOR
from adaptxfer.studies.table import NONE, RecordTable

SIGNALS = ("logme", "h_score", "tokens", "text", "task", "alignment", "overlap")
"""Selectors of which a higher value should mean a larger gain; the others have no direction of their own."""

NEEDED = 5
"""Targets from which on the spread between targets can be estimated reliably (the rule of the plan)."""

Gains = Mapping[str, Mapping[str, float]]
"""By target and intermediate, in points; none is not among them."""


@dataclass(frozen=True)
class Prediction:
    """What an intermediate is expected to bring to a target.

    Attributes:
        intermediate: its name.
        gain: expected gain in points.
        low: lower end of the 95 % prediction interval; not a number with fewer than three targets.
        high: upper end.
        p_harm: probability of a gain below zero; not a number with fewer than three targets.
        n_units: targets it was learnt from.
    """

    intermediate: str
    gain: float
    low: float
    high: float
    p_harm: float
    n_units: int

    @property
    def reliable(self) -> bool:
        """Whether there were enough targets; if not, the numbers only describe."""
        return self.n_units >= NEEDED


@dataclass(frozen=True)
class Model:
    """The fitted parts of a prediction."""

    mean: float
    effects: Mapping[str, float]
    slope: float

    def __call__(self, name: str, signal: float) -> float:
        """The expected gain in points."""
        return self.mean + self.effects.get(name, 0.0) + self.slope * signal


def gains_by_target(table: RecordTable, language: str | None = None) -> dict[str, dict[str, float]]:
    """Gains of last checkpoints by target and intermediate, in points.

    Args:
        table: records of one base model and method.
        language: only scores in it; None for the mean over languages.

    Raises:
        AdaptxferError: if no run has a baseline, or none is in this language.
    """
    if language is not None:
        table = table.where(lambda row: row.study in APART or row.language == language)
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for (name, checkpoint), by_target in mean_gains(table).items():
        if not checkpoint:
            for target, gain in by_target.items():
                found[target][name] = gain
    return dict(found)


def signals(table: RecordTable) -> dict[str, dict[str, float]]:
    """The signal by target and intermediate: mean of the standardised values of `SIGNALS` that all candidates have."""
    values: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in table.rows:
        if row.study == SELECTOR and row.metric in SIGNALS and row.intermediate != NONE:
            values[row.target_task][row.metric][row.intermediate].append(row.value)
    return {
        target: signal({metric: {n: float(np.mean(v)) for n, v in by.items()} for metric, by in metrics.items()})
        for target, metrics in values.items()
    }


def signal(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The signal of the candidates of one target from their values by selector; 0 is the mean candidate."""
    names = sorted(set().union(*values.values())) if values else []
    columns = [np.array([by[name] for name in names]) for by in values.values() if len(by) == len(names)]
    columns = [(c - c.mean()) / c.std() for c in columns if len(c) > 1 and c.std() > 1e-12]
    means = np.mean(columns, axis=0) if columns else np.zeros(len(names))
    return dict(zip(names, map(float, means), strict=True))


def fit(gains: Gains, known: Mapping[str, Mapping[str, float]]) -> Model:
    """Fit the parts of a prediction.

    The slope is a ridge regression whose penalty weighs as much as one target; effects of intermediates are shrunk by
    the share of their variance that is not noise (method of moments).

    Args:
        gains: by target and intermediate.
        known: the signal by target and intermediate; what is unknown counts as 0.
    """
    level = {target: float(np.mean(list(by.values()))) for target, by in gains.items()}
    cells = [(name, known.get(target, {}).get(name, 0.0), gain - level[target])
             for target, by in gains.items() for name, gain in by.items()]  # fmt: skip
    x, y = np.array([z for _, z, _ in cells]), np.array([off for *_, off in cells])
    penalty = len(cells) / len(gains)
    slope = float(x @ y / (x @ x + penalty))
    rest: dict[str, list[float]] = defaultdict(list)
    for (name, _, _), left in zip(cells, y - slope * x, strict=True):
        rest[name].append(float(left))
    return Model(float(np.mean(list(level.values()))), _shrunk(rest), slope)


def _shrunk(rest: Mapping[str, list[float]]) -> dict[str, float]:
    means = {name: float(np.mean(values)) for name, values in rest.items()}
    df = sum(len(values) - 1 for values in rest.values())
    noise = sum(float(np.var(v)) * len(v) for v in rest.values()) / df if df else math.inf
    spread = float(np.var(list(means.values()), ddof=1)) if len(means) > 1 else 0.0
    per_target = noise / float(np.mean([len(values) for values in rest.values()]))
    keep = max(0.0, 1 - per_target / spread) if spread > 0 else 0.0
    return {name: keep * mean for name, mean in means.items()}


def left_out(gains: Gains, known: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, dict[str, float]]]:
    """Each target with the gains that the other targets predict for it."""
    for target, mine in gains.items():
        others = {name: by for name, by in gains.items() if name != target}
        model = fit(others, known)
        yield target, {name: model(name, known.get(target, {}).get(name, 0.0)) for name in mine}


def predict(
    table: RecordTable, target: str, values: Mapping[str, Mapping[str, float]], language: str | None = None
) -> list[Prediction]:
    """Predicted gains of candidates on a target, largest first; the target's own rows are not looked at.

    Args:
        table: gains on other targets, and rows of study ``selector`` for them where they were saved.
        target: the target to choose for.
        values: by selector, what it says about each candidate on this target.
        language: predict for this language; None for the mean over languages.

    Raises:
        AdaptxferError: if fewer than two other targets have gains.
    """
    gains = {name: by for name, by in gains_by_target(table, language).items() if name != target}
    if len(gains) < 2:
        where = f" in {language}" if language else ""
        told = f"{len(gains)} other target tasks have gains{where}, two are needed to predict one."
        raise data_error(told, "Score more targets with and without intermediate task.")
    known = signals(table)
    model, mine = fit(gains, known), signal({name: by for name, by in values.items() if name in SIGNALS})
    names = sorted({name for by in values.values() for name in by} - {NONE})
    spread = _spread(gains, known)
    found = [_prediction(name, model(name, mine.get(name, 0.0)), spread, len(gains)) for name in names]
    return sorted(found, key=lambda prediction: (-prediction.gain, prediction.intermediate))


def _spread(gains: Gains, known: Mapping[str, Mapping[str, float]]) -> float:
    """Root of the mean squared error of predictions for targets left out, targets weighing alike."""
    errors = [np.mean([(said[name] - gains[target][name]) ** 2 for name in said])
              for target, said in left_out(gains, known)]  # fmt: skip
    return math.sqrt(float(np.mean(errors)))


def _prediction(name: str, gain: float, spread: float, targets: int) -> Prediction:
    """Errors are taken as t distributed with one degree of freedom fewer than targets: they are alike within one."""
    if targets < 3 or spread <= 0:
        return Prediction(name, gain, math.nan, math.nan, math.nan, targets)
    reach = float(stdtrit(targets - 1, 0.975)) * spread
    return Prediction(name, gain, gain - reach, gain + reach, float(stdtr(targets - 1, -gain / spread)), targets)
