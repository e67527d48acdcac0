"""How modules are merged: the words of a recipe and what goes together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adaptxfer.errors import nearest, use_error

WAYS = ("average", "arithmetic", "ties", "dare", "soup")
DENSITY, DROP = 0.2, 0.5
"""Share of the weights that TIES keeps (its paper's default), and share that DARE drops."""


@dataclass(frozen=True)
class Recipe:
    """What is done with the modules, taken as differences from the module that changes nothing.

    average     weighted mean (AdapterSoup, Chronopoulou et al. 2023)
    arithmetic  weighted sum; a negative weight takes a task away (task arithmetic, Ilharco et al. 2023)
    ties        keep the largest, elect a sign, mean of those that agree with it (Yadav et al. 2023)
    dare        drop at random, scale up what is left, weighted mean (Yu et al. 2024)
    soup        mean of those that do not harm the English dev score, best first (Wortsman et al. 2022)

    Attributes:
        by: one of ``WAYS``.
        weights: one per module; empty for equal ones.
        density: ties; share of each weight matrix that is kept.
        drop: dare; share of each weight matrix that is dropped.
        seed: dare; of the dropping.
    """

    by: str = "average"
    weights: tuple[float, ...] = ()
    density: float | None = None
    drop: float | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise use_error(f"--by {self.by!r} is unknown.", nearest(self.by, WAYS))
        for name, value, home in (("density", self.density, "ties"), ("drop", self.drop, "dare")):
            if value is not None and self.by != home:
                raise use_error(f"--{name} belongs to --by {home}, not {self.by}.", "Leave it out.")
        if self.density is not None and not 0 < self.density <= 1:
            raise use_error(f"--density is a share above 0 up to 1, got {self.density:g}.")
        if self.drop is not None and not 0 <= self.drop < 1:
            raise use_error(f"--drop is a share from 0 to below 1, got {self.drop:g}.")
        self._check_weights()

    def _check_weights(self) -> None:
        if not self.weights:
            return
        if self.by == "soup":
            raise use_error("--by soup chooses the weights itself.", "Leave out --weights, or use --by average.")
        if not all(map(math.isfinite, self.weights)) or not any(self.weights):
            raise use_error("--weights must be finite numbers, not all zero.", "Write --weights 1,-0.5.")
        if self.by != "arithmetic" and min(self.weights) < 0:
            raise use_error(f"--by {self.by} takes no negative weights.", "Use --by arithmetic to take a task away.")

    @property
    def is_linear(self) -> bool:
        """Whether the merged module is a weighted sum of the modules."""
        return self.by in ("average", "arithmetic", "soup")

    def check_count(self, count: int) -> None:
        """Refuse a number of modules that the recipe does not fit.

        Raises:
            AdaptxferError: if there are other than ``count`` weights, or too few modules to merge.
        """
        least = 1 if self.by == "arithmetic" else 2
        if count < least:
            raise use_error(
                f"--by {self.by} needs {least} or more bundles, got {count}.",
                "Only --by arithmetic makes sense of a single one (--weights -1 negates it).",
            )
        if self.weights and len(self.weights) != count:
            raise use_error(f"--weights has {len(self.weights)} numbers for {count} bundles.", "Give one per bundle.")

    def shares(self, count: int) -> tuple[float, ...]:
        """The weight of each of ``count`` modules; they sum to 1 for all ways but arithmetic."""
        given = self.weights or (1.0,) * count
        total = 1.0 if self.by == "arithmetic" else sum(given)
        return tuple(weight / total for weight in given)

    def to_dict(self, count: int) -> dict[str, Any]:
        """What decides the result, as stored in a manifest."""
        found: dict[str, Any] = {"by": self.by}
        if self.by != "soup":
            found["weights"] = list(self.shares(count))
        if self.by == "ties":
            found["density"] = DENSITY if self.density is None else self.density
        if self.by == "dare":
            found |= {"drop": DROP if self.drop is None else self.drop, "seed": self.seed}
        return found


def parse_weights(parts: Sequence[str]) -> tuple[float, ...]:
    """Numbers of ``--weights 1,-0.5``.

    Raises:
        AdaptxferError: if one is no number.
    """
    try:
        return tuple(map(float, parts))
    except ValueError as error:
        raise use_error(
            f"--weights {','.join(parts)!r} is not a list of numbers.", "Write --weights 1,-0.5."
        ) from error
