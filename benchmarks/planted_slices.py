"""Slices of questions against planted truths: one slice, all axes at once, the baseline's line, two data sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from adaptxfer.studies import answers, worlds
from adaptxfer.studies.domain import domain_study as study_domain
from adaptxfer.studies.items import Items
from adaptxfer.studies.outcomes import paired
from adaptxfer.studies.robust import against_line, all_axes
from adaptxfer.studies.slices import sliced
from adaptxfer.studies.table import WHOLE, RecordTable
from benchmarks.planted_lines import COVER, NULL, Line, counted


def slices(n: int) -> list[Line]:
    """Slices that share their articles; equivalence at the margin; two data sets of one training."""
    shared, alone = "articles in both slices, drawn jointly", "questions one by one"
    world = worlds.changed(
        "cluster", shift=0.0, intermediates=1, languages=1, clusters=25, cluster_sd=15.0, item_sd=15.0
    )

    def straddle(number: int) -> dict:
        made = worlds.simulate("cluster", number, world)
        whole = made.table.where(lambda row: row.slice == "all")
        labels = {f"t01-q{j}": ("a" if (j // 10 + j % 10) % 3 == 0 else "b") for j in range(500)}
        found = {}
        for name, single in ((shared, False), (alone, True)):

            def load(row, single: bool = single):
                items = made.items_of(row)
                return Items(items.ids, items.ids, items.above, items.below) if single else items  # type: ignore[union-attr]

            rows, of, _ = sliced(whole, "t01", labels, load)
            e = answers.slice_shift(rows, "i01", "t01", ("a", "not a"), of, 300)
            found[name] = e.low <= 0 <= e.high
        return found

    edge = worlds.changed("cluster", shift=3.0, intermediates=1, languages=1, cluster_sd=4.0, item_sd=15.0)

    def margin(number: int) -> dict:
        made = worlds.simulate("cluster", number, edge)
        pair = (worlds.SHIFTED, worlds.REFERENCE)
        (claim,) = study_domain(made.table, "t01", pair, made.items_of, 3.0, 300).claims
        return {"two one-sided tests over articles": claim.verdict == "supported"}

    sets = worlds.changed("null", targets=2, languages=2, intermediates=10)

    def chain(number: int) -> dict:
        table = worlds.simulate("null", number, sets).table
        claims = study_domain(table, "t01", None, lambda row: None, 1.0, 100, chain=["t02", "t01"]).claims
        return {"difference of gains, pooled seeds": [c.estimate.low <= 0 <= c.estimate.high for c in claims]}

    return [
        *counted("a third of the questions against the rest, 50 articles", "coverage",
                 {shared: (COVER,), alone: (None,)}, straddle, n),
        *counted("shift at the margin", "called the same", {"two one-sided tests over articles": (NULL,)}, margin, n),
        *counted("one data set against another, 3 seeds", "coverage", {"difference of gains, pooled seeds": (COVER,)},
                 chain, n),
    ]  # fmt: skip


def axes(n: int) -> list[Line]:
    """A second axis that only goes along with the first, and topics of whole articles."""
    jack, apart = "all axes, articles left out in turn", "slice by slice"
    rows = "all axes, questions one by one"
    world = worlds.changed(
        "cluster", shift=0.0, intermediates=1, languages=2, clusters=25, cluster_sd=15.0, item_sd=15.0
    )

    def draw(number: int) -> dict:
        made, generator = worlds.simulate("cluster", number, world), np.random.default_rng([number, 1])
        whole = made.table.where(lambda row: row.slice == "all")
        one = {f"t01-q{j}": "a" if generator.random() < 0.5 else "b" for j in range(500)}
        two = {key: "x" if generator.random() < (0.8 if part == "a" else 0.3) else "y" for key, part in one.items()}
        chosen = set(generator.permutation(50)[:20])
        topic = {f"t01-q{j}": "rare" if j // 10 in chosen else "usual" for j in range(500)}

        def load(row, single: bool = False):
            items = made.items_of(row)
            more = 0.06 * np.array([one[name] == "a" for name in items.ids]) * (row.intermediate != "none")  # type: ignore[union-attr]
            clusters = items.ids if single else items.clusters  # type: ignore[union-attr]
            return Items(items.ids, clusters, items.above + more, items.below)  # type: ignore[union-attr]

        table = replace(whole, rows=tuple(replace(row, value=load(row).score()) for row in whole.rows))
        labels = {"one": one, "two": two, "topic": topic}
        cut, of, _ = sliced(table, "t01", two, load)
        alone = answers.slice_shift(cut, "i01", "t01", ("x", "not x"), of, 300)
        found = {c.axis: c.estimate for c in all_axes(table, "t01", labels, load)}
        single = {c.axis: c.estimate for c in all_axes(table, "t01", labels, lambda row: load(row, True))}
        return {
            jack: [found[axis].low <= 0 <= found[axis].high for axis in ("two", "topic")],
            apart: alone.low <= 0 <= alone.high,
            rows: single["topic"].low <= 0 <= single["topic"].high,
        }

    bands = {jack: (COVER,), apart: (None,), rows: (None,)}
    return counted("an axis that goes along with another; topics of whole articles", "coverage", bands, draw, n)


def two_sets(number: int, shift: float, **planted: object) -> tuple[RecordTable, answers.ItemsOf]:
    """Two data sets whose gains lie ``shift`` apart; articles are numbered alike in both, and are not the same ones."""
    told = {"intermediates": 2, "languages": 4, "clusters": 20, "per_cluster": 5, "level_sd": 12.0, **planted}
    made = worlds.simulate("cluster", number, worlds.changed("cluster", targets=2, shift=shift, **told))
    parts = {"t01": worlds.REFERENCE, "t02": worlds.SHIFTED}
    rows = [replace(row, slice=WHOLE) for row in made.table.rows if parts[row.target_task] == row.slice]

    def load(row):
        items = made.items_of(row)
        first = min(int(name.split("-a")[1]) for name in items.clusters)
        return replace(items, clusters=[f"a{int(name.split('-a')[1]) - first}" for name in items.clusters])

    return RecordTable(tuple(rows)), load


def against(n: int) -> list[Line]:
    """Effective robustness: a shift above the baseline's line, over six languages of one data set and four of two."""
    world = worlds.changed("cluster", shift=3.0, intermediates=2, languages=6, clusters=40, level_sd=12.0)
    apart = "baseline's line, articles of each data set drawn apart"
    name, pair = "baseline's line, drawn anew with the articles", (worlds.SHIFTED, worlds.REFERENCE)
    who = ["i01", "i02"]

    def covered(both: answers.SliceTally, shift: float) -> list[bool]:
        found = against_line(both, 300)
        assert found is not None, "three languages at least"
        return [e.low <= shift <= e.high for e in found.residuals.values()]

    def draw(number: int) -> dict:
        made = worlds.simulate("cluster", number, world)
        return {name: covered(answers.slice_tally(made.table, "t01", pair, who, made.items_of), 3.0)}

    def chain(number: int) -> dict:
        table, load = two_sets(number, 6.0)
        before, after = paired(table)
        return {apart: covered(answers.side_tally((after, before), who, load), 6.0)}

    return [
        *counted("shifted score against what the reference lets expect, 6 languages", "coverage", {name: (COVER,)},
                 draw, n),
        *counted("one data set against what the other lets expect, 4 languages", "coverage", {apart: (COVER,)},
                 chain, n),
    ]  # fmt: skip
