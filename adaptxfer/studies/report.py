"""How a study ends: claims with estimate, interval, units and verdict, written down with tables and plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptxfer import __version__
from adaptxfer.console import Cell, Table, jsonable
from adaptxfer.files import content_hash, write_json, write_text
from adaptxfer.studies.plots import MISSING, Plot, can_draw, file_name, save_plots
from adaptxfer.studies.stats.estimate import DESCRIPTIVE, Estimate
from adaptxfer.studies.table import RecordTable, write_csv
from adaptxfer.studies.views import estimate_numbers, p_text

READING = (
    "supported, contradicted: the test rejects at 5 % after correction; underpowered: too few units or too wide an "
    "interval to tell; inconclusive: neither, though the study was large enough; descriptive: below the fewest units "
    "for any test. n counts the units named beside it, never single scores."
)


@dataclass(frozen=True)
class Claim:
    """A sentence, the number behind it, and whether the records bear it out.

    Args:
        text: what is claimed.
        estimate: with p for the claim's own test.
        unit: what ``n_units`` counts.
        verdict: supported, contradicted, inconclusive, underpowered or descriptive.
        why: what stands behind a weak verdict, such as "7 intermediates are needed".
    """

    text: str
    estimate: Estimate
    unit: str
    verdict: str
    why: str = ""

    @property
    def p(self) -> float:
        """The p-value, where the units allow a test."""
        return math.nan if self.verdict == DESCRIPTIVE else self.estimate.p


@dataclass(frozen=True)
class Report:
    """The end of a study.

    Args:
        study: its name.
        question: what it asks, one sentence.
        table: the records it was made from.
        claims: what it says.
        views: further tables.
        plots: by file name without ending.
        notes: what a reader must know, beside the notes of the table.
        options: seed, draws, margins: all that one needs to repeat it.
    """

    study: str
    question: str
    table: RecordTable
    claims: tuple[Claim, ...]
    views: tuple[Table, ...] = ()
    plots: Mapping[str, Plot] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def view(self) -> Table:
        """The claims as a table."""
        rows: list[list[Cell]] = [
            [c.text, f"{c.estimate.value:+.2f}" if math.isfinite(c.estimate.value) else "–", _ends(c.estimate),
             p_text(c.p), c.estimate.n_units, c.unit, f"{c.verdict} ({c.why})" if c.why else c.verdict]
            for c in self.claims
        ]  # fmt: skip
        numbers = [(name, "right") for name in ("estimate", "95 %", "p", "n")]
        return Table(f"Study: {self.study}", ["claim", *numbers, "units", "verdict"], rows)

    def said(self) -> tuple[str, ...]:
        """All notes, each once."""
        return tuple(dict.fromkeys((*self.table.notes, *self.notes)))

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        claims = [
            {
                "text": c.text,
                **estimate_numbers(c.estimate),
                "p": c.p,
                "unit": c.unit,
                "verdict": c.verdict,
                "why": c.why,
            }
            for c in self.claims
        ]
        return {
            "schema": 1,
            "study": self.study,
            "question": self.question,
            "version": __version__,
            "origin": list(self.table.statuses()),
            "banner": self.table.banner(),
            "options": dict(self.options),
            "records": {"rows": len(self.table.rows), "hash": records_hash(self.table), "runs": runs_of(self.table)},
            "claims": claims,
            "tables": [view.to_json() for view in self.views],
            "plots": [file_name(name) for name in self.plots],
            "notes": list(self.said()),
        }

    def to_markdown(self, plots: Sequence[str] = ()) -> str:
        """The report as Markdown; ``plots`` are names of image files beside it."""
        banner = [f"**{self.table.banner()}**\n"] if self.table.banner() else []
        head = [f"# Study: {self.study}\n", *banner, f"{self.question}\n"]
        views = [self.view().to_markdown(), f"{READING}\n", *(view.to_markdown() for view in self.views)]
        images = [f"![{name}]({name})\n" for name in plots]
        notes = ["**Notes**\n", "\n".join(f"- {note}" for note in self.said()) + "\n"] if self.said() else []
        options = ", ".join(f"{name} {_said(value)}" for name, value in self.options.items() if value not in (None, []))
        made = f"{len(self.table.rows):,} records ({records_hash(self.table)}), adaptxfer {__version__}"
        return "\n".join([*head, *views, *images, *notes, f"Made from {made}{'; ' + options if options else ''}.\n"])


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def records_hash(table: RecordTable) -> str:
    """A hash of what the rows say, the same wherever their files lie."""
    return content_hash([[str(part) for part in (*row.cell(), row.value, row.status)] for row in table.rows], 16)


def runs_of(table: RecordTable) -> list[str]:
    """The run folders that the rows are from."""
    return [name for name in table.values("run") if name]


def _ends(estimate: Estimate) -> str:
    known = not math.isnan(estimate.low) and not math.isnan(estimate.high)
    return f"[{estimate.low:+.2f}, {estimate.high:+.2f}]" if known else "–"


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write ``report.md``, ``report.json``, ``table.csv`` and the plots, and return their paths.

    Without matplotlib the plots are left out, and the report says so.
    """
    drawn = save_plots(report.plots, folder, report.table.statuses() == ("simulated",))
    document, markdown = report.document(), report.to_markdown([path.name for path in drawn])
    if report.plots and not can_draw():
        document |= {"plots": [], "notes": [*document["notes"], MISSING]}
        markdown += f"\n{MISSING}\n"
    paths = [folder / name for name in ("report.md", "report.json", "table.csv")]
    write_text(paths[0], markdown)
    write_json(paths[1], jsonable(document))
    write_csv(paths[2], report.table)
    return [*paths, *drawn]
