"""Plots of gains and claims: what is drawn as plain data, and the drawing, for which matplotlib is imported late."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from adaptxfer.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Okabe and Ito's palette, told apart by readers with any form of colour blindness."""

MARKERS = "osD^vP*X"
VERDICT_COLOURS = {"supported": COLOURS[0], "contradicted": COLOURS[1]}
UNDATED = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""Equal plots are equal files."""

MISSING = "matplotlib is not installed, so the plots are left out (pip install adaptxfer[plots])."


@dataclass(frozen=True)
class HeatMap:
    """Values of rows and columns in points, zero in the middle of the colours; NaN is left white.

    Args:
        title: above the map.
        rows: names from top to bottom (R,).
        columns: names from left to right (C,).
        values: (R, C).
        marks: a sign after each number (R, C), such as + for supported.
        unit: label of the colour bar.
        caption: below the map.
        digits: decimals of the numbers.
        reach: the value of the darkest colours; None for the largest there is.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: np.ndarray
    marks: Sequence[Sequence[str]] | None = None
    unit: str = "gain in points"
    caption: str = ""
    digits: int = 1
    reach: float | None = None


@dataclass(frozen=True)
class Line:
    """One estimate of a forest plot; ``wide`` is a second, thinner interval."""

    label: str
    value: float
    low: float = math.nan
    high: float = math.nan
    verdict: str = ""
    wide: tuple[float, float] | None = None


@dataclass(frozen=True)
class Forest:
    """Estimates with their intervals below one another; ``margin`` shades what does not matter."""

    title: str
    lines: Sequence[Line]
    unit: str = "gain in points"
    margin: float | None = None
    caption: str = ""


@dataclass(frozen=True)
class Points:
    """Points by group, joined within a group or with a straight line fitted; ``labels`` stand beside single points.

    ``fitted`` may name the groups that get a line; ``level`` draws one at zero.
    """

    title: str
    x: str
    y: str
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    joined: bool = False
    fitted: bool | tuple[str, ...] = False
    level: bool = True
    labels: Mapping[str, Sequence[str]] | None = None
    errors: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None
    diagonal: bool = False
    log_x: bool = False
    caption: str = ""


@dataclass(frozen=True)
class Slopes:
    """Ranks on the left against ranks on the right, one line a name; the first is 1."""

    title: str
    sides: tuple[str, str]
    ranks: Mapping[str, tuple[float, float]]
    caption: str = ""


Plot = HeatMap | Forest | Points | Slopes


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def save_plots(plots: Mapping[str, Plot], folder: Path, simulated: bool, ending: str = "png") -> list[Path]:
    """Draw each plot as ``<name>.<ending>``; nothing where matplotlib is missing.

    Args:
        plots: by file name without ending.
        folder: where to.
        simulated: writes SIMULATED across every plot.
        ending: png, svg or pdf.
    """
    if not can_draw():
        return []
    return [_save(plot, folder / file_name(name, ending), simulated) for name, plot in plots.items()]


def file_name(name: str, ending: str = "png") -> str:
    """The file of a plot; tables from elsewhere may hold any name."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)[:100]}.{ending}"


def _save(plot: Plot, path: Path, simulated: bool) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    draw = {HeatMap: _heat_map, Forest: _forest, Points: _points, Slopes: _slopes}[type(plot)]
    figure = Figure(figsize=_size(plot), layout="constrained")
    FigureCanvasAgg(figure)  # no display and no global state
    with drawing_style():
        axes = figure.add_subplot()
        draw(axes, plot)
        wide = figure.get_size_inches()[0]
        axes.set_title(fill(plot.title, int(10 * wide)), fontsize=11, loc="left")
        if plot.caption:
            figure.supxlabel(fill(plot.caption, int(13 * wide)), fontsize=8, color="#444444")
        if simulated:
            axes.text(0.5, 0.5, "SIMULATED", transform=axes.transAxes, ha="center", va="center", rotation=20,
                      fontsize=34, color="#888888", alpha=0.25, zorder=0)  # fmt: skip
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=130, metadata=UNDATED[path.suffix])
    return path


@contextmanager
def drawing_style() -> Iterator[None]:
    """How figures are drawn: a dollar sign in a name starts no formula, and an SVG always has the same identifiers."""
    import matplotlib

    with matplotlib.rc_context(
        {"text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "adaptxfer"}
    ):
        yield


def _size(plot: Plot) -> tuple[float, float]:
    if isinstance(plot, HeatMap):
        longest = max(map(len, plot.rows), default=1)
        width = max(5.0, 2.6 + 0.08 * longest + 0.62 * len(plot.columns))
        return (min(30, width), min(30, 2.1 + 0.36 * len(plot.rows)))
    if isinstance(plot, Forest):
        return (8.5, min(40, 1.7 + 0.3 * len(plot.lines)))
    return (7, 5) if isinstance(plot, Points) else (6, min(20, 1.6 + 0.34 * len(plot.ranks)))


def _heat_map(axes: Axes, plot: HeatMap) -> None:
    known = np.abs(plot.values[np.isfinite(plot.values)])
    reach = plot.reach or (float(known.max()) if known.size and known.max() > 0 else 1.0)
    image = axes.imshow(plot.values, cmap="PuOr", vmin=-reach, vmax=reach, aspect="auto")
    axes.set_xticks(range(len(plot.columns)), plot.columns, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(plot.rows)), plot.rows, fontsize=8)
    for r, c in np.argwhere(np.isfinite(plot.values)):
        value, mark = plot.values[r, c], plot.marks[r][c] if plot.marks else ""
        colour = "white" if abs(value) > 0.65 * reach else "black"
        axes.text(c, r, f"{value:+.{plot.digits}f}{mark}", ha="center", va="center", fontsize=7, color=colour)
    axes.figure.colorbar(image, ax=axes, label=plot.unit, fraction=0.04, pad=0.02)


def _forest(axes: Axes, plot: Forest) -> None:
    for y, line in enumerate(plot.lines):
        colour = VERDICT_COLOURS.get(line.verdict, "#444444")
        if line.wide:
            axes.plot(line.wide, (y, y), color=colour, linewidth=0.8)
        if math.isfinite(line.low) and math.isfinite(line.high):
            axes.plot((line.low, line.high), (y, y), color=colour, linewidth=2.4, solid_capstyle="butt")
        filled = colour if line.verdict in VERDICT_COLOURS else "white"
        axes.plot(line.value, y, "o", color=colour, markerfacecolor=filled, markersize=5)
    axes.set_yticks(range(len(plot.lines)), [line.label for line in plot.lines], fontsize=8)
    axes.set_ylim(len(plot.lines) - 0.5, -0.5)
    axes.axvline(0, color="black", linewidth=0.8)
    if plot.margin:
        axes.axvspan(-plot.margin, plot.margin, color="#56B4E9", alpha=0.15, linewidth=0)
    axes.set_xlabel(plot.unit, fontsize=9)


def _points(axes: Axes, plot: Points) -> None:
    for place, (name, (x, y)) in enumerate(plot.groups.items()):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place // len(COLOURS) % len(MARKERS)]
        line = "-" if plot.joined else ""
        axes.plot(x, y, color=colour, marker=marker, linestyle=line, markersize=5, linewidth=1, label=name)
        if plot.errors and name in plot.errors:
            low, high = (np.abs(np.asarray(y) - np.asarray(end)) for end in plot.errors[name])
            axes.errorbar(x, y, np.stack([low, high]), fmt="none", ecolor=colour, elinewidth=1, capsize=2)
        for text, a, b in zip((plot.labels or {}).get(name, ()), x, y, strict=False):
            axes.annotate(text, (a, b), xytext=(4, 3), textcoords="offset points", fontsize=7)
        drawn = plot.fitted if isinstance(plot.fitted, bool) else name in plot.fitted
        if drawn and len(set(x)) > 1:
            slope, level = np.polyfit(x, y, 1)
            ends = np.array([min(x), max(x)])
            axes.plot(ends, slope * ends + level, color=colour, linewidth=1)
    if plot.log_x:
        axes.set_xscale("log")
        ticks = sorted({value for x, _ in plot.groups.values() for value in x})
        axes.set_xticks(ticks, [_short(value) for value in ticks])
        axes.minorticks_off()
    if plot.diagonal:
        ends = (*axes.get_xlim(), *axes.get_ylim())
        axes.plot((min(ends), max(ends)), (min(ends), max(ends)), color="#999999", linewidth=0.8, zorder=0)
    elif plot.level:
        axes.axhline(0, color="#999999", linewidth=0.8, zorder=0)
    axes.set_xlabel(plot.x, fontsize=9)
    axes.set_ylabel(plot.y, fontsize=9)
    if 1 < len(plot.groups) <= 20:
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _short(value: float) -> str:
    """A large count in few letters: 86M, 2.8B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _slopes(axes: Axes, plot: Slopes) -> None:
    for place, (name, (left, right)) in enumerate(plot.ranks.items()):
        colour = COLOURS[place % len(COLOURS)]
        axes.plot((0, 1), (left, right), "-o", color=colour, linewidth=1.2, markersize=4)
        axes.annotate(name, (0, left), xytext=(-8, 0), textcoords="offset points", ha="right", va="center", fontsize=8)
        axes.annotate(name, (1, right), xytext=(8, 0), textcoords="offset points", ha="left", va="center", fontsize=8)
    axes.set_xlim(-0.7, 1.7)
    axes.invert_yaxis()
    axes.set_xticks((0, 1), plot.sides, fontsize=9)
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
