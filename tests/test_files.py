"""Text and tables that strangers send, read in bounds."""

from __future__ import annotations

import gzip

import pytest

from adaptxfer import files
from adaptxfer.errors import DATA, AdaptxferError


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "UNPACKED", 1 << 16)
    path = tmp_path / "task.toml"
    path.write_bytes(gzip.compress(b" " * (20 << 20)))
    with pytest.raises(AdaptxferError, match=r"task file .* unpacks to more than \d+ MiB") as caught:
        files.read_text(path, "task file")
    assert caught.value.code == DATA
    path.write_bytes(gzip.compress(b"a b c " * 9000))
    assert len(files.read_text(path)) == 54_000
    path.write_bytes(b" " * (1 << 20))
    assert len(files.read_text(path)) == 1 << 20


def test_rows_of_tables() -> None:
    assert files.csv_rows('a,b\n1,"x\ny"\n2,z\n', "t") == (
        ["a", "b"],
        [(3, {"a": "1", "b": "x\ny"}), (4, {"a": "2", "b": "z"})],
    )
    assert files.csv_rows("a\tb\n1\t2\n", "t")[1] == [(2, {"a": "1", "b": "2"})]
    assert files.csv_rows("", "t") == ([], [])


@pytest.mark.parametrize("text", ["a,b\n1,2\r3,4\n", "a\n" + "x" * 200_000 + "\n"])
def test_tables_that_are_none(text: str) -> None:
    with pytest.raises(AdaptxferError, match=r"t\.csv, line 2: not valid CSV"):
        files.csv_rows(text, "t.csv")


def test_a_file_where_a_folder_belongs_is_named(tmp_path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(AdaptxferError, match=r"taken is a file, not a folder"):
        files.write_text(tmp_path / "taken" / "below" / "out.json", "{}")


def test_a_user_without_a_home_has_a_cache_nobody_can_write(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ADAPTXFER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(files.Path, "home", nowhere)
    assert files.cache_dir() == files.Path("/.cache/adaptxfer")
