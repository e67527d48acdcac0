"""Training curves as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from adaptxfer.report.curves import Curve, Panel, Points

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320, 170, 34, 34, 10, 22
COLOURS = 6
"""Colours of the page's style, lighter on a dark page; after these they come again."""
PATTERNS = ("", "5 2", "1.5 2", "6 2 1.5 2")
"""Dashes, so that no line is told by its colour alone."""


def draw(panel: Panel) -> Markup:
    """A panel as a figure with a caption and a text alternative."""
    losses = _finite(y for curve in panel.curves for _, y in curve.loss)
    scores = _finite(y for curve in panel.curves for _, y in curve.dev)
    loss_range, score_range = _range(losses), _range(scores)
    lines, listed = [], []
    for number, curve in enumerate(panel.curves):
        look = f'style="--c:var(--c{number % COLOURS})" stroke-dasharray="{PATTERNS[number % len(PATTERNS)]}"'
        title = escape(_in_words(curve))
        lines.append(f'<path {look} d="{_path(curve.loss, loss_range)}"><title>{title}</title></path>')
        listed.append(f'<li><svg viewBox="0 0 32 10" aria-hidden="true"><path {look} d="M0,5L32,5"/></svg>{title}</li>')
        for x, y in curve.dev:
            if math.isfinite(y):
                place = f'cx="{_x(x):.1f}" cy="{_y(y, score_range):.1f}"'
                told = escape(f"{curve.run}: dev {y:.1f} at step {round(x * curve.steps):,}")
                lines.append(f'<circle {look} {place} r="2.6"><title>{told}</title></circle>')
    told = f"{panel.title}, {len(panel.curves)} run{'s' if len(panel.curves) > 1 else ''}"
    spread = f"loss from {max(losses):.2f} to {min(losses):.2f}" if losses else "no loss"
    best = f", best dev score {max(scores):.1f}" if scores else ""
    # every part is either a number formatted here or escaped
    return Markup(
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(told)}: {spread}{best}">'
        f"{_axes(loss_range, score_range)}{''.join(lines)}</svg><figcaption>{escape(told)}{best}</figcaption>"
        f"<details><summary>Each run</summary><ul>{''.join(listed)}</ul></details></figure>"
    )


def _in_words(curve: Curve) -> str:
    losses, scores = _finite(y for _, y in curve.loss), _finite(y for _, y in curve.dev)
    loss = f", loss {losses[0]:.2f} to {losses[-1]:.2f}" if losses else ""
    best = f", best dev score {max(scores):.1f}" if scores else ""
    return f"{curve.run}: {curve.steps:,} steps{loss}{best}"


def _finite(values: object) -> list[float]:
    return [value for value in values if math.isfinite(value)]  # type: ignore[attr-defined]


def _range(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-9 else (low - 0.5, high + 0.5)


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(value: float, span: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (value - span[0]) / (span[1] - span[0]) * (HEIGHT - TOP - BOTTOM)


def _path(points: Points, span: tuple[float, float]) -> str:
    parts = [f"{_x(x):.1f},{_y(y, span):.1f}" for x, y in points if math.isfinite(y)]
    return "M" + "L".join(parts) if parts else ""


def _axes(loss: tuple[float, float], score: tuple[float, float]) -> str:
    labels = [
        (2, HEIGHT - BOTTOM, f"{loss[0]:.3g}", "start"), (2, TOP + 8, f"{loss[1]:.3g}", "start"),
        (WIDTH - 2, HEIGHT - BOTTOM, f"{score[0]:.0f}", "end"), (WIDTH - 2, TOP + 8, f"{score[1]:.0f}", "end"),
        (LEFT, HEIGHT - 6, "start", "start"), (WIDTH - RIGHT, HEIGHT - 6, "all steps", "end"),
    ]  # fmt: skip
    return "".join(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>' for x, y, text, anchor in labels)
