"""Records with several compositions of one intermediate: one of them counts, and a study says which."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies import worlds
from adaptxfer.studies.metric import metric_study
from adaptxfer.studies.pairs import one_composition
from adaptxfer.studies.table import RecordTable, read_csv, write_csv


def with_more(table: RecordTable) -> RecordTable:
    """The first intermediate also continued on the first target; its gain there is 5 points lower."""
    first = next(row for row in table.rows if row.how == "stack")
    also = [replace(row, how="continue", value=row.value - 5, items="") for row in table.rows
            if (row.intermediate, row.target_task) == (first.intermediate, first.target_task)]  # fmt: skip
    return replace(table, rows=(*table.rows, *also))


def test_the_composition_with_most_runs_counts_or_the_one_asked_for() -> None:
    table = worlds.simulate("positive", 1).table
    more = with_more(table)
    kept = one_composition(more)
    assert kept.rows == table.rows and kept.notes == ("Of several compositions stack counts, not continue (--how).",)
    asked = one_composition(more, "continue")
    assert {row.how for row in asked.rows} == {"none", "stack", "continue"} and len(asked.rows) == len(table.rows)
    assert one_composition(table).notes == ()
    with pytest.raises(AdaptxferError, match="'fuse'") as caught:
        one_composition(more, "fuse")
    assert "continue, stack" in caught.value.hint


def test_no_intermediate_is_lost_for_its_compositions(call, tmp_path: Path) -> None:
    table = worlds.simulate("positive", 1).table
    for name, rows in (("one", table), ("two", with_more(table))):
        write_csv(tmp_path / f"{name}.csv", rows)
    expected = metric_study(table, ["score"], ["gain"], 200).claims[0].estimate
    for words in ((), ("--how", "stack")):
        told = call("study", "metric", tmp_path / "two.csv", "--metrics", "score", "--outcomes", "gain",
                    "--permutations", 200, "--json", *words)  # fmt: skip
        (claim, *_) = json.loads(told)["claims"]
        assert claim["n_units"] == expected.n_units and claim["estimate"] == pytest.approx(expected.value)


def test_slices_of_records_with_several_compositions(call, tmp_path: Path) -> None:
    call("simulate", "cluster", "--out", tmp_path, "--articles", 6)
    write_csv(tmp_path / "more.csv", with_more(read_csv(tmp_path / "table.csv")))
    words = ("--to", "t01", "--shifted", worlds.SHIFTED, "--reference", worlds.REFERENCE, "--resamples", 200, "--json")
    found = [json.loads(call("study", "domain", tmp_path / f"{name}.csv", *words)) for name in ("table", "more")]
    assert found[0]["claims"] == found[1]["claims"] and len(found[0]["claims"]) > 1
