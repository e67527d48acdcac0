from __future__ import annotations

import csv

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.report.latex import escape, to_latex
from adaptxfer.report.write import FORMATS, check_formats, write_report


def test_every_format_is_written_whole(simulated, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    written = write_report(simulated, tmp_path, FORMATS)
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert {path.name for path in written if path.suffix == ".png"} >= {"gains.png", "gains-1.png", "overall.png"}
    assert (tmp_path / "plots" / "gains.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "plots" / "gains.svg").read_text().startswith("<?xml")
    assert (tmp_path / "report.md").read_text().startswith("# Transfer report: table.csv\n\n**SIMULATED")
    with (tmp_path / "gains.csv").open() as file:
        rows = list(csv.DictReader(file))
    matrix = simulated.gains[0].matrix
    assert len(rows) == len(matrix.overall) + len(matrix.cells) + len(matrix.by_language)


def test_only_what_was_asked_for(simulated, tmp_path) -> None:
    assert [path.name for path in write_report(simulated, tmp_path, ("md",))] == ["report.md"]


def test_the_same_report_is_the_same_file(simulated, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    for name in ("one", "two"):
        write_report(simulated, tmp_path / name, ("html", "png", "svg", "pdf"))
    for path in (tmp_path / "one").rglob("*.*"):
        if path.suffix != ".svg":  # holds random ids
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path.name


def test_an_unknown_format_names_the_known() -> None:
    assert check_formats(["html", " md", "md"]) == ("html", "md")
    with pytest.raises(AdaptxferError, match="docx") as error:
        check_formats(["docx"])
    assert "html" in error.value.hint


def test_latex_is_balanced_and_harmless(simulated) -> None:
    text = to_latex(simulated.scores[0])
    columns = len(simulated.scores[0].names())
    assert r"\begin{tabular}{l" + "r" * (columns - 1) + "}" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert all(line.count(" & ") == columns - 1 and line.endswith(r"\\") for line in body)
    assert escape(r"a_b & 5% $x \input{y}") == r"a\_b \& 5\% \$x \textbackslash{}input\{y\}"
