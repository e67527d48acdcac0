"""Gains: pairing, intervals that cover, verdicts that do not overreach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.collect import collect
from adaptxfer.studies.gain import gain_matrix
from adaptxfer.studies.items import Items
from adaptxfer.studies.pairs import choose, pair
from adaptxfer.studies.table import NONE, RecordTable, Row
from adaptxfer.studies.views import gain_csv, gain_document, gain_tables
from adaptxfer.studies.worlds import changed, simulate


def rows(gain: float = 2.0, seeds=(1, 2, 3), **shared) -> list[Row]:
    made = []
    for seed in seeds:
        for k, language in enumerate(("en", "sw")):
            base = 50 + 3 * k + seed
            fixed = {"n_items": 10, **shared}
            made.append(Row("claims", language, "accuracy", base, seed, NONE, "measured", **fixed))
            made.append(Row("claims", language, "accuracy", base + gain + 0.1 * seed, seed, "nli", "measured", **fixed))
    return made


def test_gains_are_paired_by_seed() -> None:
    table = RecordTable(tuple(rows()))
    (found,), notes = pair(table)
    np.testing.assert_allclose(found.differences("nli"), [[2.1, 2.2, 2.3]] * 2)
    assert not notes
    cell = gain_matrix(table, 100).cells[0]
    assert cell.estimate.value == pytest.approx(2.2)
    assert cell.estimate.error == pytest.approx(0.1 / np.sqrt(3))
    assert cell.estimate.n_units == 3 and cell.without == pytest.approx(53.5)


def test_three_seeds_of_one_cell_are_described_not_tested() -> None:
    matrix = gain_matrix(RecordTable(tuple(rows())), 100)
    assert {g.verdict for g in (*matrix.cells, *matrix.overall, *matrix.by_language)} == {"descriptive"}
    assert any("described" in note for note in matrix.notes)
    enough = gain_matrix(RecordTable(tuple(rows(seeds=range(1, 7)))), 100)
    assert enough.cells[0].verdict == "supported"


def test_one_seed_has_no_interval() -> None:
    cell = gain_matrix(RecordTable(tuple(rows(seeds=(1,)))), 100).cells[0]
    assert np.isnan(cell.estimate.low) and np.isnan(cell.estimate.p) and cell.verdict == "descriptive"


def test_what_cannot_be_paired_is_left_out_and_told() -> None:
    made = rows()
    made = [r for r in made if not (r.intermediate == NONE and r.target_seed == 3)]
    made = [replace(r, n_items=9) if r.language == "sw" and r.intermediate == "nli" else r for r in made]
    (found,), notes = pair(RecordTable(tuple(made)))
    assert found.seeds("nli") == [1, 2] and found.languages == ("en",)
    assert any("seed 3" in note for note in notes) and any("sw" in note for note in notes)


def test_no_baseline() -> None:
    with pytest.raises(AdaptxferError, match="baseline"):
        pair(RecordTable(tuple(r for r in rows() if r.intermediate != NONE)))


def test_compositions_of_one_intermediate_are_named_apart() -> None:
    made = [replace(r, how="none" if r.intermediate == NONE else "stack") for r in rows()]
    made += [replace(r, how="fuse") for r in made if r.intermediate != NONE]
    (found,), _ = pair(RecordTable(tuple(made)))
    assert found.labels() == ["nli (stack)", "nli (fuse)"]


def test_one_method_at_a_time() -> None:
    table = RecordTable((*rows(method="lora"), *rows(method="full")))
    with pytest.raises(AdaptxferError, match="--method"):
        choose(table)
    assert len(choose(table, method="lora").rows) == 12


def test_items_add_to_the_interval_and_must_match() -> None:
    def items(row: Row) -> Items:
        draw = np.random.default_rng([row.target_seed, len(row.intermediate), len(row.language)])
        above = draw.normal(size=40)
        return Items([str(j) for j in range(40)], [str(j // 4) for j in range(40)], above, np.ones(40))

    table = RecordTable(tuple(rows()))
    alone, both = gain_matrix(table, 200, items_of=lambda row: None), gain_matrix(table, 200, items_of=items)
    assert alone.cells[0].clusters == 0 and both.cells[0].clusters == 10
    assert both.cells[0].estimate.error > alone.cells[0].estimate.error
    assert any("seeds alone" in note for note in alone.notes)

    def other(row: Row) -> Items:
        return replace(items(row), ids=[f"{row.intermediate}{j}" for j in range(40)])

    assert gain_matrix(table, 200, items_of=other).cells[0].clusters == 0


def test_questions_without_their_articles_are_told() -> None:
    table = RecordTable(tuple(replace(row, metric="squad") for row in rows()))
    one, articles = [str(j) for j in range(8)], [str(j // 2) for j in range(8)]

    def told(clusters: list[str]) -> bool:
        matrix = gain_matrix(table, 100, items_of=lambda row: Items(one, clusters, np.arange(8.0), np.ones(8)))
        return any("article" in note for note in matrix.notes)

    assert told(one) and not told(articles)


def test_runs_end_to_end(records) -> None:
    for seed in (1, 2):
        records.cell("claims", "nli", seed)
        records.cell("claims", None, seed)
    matrix = gain_matrix(choose(collect(records.root)), 200)
    cell = matrix.cells[0]
    assert cell.intermediate == "nli" and cell.clusters == 60 and len(matrix.by_language) == 2
    assert any("one trained module" in note for note in matrix.notes)
    assert gain_tables(matrix, True)[0].title == "Gains by target task"
    assert len(gain_csv(matrix).splitlines()) == 1 + 1 + 1 + 2
    assert gain_document(matrix)["cells"][0]["n_units"] == 2


def test_coverage_and_false_claims_in_a_null_world() -> None:
    """40 worlds x 10 intermediates x 4 targets, nothing planted."""
    inside = claims = worlds = 0
    world = changed("null", intermediates=10, targets=4, languages=2)
    for seed in range(40):
        matrix = gain_matrix(simulate("null", seed, world).table, 100)
        inside += sum(c.estimate.low <= 0 <= c.estimate.high for c in matrix.cells)
        claims += any(g.verdict in ("supported", "contradicted") for g in matrix.overall)
        worlds += 1
    assert 0.92 <= inside / (40 * 40) <= 0.985
    assert claims / worlds <= 0.15  # 5 % of 40, with room for chance


def test_planted_gains_are_found() -> None:
    made = simulate("positive", 3, changed("positive", effect=4.0, between=0.1))
    matrix = gain_matrix(made.table, 100)
    assert {gain.verdict for gain in matrix.overall} == {"supported"}
    errors = [c.estimate.value - made.gains[c.intermediate, c.target] for c in matrix.cells]
    assert abs(np.mean(errors)) < 0.3
    assert all(item.reliable and item.n_units == 9 for item in matrix.across.values())


def test_compositions_are_named_only_where_one_target_has_several() -> None:
    from adaptxfer.studies.pairs import pair
    from adaptxfer.studies.table import NONE, RecordTable, Row

    def rows(target: str, *hows: str) -> list[Row]:
        base = Row(target, "en", "accuracy", 50.0, 1, NONE, how="none")
        return [base, *(Row(target, "en", "accuracy", 51.0, 1, "mnli", how=how) for how in hows)]

    apart, _ = pair(RecordTable((*rows("xnli", "stack"), *rows("tatoeba", "continue"))))
    assert [p.labels() for p in apart] == [["mnli"], ["mnli"]]
    both, _ = pair(RecordTable((*rows("xnli", "stack", "fuse"), *rows("tatoeba", "continue"))))
    assert [p.labels() for p in both] == [["mnli (stack)", "mnli (fuse)"], ["mnli (continue)"]]
