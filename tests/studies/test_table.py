from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.table import COLUMNS, RecordTable, Row, join_tables, only_value, read_csv, write_csv

ROW = Row("xnli", "sw", "accuracy", 61.25, 1, "mnli", "measured", n_items=5010, n_params=86_000_000)
HEAD = "target_task,language,metric,value,target_seed"


def test_csv_round_trip(tmp_path: Path) -> None:
    rows = (ROW, replace(ROW, intermediate="none", value=1 / 3, n_items=None, items="items/a.csv"))
    write_csv(tmp_path / "t.csv", RecordTable(rows))
    found = read_csv(tmp_path / "t.csv").rows
    assert found[0] == ROW
    assert found[1] == replace(rows[1], items=str(tmp_path / "items/a.csv"))


def test_rows_from_elsewhere_are_imported(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{HEAD}\nxnli,sw,accuracy,61,1\n")
    table = read_csv(tmp_path / "t.csv")
    assert table.statuses() == ("imported",)
    assert "1 imported" in table.banner()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("target_task,language\nxnli,sw\n", "metric"),
        (f"{HEAD},colour\nxnli,sw,accuracy,61,1,red\n", "'colour'"),
        (f"{HEAD}\nxnli,sw,accuracy,high,1\n", "line 2"),
        (f"{HEAD}\nxnli,sw,accuracy,nan,1\n", "finite"),
        (f"{HEAD}\nxnli,sw,accuracy,61\n", "cells"),
        (f"{HEAD}\nxnli,,accuracy,61,1\n", "language is empty"),
        (f"{HEAD},status\nxnli,sw,accuracy,61,1,guessed\n", "guessed"),
        (f"{HEAD}\n", "no rows"),
    ],
)
def test_faulty_csv(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(AdaptxferError, match=told):
        read_csv(tmp_path / "t.csv")


def test_simulated_rows_stand_alone() -> None:
    simulated = RecordTable((replace(ROW, status="simulated"),))
    assert simulated.banner().startswith("SIMULATED")
    with pytest.raises(AdaptxferError, match="Simulated"):
        join_tables([simulated, RecordTable((ROW,))])


def test_measured_and_imported_are_told_apart() -> None:
    both = RecordTable((ROW, replace(ROW, language="ur", status="imported")))
    assert both.banner() == "Rows by origin: 1 measured, 1 imported."
    assert RecordTable((ROW,)).banner() == ""


def test_a_cell_is_filled_once() -> None:
    with pytest.raises(AdaptxferError, match="two values"):
        RecordTable((ROW, replace(ROW, value=5.0)))


def test_one_base_model_at_a_time() -> None:
    table = RecordTable((ROW, replace(ROW, backbone="other")))
    with pytest.raises(AdaptxferError, match="--model"):
        only_value(table, "backbone", "--model")
    assert only_value(table, "method", "--method") == ""


def test_columns_are_those_of_the_plan() -> None:
    wanted = "study backbone n_params method intermediate intermediate_checkpoint intermediate_seed target_task"
    assert set(wanted.split()) | {"target_seed", "language", "slice", "metric", "value", "n_items", "status"} <= set(
        COLUMNS
    )
