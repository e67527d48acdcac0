"""Procedures against planted truths: python -m benchmarks.planted [--repetitions N] [--markdown FILE]

Each line is one procedure in one simulated world; the naive ones show what the others are for.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from adaptxfer.console import Table, console
from adaptxfer.studies import answers, diversity, generalise, selectors, worlds
from adaptxfer.studies.gain import gain_matrix
from adaptxfer.studies.stats import bootstrap, correlation, order, seeds
from adaptxfer.studies.stats.mixed import mixed_slope
from benchmarks.planted_lines import COVER, COVER_WIDE, NULL, REPORTED, Line, counted
from benchmarks.planted_slices import against, axes, slices

rng = np.random.default_rng


def metric_null(n: int) -> list[Line]:
    world = worlds.changed("positive", rho=0.0)

    def draw(number: int) -> dict:
        table = worlds.simulate("positive", number, world).table
        own, base = answers.own_scores(table), {}
        rows = [row for row in table.rows if row.study != "intermediate"]
        points: dict[tuple, list[float]] = {}
        for row in rows:
            if row.intermediate == "none":
                base[row.target_task, row.language, row.target_seed] = row.value
        for row in rows:
            if row.intermediate != "none":
                gain = row.value - base[row.target_task, row.language, row.target_seed]
                points.setdefault((row.intermediate, row.target_task, row.target_seed), []).append(gain)
        x = [own[key[0], ""] for key in points]
        return {
            "Spearman over all 297 points": stats.spearmanr(x, [np.mean(v) for v in points.values()]).pvalue <= 0.05,
            "mean within target, whole intermediates permuted": answers.metric_across(table, 1000).p <= 0.05,
        }

    names = {"Spearman over all 297 points": (None,), "mean within target, whole intermediates permuted": (NULL,)}
    return counted("score of 11 intermediates and gain, rho 0", "false positives", names, draw, n)


def metric_power(n: int) -> list[Line]:
    lines = []
    for rho in (0.5, 0.7, 0.9):
        name = "mean within target, permuted"
        world = worlds.changed("positive", rho=rho)

        def draw(number: int, world: worlds.World = world, name: str = name) -> dict:
            return {name: answers.metric_across(worlds.simulate("positive", number, world).table, 1000).p <= 0.05}

        lines += counted(f"the same, rho {rho}", "power", {name: (REPORTED,)}, draw, n)
    return lines


def seed_intervals(n: int) -> list[Line]:
    """One target with items; 10 intermediates, 3 seeds."""
    world = worlds.changed("cluster", intermediates=10, clusters=30, languages=1, shift=0.0, seed_sd=1.2)
    names = {"bootstrap over seeds": (None,), "t over seeds": (None,), "pooled seeds + item clusters": (COVER,)}
    widths: dict[str, list[float]] = {name: [] for name in names}

    def draw(number: int) -> dict:
        made = worlds.simulate("cluster", number, world)
        table = made.table.where(lambda row: row.slice == "all")
        cell = gain_matrix(table, 500, items_of=made.items_of).cells[0].estimate
        by_seed = {(r.intermediate, r.target_seed): r.value for r in table.rows}
        d = np.array([by_seed["i01", s] - by_seed["none", s] for s in (1, 2, 3)])
        low, high = np.quantile(rng(number).choice(d, (2000, 3)).mean(1), [0.025, 0.975])
        t = seeds.t_interval(d.mean(), [seeds.Spread(d.var(ddof=1) / 3, 2)], 3)
        ends = dict(zip(names, [(low, high), (t.low, t.high), (cell.low, cell.high)], strict=True))
        for name, (a, b) in ends.items():
            widths[name].append(b - a)
        return {name: a <= 0 <= b for name, (a, b) in ends.items()}

    lines = counted("gain of one cell, 3 seeds, new items", "coverage", names, draw, n)
    for line in lines:
        line.procedure += f" (width {np.mean(widths[line.procedure]):.1f})"
    return lines


def gain_null(n: int) -> list[Line]:
    names = {"any of 11 means over targets, Holm": (NULL,), "interval of one cell": (COVER,)}

    def draw(number: int) -> dict:
        matrix = gain_matrix(worlds.simulate("null", number).table, 100)
        inside = [c.estimate.low <= 0 <= c.estimate.high for c in matrix.cells]
        return {next(iter(names)): any(g.p_adjusted <= 0.05 for g in matrix.overall), list(names)[1]: inside}

    first, second = counted("no gain anywhere, 11 x 9 x 3", "false positives", names, draw, n)
    second.measure = "coverage"
    return [first, second]


def domain(n: int) -> list[Line]:
    world = worlds.changed("cluster", shift=0.0, intermediates=1, languages=1)
    names = {"rows of items and seeds": (None,), "clusters, within slices": (COVER,)}

    def draw(number: int) -> dict:
        made = worlds.simulate("cluster", number, world)
        honest = answers.slice_shift(made.table, "i01", "t01", (worlds.SHIFTED, worlds.REFERENCE), made.items_of, 500)
        return {next(iter(names)): _rows_cover(made, number), list(names)[1]: honest.low <= 0 <= honest.high}

    return counted("gain on one slice minus another, 2 x 100 articles", "coverage", names, draw, n)


def _rows_cover(made: worlds.Simulation, number: int) -> bool:
    """Every item of every seed as if it were independent."""
    found = {}
    for part in (worlds.SHIFTED, worlds.REFERENCE):
        rows = {(r.intermediate, r.target_seed): made.items_of(r) for r in made.table.rows if r.slice == part}
        found[part] = np.concatenate([100 * (rows["i01", s].above - rows["none", s].above) for s in (1, 2, 3)])  # type: ignore[union-attr]
    difference = found[worlds.SHIFTED].mean() - found[worlds.REFERENCE].mean()
    error = math.sqrt(sum(v.var(ddof=1) / len(v) for v in found.values()))
    return abs(difference) <= 1.96 * error


def scale(n: int) -> list[Line]:
    def cells_p(made: worlds.Simulation) -> float:
        x, y = [], []
        base = {(r.backbone, r.intermediate, r.target_task, r.target_seed): r for r in made.table.rows}
        for (backbone, name, target, seed), row in base.items():
            if name == worlds.HARD:
                x.append(math.log10(row.n_params))  # type: ignore[arg-type]
                y.append(row.value - base[backbone, worlds.EASY, target, seed].value)
        return float(stats.linregress(x, y).pvalue)

    def family(name: str) -> str:
        return name.split("-")[0]

    lines = []
    for slope, measure in ((0.0, "false positives"), (1.0, "power")):
        for ladders, sizes in ((("xlmr",), 4), (("mt5",), 5), (("xlmr", "mt5"), 9)):
            world = worlds.changed("scaling", slope=slope, ladders=ladders)

            def draw(number: int, world: worlds.World = world, slope: float = slope) -> dict:
                made = worlds.simulate("scaling", number, world)
                honest = answers.scale_slope(made.table, worlds.HARD, worlds.EASY, family).p <= 0.05
                return {"means per size": honest} | ({} if slope else {"all cells": cells_p(made) <= 0.05})

            names = {"means per size": (NULL if not slope else REPORTED,), "all cells": (None,)}
            names = names if not slope else {"means per size": (REPORTED,)}
            lines += counted(f"slope {slope:g} over {sizes} sizes", measure, names, draw, n)
    return lines


def simpson(n: int) -> list[Line]:
    lines = []
    for rho, measure in ((0.0, "false positives"), (0.3, "power"), (0.5, "power")):
        world = worlds.changed("simpson", rho=rho)

        def draw(number: int, world: worlds.World = world, rho: float = rho) -> dict:
            table = worlds.simulate("simpson", number, world).table
            found = answers.metric_within(table)
            own, gains = answers.own_scores(table), answers.mean_gains(table)
            pooled = stats.spearmanr([own[k] for k in own], [np.mean(list(gains[k].values())) for k in own])
            return {"pooled Spearman": pooled.pvalue <= 0.05 and pooled.statistic < 0 if rho else pooled.pvalue <= 0.05,
                    "repeated measures": found.p <= 0.05 and (not rho or found.value > 0)}  # fmt: skip

        names = {"pooled Spearman": (None,), "repeated measures": (NULL if not rho else REPORTED,)}
        made = counted(f"checkpoints within intermediates, r {rho:g}", measure, names, draw, n)
        if rho:
            made[0].measure = "wrong sign"
        lines += made
    return lines


def aso(n: int) -> list[Line]:
    lines = []
    for size in (5, 8):

        def draw(number: int, size: int = size) -> dict:
            a, b = rng(number).normal(size=(2, size))
            bound = order.order_bound(a, b, 500, number)
            return {"bound below 0.5": bound < 0.5, "bound below 0.2": bound < 0.2}

        names = {"bound below 0.5": (None,), "bound below 0.2": ((0.0, 0.1),)}
        lines += counted(f"almost stochastic order, {size} equal seeds", "called better", names, draw, n)
    return lines


def others(n: int) -> list[Line]:
    def new_task(number: int) -> dict:
        generator = rng(number)
        truth = generator.normal(1, 1.5, 9)
        found = seeds.prediction_interval(truth[:8] + generator.normal(0, 0.4, 8), np.full(8, 0.16))
        return {"prediction interval": found.low <= truth[8] <= found.high}

    def williams(number: int) -> dict:
        y, e1, e2 = rng(number).normal(size=(3, 30))
        r = np.corrcoef([y, 0.7 * y + e1, 0.7 * y + e2])
        return {"Williams's t": correlation.compare_dependent(r[0, 1], r[0, 2], r[1, 2], 30).p <= 0.05}

    def tost(number: int) -> dict:
        x = rng(number).normal(1.0, 1.5, 12)  # on the edge of the margin
        return {"two one-sided tests": seeds.equivalence(x.mean(), [seeds.Spread(x.var(ddof=1) / 12, 11)], 1.0) <= 0.05}

    def parallel(number: int) -> dict:
        level = rng(number).normal(0, 1, 150)
        items = level + rng(number + 10**6).normal(0, 0.5, (5, 150))
        tally = bootstrap.Tally(1, 5)
        for k in range(5):
            tally.add(0, k, [str(j) for j in range(150)], items[k] / 100, np.ones(150))
        drawn = bootstrap.resample(tally.sums(), np.ones((1, 1)), 500, number)
        alone = 1.96 * math.sqrt(sum(drawn.spread(0, k).variance for k in range(5))) / 5
        low, high = drawn.interval(0)
        return {"languages apart": abs(items.mean()) <= alone, "drawn jointly": low <= 0 <= high}

    return [
        *counted("effect on a new task, 8 tasks", "coverage", {"prediction interval": (COVER,)}, new_task, n),
        *counted("two equal metrics, n = 30", "false positives", {"Williams's t": (NULL,)}, williams, n),
        *counted("gain at the margin", "called equivalent", {"two one-sided tests": (NULL,)}, tost, n),
        *counted("mean over 5 parallel languages", "coverage", {"languages apart": (None,), "drawn jointly": (COVER,)},
                 parallel, n),
    ]  # fmt: skip


def transfer(n: int) -> list[Line]:
    """Rankings and choices carried to held-out tasks; the mean gain there."""
    known, new = [f"t{k:02d}" for k in range(1, 10)], [f"h{k:02d}" for k in range(1, 6)]
    tau, picked, mean = "mean Kendall's tau, permuted", "the benchmark's best, by rank", "two-way mean"
    lines = []
    for carried, size, measure in (
        (0.0, 24, "false positives"),
        (0.5, 11, "power"),
        (0.8, 11, "power"),
        (0.8, 24, "power"),
    ):
        world = worlds.changed("transfer", transfer=carried, intermediates=size, languages=1)

        def draw(number: int, world: worlds.World = world) -> dict:
            split = generalise.split_gains(worlds.simulate("transfer", number, world).table, known, new)
            found = correlation.rank_transfer(split.before.mean(0), split.after, 400)
            average = generalise.mean_gain(split.after)
            return {
                tau: found.p <= 0.05 and (not world.transfer or found.value > 0),
                picked: generalise.choice(split).p <= 0.05,
                mean: average.low <= world.effect <= average.high,
            }

        band = (NULL,) if not carried else (REPORTED,)
        made = counted(f"transfer to 5 new tasks, r {carried:g}, {size} intermediates", measure,
                       {tau: band, picked: band, mean: (COVER_WIDE,)}, draw, n)  # fmt: skip
        made[2].measure = "coverage"
        lines += made
    return lines


def diversity_null(n: int) -> list[Line]:
    """Looking at languages where it cannot help: gains differ by language, but not with its features."""
    return _diversity(n, 0.0, "false positives", NULL)


def diversity_power(n: int) -> list[Line]:
    return _diversity(n, 1.5, "power", REPORTED)


def _diversity(n: int, strength: float, measure: str, band: tuple[float, float]) -> list[Line]:
    t, fake = "advantage over languages, t", "advantage over 19 placebos"
    world = worlds.changed("interaction", interaction=strength, intermediates=8, targets=2, languages=10,
                           by_language=0.5 if strength else 2.0)  # fmt: skip

    def draw(number: int) -> dict:
        made = worlds.simulate("interaction", number, world)
        cells = selectors.gain_cells(made.table, made.features)
        mask = np.ones(len(cells.gains), bool)
        one, other = (selectors.left_out(cells, name, "lolo") for name in (selectors.ALL, selectors.BLIND))
        found = diversity.advantage(cells, one, other, mask, {})[0]
        placebo = diversity.placebo_test(cells, "lolo", mask, found.value, 19, number, 10)
        return {t: found.p <= 0.05 and found.value > 0, fake: placebo.p <= 0.05}

    question = f"choice for 10 languages left out, interaction {strength:g}"
    return counted(question, measure, {t: (band,), fake: (band,)}, draw, n)


def mixed(n: int) -> list[Line]:
    lines = []
    for rho, measure in ((0.0, "false positives"), (0.8, "power")):
        world = worlds.changed("positive", rho=rho)

        def draw(number: int, world: worlds.World = world) -> dict:
            table = worlds.simulate("positive", number, world).table
            names, own, matrix = answers.joined(answers.own_scores(table), answers.mean_gains(table))
            rows = [str(k) for k in range(len(matrix)) for _ in names]
            factors = {"intermediate": names * len(matrix), "target": rows}
            found = mixed_slope(matrix.ravel(), np.tile(own, len(matrix)), factors, "intermediate")
            return {"mixed model, crossed": found.p <= 0.05}

        lines += counted(f"score of 11 intermediates and gain, rho {rho:g}", measure,
                         {"mixed model, crossed": (NULL if not rho else REPORTED,)}, draw, n)  # fmt: skip
    return lines


WORLDS = (metric_null, metric_power, seed_intervals, gain_null, domain, scale, simpson, aso, others, transfer,
          diversity_null,
          diversity_power, slices, axes, against, mixed)  # fmt: skip


def lines(n: int, only: list[str] | None = None) -> Iterator[Line]:
    for world in WORLDS:
        if only and world.__name__ not in only:
            continue
        start = time.process_time()
        yield from world(n)
        console().note(f"{world.__name__}: {time.process_time() - start:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--lines", type=Path, help="keep the lines here and add to what is there, for runs in pieces")
    parser.add_argument("--only", nargs="*", help="names of functions, such as transfer")
    options = parser.parse_args()
    found = list(lines(options.repetitions, options.only))
    if options.lines:
        kept = json.loads(options.lines.read_text()) if options.lines.exists() else []
        found = [Line(**{**line, "band": line["band"] and tuple(line["band"])}) for line in kept] + found
        options.lines.write_text(json.dumps([vars(line) for line in found]))
    columns = [
        "question",
        "procedure",
        "measure",
        ("share", "right"),
        ("95 %", "right"),
        ("n", "right"),
        "wanted",
        "held",
    ]
    table = Table(
        f"Planted truths, {options.repetitions} repetitions", columns, [line.cells() for line in found],
        "naive: shown for comparison; reported: a power, for planning",
    )  # fmt: skip
    console().result(table)
    if options.markdown:
        options.markdown.write_text(table.to_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
