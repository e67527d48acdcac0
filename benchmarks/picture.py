"""The README's picture: what the quickstart's module gains in each language.

python -m benchmarks.picture runs/quickstart docs/quickstart.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from adaptxfer.files import atomic_file
from adaptxfer.runs.records import Comparison, compare, read_record
from adaptxfer.runs.store import RunStore
from adaptxfer.studies.plots import COLOURS, UNDATED, drawing_style


def compared(runs: Path) -> Comparison:
    """The quickstart's target task with and without the module, over all seeds."""
    records = [read_record(run) for run in RunStore(runs).find_finished("evaluate")]
    without = [record for record in records if not record.intermediates]
    return compare(without, [record for record in records if record.intermediates])


def draw(comparison: Comparison, path: Path) -> None:
    """Two dots for each language, joined by what was gained; whiskers are standard deviations over seeds."""
    gains = sorted(comparison.gains, key=lambda gain: gain.gain.mean)
    gains = [g for g in gains if not g.row.startswith("mean")] + [g for g in gains if g.row == "mean zero-shot"]
    with drawing_style():
        figure = Figure(figsize=(7.2, 4.2), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        for place, gain in enumerate(gains):
            sides = (
                (gain.baseline, COLOURS[7], "no intermediate task"),
                (gain.with_modules, COLOURS[0], "with the module"),
            )
            axes.plot([side.mean for side, _, _ in sides], [place] * 2, color="#bbbbbb", linewidth=2, zorder=1)
            for points, colour, label in sides:
                axes.errorbar(points.mean, place, xerr=points.sd, fmt="o", color=colour, capsize=2, markersize=6,
                              elinewidth=1, label=None if place else label)  # fmt: skip
            axes.annotate(f"{gain.gain.mean:+.1f}", (1.0, place), xycoords=("axes fraction", "data"), xytext=(4, 0),
                          textcoords="offset points", va="center", fontsize=9)  # fmt: skip
        axes.set_yticks(range(len(gains)), [gain.row for gain in gains])
        axes.set_xlabel(
            f"{comparison.metric}, mean ± standard deviation over {len(comparison.seeds)} seeds; right: gain"
        )
        axes.legend(loc="lower right", frameon=False)
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format="svg", metadata=UNDATED[".svg"])


if __name__ == "__main__":
    draw(compared(Path(sys.argv[1])), Path(sys.argv[2]))
