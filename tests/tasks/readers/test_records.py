from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError


def test_jsonl(read):
    assert read("jsonl", '{"a": 1}\r\n\n{"a": "ü"}') == [(1, {"a": 1}), (3, {"a": "ü"})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": 1', "line 2 is not valid JSON"),
        ("[1]", "line 2 holds .1.; expected an object"),
        ("[" * 100_000, r"line 2 (is not valid|cannot be read as) JSON"),
        ("9" * 5000, r"line 2 (holds|cannot be read as)"),
    ],
)
def test_bad_jsonl(read, line, message):
    with pytest.raises(AdaptxferError, match=message):
        read("jsonl", '{"a": 1}\n' + line + "\n")


def test_json_list_and_keyed_object(read):
    assert read("json", '[{"a": 1}, {"a": 2}]') == [(1, {"a": 1}), (2, {"a": 2})]
    assert read("json", '{"x": {"a": 1}}') == [(1, {"key": "x", "a": 1})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"a": 1}', "not valid JSON"),
        ("3", "expected a list or an object of rows"),
        ("[3]", "entry 1 holds 3"),
        ('{"x": 3}', "entry 'x' holds 3"),
        ("", "not valid JSON"),
    ],
)
def test_bad_json(read, content, message):
    with pytest.raises(AdaptxferError, match=message):
        read("json", content)


def test_tsv_leaves_quotes_alone(read):
    assert read("tsv", 'a\tb\r\n"x\ty"\r\n') == [(2, {"a": '"x', "b": 'y"'})]


def test_tsv_without_header_and_with_an_optional_column(read):
    names = ("p", "h", "label?")
    assert read("tsv", "x\ty\tno\n", names=names) == [(1, {"p": "x", "h": "y", "label": "no"})]
    assert read("tsv", "x\ty\n", names=names) == [(1, {"p": "x", "h": "y"})]


def test_tsv_may_split_columns_into_words(read):
    rows = read("tsv", "a b\tX Y\n", names=("words", "tags"), options={"split": ["words", "tags"]})
    assert rows == [(1, {"words": ["a", "b"], "tags": ["X", "Y"]})]


@pytest.mark.parametrize("line", ["x", "x\ty\tz\tw"])
def test_tsv_with_a_wrong_number_of_fields(read, line):
    with pytest.raises(AdaptxferError, match=r"line 2 has \d fields; expected 3 \(p, h, label\)"):
        read("tsv", f"x\ty\tz\n{line}\n", names=("p", "h", "label?"))


def test_tsv_that_names_a_column_twice(read):
    with pytest.raises(AdaptxferError, match="names a column twice"):
        read("tsv", "a\ta\nx\ty\n")


def test_csv_with_quotes_commas_and_line_breaks(read):
    assert read("csv", 'a,b\r\n"x, ""y""\nz",w\r\n') == [(3, {"a": 'x, "y"\nz', "b": "w"})]


def test_csv_with_an_open_quote(read):
    with pytest.raises(AdaptxferError, match="not valid CSV"):
        read("csv", 'a,b\n"x,y\n')


def test_an_empty_table_has_no_rows(read):
    assert read("tsv", "") == read("csv", "") == read("jsonl", "") == []
