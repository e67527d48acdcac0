"""A linear model with crossed random effects, beside the default procedures; needs statsmodels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from adaptxfer.studies.stats.estimate import Estimate
from adaptxfer.studies.stats.seeds import Spread, t_interval

MISSING = "statsmodels is not installed, so the mixed model is left out (pip install adaptxfer[mixed])."


def can_fit() -> bool:
    """Whether statsmodels is installed."""
    return find_spec("statsmodels") is not None


def mixed_slope(values: np.ndarray, covariate: np.ndarray, factors: Mapping[str, Sequence[str]], unit: str) -> Estimate:
    """Slope of ``covariate`` in ``values ~ covariate + (1|factor) + ...``, fitted by restricted likelihood.

    Fit it on cell means: rows of seeds or languages are no replicates. The interval takes the degrees of freedom of
    ``unit``, its number less two, since the normal one is too narrow for few units.

    Args:
        values: one a cell (N,).
        covariate: of the cell (N,).
        factors: crossed groupings of the cells, each a name for every cell (N,).
        unit: the factor whose levels the covariate describes.

    Returns:
        the slope; not a number if it cannot be estimated.
    """
    import pandas
    from statsmodels.formula.api import mixedlm

    units = len(set(factors[unit]))
    columns: dict[str, Any] = {"value": np.asarray(values, float), "x": np.asarray(covariate, float), "one": 1}
    data = pandas.DataFrame(columns | {name: list(levels) for name, levels in factors.items()})
    parts = {name: f"0 + C({name})" for name in factors}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a variance at zero is reported as trouble; it is an answer
            fitted: Any = mixedlm("value ~ x", data, groups="one", vc_formula=parts, re_formula="0").fit(reml=True)
    except (np.linalg.LinAlgError, ValueError):
        return Estimate(math.nan, math.nan, math.nan, math.nan, units)
    error = float(fitted.bse["x"])
    spread = Spread(error**2 if math.isfinite(error) else math.nan, units - 2)
    return t_interval(float(fitted.params["x"]), [spread], units)
