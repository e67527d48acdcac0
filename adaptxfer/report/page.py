"""A report as one page of HTML that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from adaptxfer import __version__
from adaptxfer.console import Table
from adaptxfer.report.drawing import draw
from adaptxfer.report.gather import Report
from adaptxfer.report.maps import Map, Spot
from adaptxfer.studies.gain import Gain
from adaptxfer.studies.views import interval_text, p_text

FOLDER = Path(__file__).parent


def render_page(report: Report) -> str:
    """The page; every name and text in it is escaped, and it asks the network for nothing."""
    from jinja2 import Environment
    from markupsafe import Markup

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((FOLDER / "page.html").read_text(encoding="utf-8"))
    parts = {name: Markup((FOLDER / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    return template.render(
        report=report, drawings=[draw(panel) for panel in report.curves], rows=_rows, strength=_strength, claim=_claim,
        zip=zip, version=__version__, **parts,
    )  # fmt: skip


def _rows(table: Table) -> Iterator[tuple[list[str], list[str]]]:
    aligns = table.aligns()
    return ((row, aligns) for row in table.texts())


def _strength(spot: Spot, map: Map) -> str:
    """How full the colour is, 0 to 1."""
    return f"{min(1.0, abs(spot.value) / map.scale):.2f}"


def _claim(gain: Gain) -> str:
    found = gain.estimate
    interval = "" if math.isnan(found.low) else f", 95 % {interval_text(found.low, found.high)}"
    seeds = f"{found.n_units} seed{'s' if found.n_units != 1 else ''}"
    return f"{found.value:+.1f} points over target tasks{interval}, corrected p {p_text(gain.p_adjusted)}, {seeds}"
