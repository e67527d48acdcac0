"""Simulated worlds: record tables whose truth is known, for testing procedures and for planning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from adaptxfer.errors import nearest, use_error
from adaptxfer.files import write_text
from adaptxfer.studies.items import Items
from adaptxfer.studies.languages import LanguageFeatures, features_text
from adaptxfer.studies.pairs import OWN_SCORE
from adaptxfer.studies.table import NONE, WHOLE, RecordTable, Row, write_csv

SIZES = {
    "xlmr": (86e6, 304e6, 2840e6, 9690e6),
    "mt5": (19e6, 85e6, 308e6, 1158e6, 4631e6),
}
"""Parameters outside the embeddings of the two ladders of encoders."""

FEATURES_FILE = "features.tsv"
EASY, HARD = "easy", "hard"
REFERENCE, SHIFTED = "reference", "shifted"


@dataclass(frozen=True)
class World:
    """What is planted. All standard deviations are in points and guesses until estimated from real runs.

    Args:
        intermediates: intermediate tasks besides none.
        targets: target tasks.
        languages: languages of each target.
        seeds: seeds of each cell.
        effect: mean gain.
        rho: correlation of an intermediate's own score with the mean gain it brings.
        shift: how much larger the gain is on the shifted slice.
        slope: growth of the gain of the hard half per factor of ten in size.
        interaction: growth of a gain with the language's distance times the task's format.
        between: standard deviation of mean gains between intermediates.
        by_target: of gains between targets of one intermediate.
        by_language: of gains between languages of one cell.
        by_size: of the contrast between model sizes.
        seed_sd: of scores between seeds, common to all languages of a run.
        noise_sd: of scores between seeds, by language.
        checkpoints: checkpoints of each intermediate.
        clusters: clusters (articles) of items for each slice; 0 makes no items.
        per_cluster: items of each cluster.
        level_sd: of scores between languages, where there are clusters.
        cluster_sd: of the gain between clusters.
        item_sd: of the gain between items of a cluster.
        ladders: ladders of model sizes.
        held_out: further target tasks, named h01 and so on, on which levels are others.
        transfer: correlation of an intermediate's level on those with its level on the rest.
    """

    intermediates: int = 11
    targets: int = 9
    languages: int = 3
    seeds: int = 3
    effect: float = 0.0
    rho: float = 0.0
    shift: float = 0.0
    slope: float = 0.0
    interaction: float = 0.0
    between: float = 1.0
    by_target: float = 0.8
    by_language: float = 0.5
    by_size: float = 0.3
    seed_sd: float = 0.6
    noise_sd: float = 0.3
    checkpoints: int = 1
    clusters: int = 0
    per_cluster: int = 10
    level_sd: float = 0.0
    cluster_sd: float = 8.0
    item_sd: float = 25.0
    ladders: tuple[str, ...] = ("xlmr",)
    held_out: int = 0
    transfer: float = 1.0


WORLDS = {
    "null": World(between=0.0, by_target=0.0, by_language=0.0),
    "positive": World(effect=1.5, rho=0.8),
    "simpson": World(checkpoints=6, rho=0.5, targets=4),
    "interaction": World(languages=30, targets=3, interaction=1.5),
    "cluster": World(intermediates=2, targets=1, languages=3, shift=3.0, clusters=100),
    "scaling": World(intermediates=2, targets=7, languages=1, slope=1.0, by_target=0.5),
    "transfer": World(effect=1.0, held_out=5, transfer=0.8),
}
"""The worlds by name; ``replace`` changes what is planted."""


@dataclass(frozen=True)
class Simulation:
    """A simulated record table and its truth.

    Args:
        table: rows with status simulated.
        truth: planted numbers by name.
        gains: by intermediate and target the true gain, mean over languages.
        items: items by the key in ``Row.items``.
        features: of languages: the distance that interacts, and noise.
    """

    table: RecordTable
    truth: dict[str, float]
    gains: dict[tuple[str, str], float]
    items: dict[str, Items] = field(default_factory=dict)
    features: LanguageFeatures = field(default_factory=LanguageFeatures)

    def items_of(self, row: Row) -> Items | None:
        """The items of a row."""
        return self.items.get(row.items)


def simulate(name: str, seed: int, world: World | None = None) -> Simulation:
    """Draw one table from a world.

    Args:
        name: one of ``WORLDS``.
        seed: of the drawing.
        world: what is planted, if it differs from the world's own.

    Raises:
        AdaptxferError: if there is no such world.
    """
    if name not in WORLDS:
        raise use_error(f"There is no world {name!r}.", nearest(name, WORLDS))
    world, generator = world or WORLDS[name], np.random.default_rng(seed)
    makers: dict[str, Callable[[World, np.random.Generator], Simulation]] = {
        "simpson": _checkpoints,
        "cluster": _slices,
        "scaling": _sizes,
    }
    return makers.get(name, _grid)(world, generator)


def save(simulation: Simulation, folder: Path) -> Path:
    """Write ``table.csv``, the items and the features beside it, and return the table's path."""
    for key, items in simulation.items.items():
        lines = zip(items.ids, items.clusters, items.above, items.below, strict=True)
        text = "".join(f"{name},{cluster},{a!r},{b!r}\n" for name, cluster, a, b in _plain(lines))
        write_text(folder / key, "item_id,cluster_id,score,weight\n" + text)
    if simulation.features.names:
        write_text(folder / FEATURES_FILE, features_text(simulation.features))
    write_csv(folder / "table.csv", simulation.table)
    return folder / "table.csv"


def _plain(lines: Iterator[tuple]) -> Iterator[tuple[str, str, float, float]]:
    return ((name, cluster, float(a), float(b)) for name, cluster, a, b in lines)


def _named(stem: str, count: int) -> list[str]:
    return [f"{stem}{number + 1:02d}" for number in range(count)]


def _rows(scores: np.ndarray, intermediate: str, targets: list[str], seeds: int, **shared: object) -> Iterator[Row]:
    """Rows of scores (T, L, S)."""
    for t, target in enumerate(targets):
        for k in range(scores.shape[1]):
            for s in range(seeds):
                value = float(scores[t, k, s])
                yield _row(target, f"l{k + 1:02d}", value, s + 1, intermediate, **shared)


def _row(target: str, language: str, value: float, seed: int, intermediate: str, **shared: object) -> Row:
    fixed = {"metric": "score", "status": "simulated", "backbone": "simulated", "method": "bottleneck",
             "how": NONE if intermediate == NONE else "stack"}  # fmt: skip
    return Row(target_task=target, language=language, value=value, target_seed=seed, intermediate=intermediate,
               **{**fixed, **shared})  # type: ignore[arg-type]  # fmt: skip


def _noise(world: World, generator: np.random.Generator) -> np.ndarray:
    """Deviation of runs from their expectation (T, L, S)."""
    shape = (world.targets, world.languages, world.seeds)
    common = generator.normal(0, world.seed_sd, (world.targets, 1, world.seeds))
    return common + generator.normal(0, world.noise_sd, shape)


def _own(world: World, levels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Own scores of intermediates with correlation ``rho`` to ``levels``, of any level and scale."""
    spread = levels / world.between if world.between else levels
    mixed = world.rho * spread + math.sqrt(1 - world.rho**2) * generator.normal(size=len(levels))
    return 75 + 6 * mixed


def _grid(world: World, generator: np.random.Generator) -> Simulation:
    """Intermediates by targets by languages by seeds, and each intermediate's own score."""
    names, targets = _named("i", world.intermediates), [*_named("t", world.targets), *_named("h", world.held_out)]
    held_out, world = world.held_out, replace(world, targets=len(targets))
    levels = generator.normal(0, world.between, len(names))
    gains = world.effect + levels[:, None, None] + np.zeros((1, world.targets, world.languages))
    if held_out:
        others = generator.normal(0, world.between, len(names))
        elsewhere = world.transfer * levels + math.sqrt(1 - world.transfer**2) * others
        gains[:, -held_out:] = world.effect + elsewhere[:, None, None]
    gains += generator.normal(0, world.by_target, (len(names), world.targets, 1))
    gains += generator.normal(0, world.by_language, gains.shape)
    form, distance = generator.normal(size=len(names)), generator.normal(size=world.languages)
    gains += world.interaction * form[:, None, None] * distance
    base = generator.normal(60, 8, (world.targets, world.languages))[..., None]
    rows = list(_rows(base + _noise(world, generator), NONE, targets, world.seeds))
    for i, (name, own) in enumerate(zip(names, _own(world, levels, generator), strict=True)):
        scores = base + gains[i][..., None] + _noise(world, generator)
        rows += _rows(scores, name, targets, world.seeds)
        rows += [_own_row(name, own + generator.normal(0, 0.3), s + 1) for s in range(world.seeds)]
    planted = {(n, t): float(gains[i, k].mean()) for i, n in enumerate(names) for k, t in enumerate(targets)}
    truth = {"effect": world.effect, "rho": world.rho} | ({"transfer": world.transfer} if held_out else {})
    truth |= {"interaction": world.interaction} if world.interaction else {}
    known = np.stack([distance, generator.normal(size=world.languages)], 1)
    codes = [f"l{k + 1:02d}" for k in range(world.languages)]
    features = LanguageFeatures(("distance", "noise"), dict(zip(codes, known, strict=True)))
    return Simulation(RecordTable(tuple(rows)), truth, planted, features=features)


def _own_row(name: str, value: float, seed: int, checkpoint: str = "") -> Row:
    shared = {"study": OWN_SCORE, "intermediate_checkpoint": checkpoint}
    return _row(name, "l01", float(value), seed, name, **shared)


def _checkpoints(world: World, generator: np.random.Generator) -> Simulation:
    """Within an intermediate a better checkpoint brings more; between them, higher scores go with lower gains."""
    names, targets = _named("i", world.intermediates), _named("t", world.targets)
    base = generator.normal(60, 8, (world.targets, world.languages))[..., None]
    rows = list(_rows(base + _noise(world, generator), NONE, targets, world.seeds))
    for place, name in enumerate(names):
        level = 8 * (place / max(1, len(names) - 1) - 0.5)
        x = generator.normal(size=world.checkpoints)
        y = world.rho * x + math.sqrt(1 - world.rho**2) * generator.normal(size=world.checkpoints)
        for k in range(world.checkpoints):
            label = "" if k == world.checkpoints - 1 else f"c{k + 1}"  # the last one is the intermediate itself
            gain = world.effect - level + y[k]
            scores = base + gain + _noise(world, generator)
            rows += _rows(scores, name, targets, world.seeds, intermediate_checkpoint=label)
            rows += [_own_row(name, 70 + 2 * level + x[k], s + 1, label) for s in range(world.seeds)]
    return Simulation(RecordTable(tuple(rows)), {"rho": world.rho}, {})


def _sizes(world: World, generator: np.random.Generator) -> Simulation:
    """An easy and a hard half of one task at every model size; the hard half's gain grows with size."""
    targets, rows = _named("t", world.targets), []
    for ladder in world.ladders:
        for size in SIZES[ladder]:
            decades = math.log10(size) - 8.5
            base = generator.normal(60 + 3 * decades, 2, (world.targets, world.languages))[..., None]
            contrast = world.slope * decades + generator.normal(0, world.by_size)
            contrast = contrast + generator.normal(0, world.by_target, (world.targets, 1, 1))
            shared = {"backbone": f"{ladder}-{size / 1e6:.0f}M", "n_params": int(size)}
            for name, gain in ((NONE, 0.0), (EASY, world.effect), (HARD, world.effect + contrast)):
                rows += _rows(base + gain + _noise(world, generator), name, targets, world.seeds, **shared)
    return Simulation(RecordTable(tuple(rows)), {"slope": world.slope}, {})


def _slices(world: World, generator: np.random.Generator) -> Simulation:
    """Items in clusters, the same in every language; the gain is larger on one slice."""
    names, targets = _named("i", world.intermediates), _named("t", world.targets)
    rows: list[Row] = []
    items: dict[str, Items] = {}
    for target in targets:
        drawn = _ClusterItems(world, generator, target)
        for name in (NONE, *names):
            gain = drawn.gains(0.0 if name == NONE else world.effect)
            for s in range(world.seeds):
                common = generator.normal(0, world.seed_sd)
                for k in range(world.languages):
                    offset = common + generator.normal(0, world.noise_sd)
                    points = drawn.base[k] + (gain if name != NONE else 0.0) + offset
                    for part in (WHOLE, REFERENCE, SHIFTED):
                        key = f"items/{name}-{target}-{s + 1}-l{k + 1:02d}-{part}.csv"
                        items[key] = drawn.items(points, part)
                        shared = {"slice": part, "items": key, "n_items": len(items[key].ids)}
                        rows.append(_row(target, f"l{k + 1:02d}", items[key].score(), s + 1, name, **shared))
    planted = {(n, t): world.effect + world.shift / 2 for n in names for t in targets}
    return Simulation(RecordTable(tuple(rows)), {"shift": world.shift}, planted, items)


class _ClusterItems:
    """The items of one target: half of the clusters belong to each slice."""

    def __init__(self, world: World, generator: np.random.Generator, target: str) -> None:
        self.world, self.generator = world, generator
        count = 2 * world.clusters
        self.cluster = np.repeat(np.arange(count), world.per_cluster)
        self.shifted = self.cluster >= world.clusters
        self.base = generator.normal(60, 20, (world.languages, len(self.cluster)))
        self.base += world.level_sd * np.linspace(-1, 1, world.languages)[:, None] if world.level_sd else 0.0
        names = {WHOLE: slice(None), REFERENCE: ~self.shifted, SHIFTED: self.shifted}
        self.parts = {part: np.arange(len(self.cluster))[chosen] for part, chosen in names.items()}
        self.ids = {part: [f"{target}-q{j}" for j in places] for part, places in self.parts.items()}
        self.articles = {part: [f"{target}-a{self.cluster[j]}" for j in places] for part, places in self.parts.items()}

    def gains(self, effect: float) -> np.ndarray:
        """Gains of the items of one intermediate (N,), the same in all its runs and languages."""
        world, generator = self.world, self.generator
        by_cluster = generator.normal(0, world.cluster_sd, self.cluster[-1] + 1)[self.cluster]
        by_item = generator.normal(0, world.item_sd, len(self.cluster))
        return effect + world.shift * self.shifted + by_cluster + by_item

    def items(self, points: np.ndarray, part: str) -> Items:
        """Items of one slice from points (N,)."""
        above = points[self.parts[part]] / 100
        return Items(self.ids[part], self.articles[part], above, np.ones(len(above)))


def changed(name: str, **planted: object) -> World:
    """The world of a name with other numbers planted; None leaves a number as it is."""
    if name not in WORLDS:
        raise use_error(f"There is no world {name!r}.", nearest(name, WORLDS))
    return replace(WORLDS[name], **{key: value for key, value in planted.items() if value is not None})  # type: ignore[arg-type]
