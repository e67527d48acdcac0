from __future__ import annotations

import pytest

from adaptxfer.tasks.template import RowError, fields_for, filler


def fill(template, row, values):
    return filler(template, values)(row)


ROW = {
    "a": "x",
    "n": 3,
    "list": ["p", "q"],
    "nested": {"text": ["u", "v"], "stem": "s"},
    "objects": [{"text": "k"}, {"text": "l"}],
    "none": None,
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{a}", "x"),
        ("{n}", 3),
        ("{list}", ["p", "q"]),
        ("{nested.text}", ["u", "v"]),
        ("{objects.text}", ["k", "l"]),
        ("{a} {nested.stem}", "x s"),
        (" {a}", " x"),
        ("{a}{n}", "x3"),
        ("plain", "plain"),
        ("", ""),
        ("{absent?}", None),
        ("{none?}", None),
        (["{a}", "{n}"], ["x", 3]),
    ],
)
def test_fill(template, value):
    assert fill(template, ROW, {}) == value


def test_values_are_translated_by_name_also_within_lists():
    known = {"n": {"3": "three"}, "list": {"p": "P", "q": "Q"}}
    assert fill("{n} of {a}", ROW, known) == "three of x"
    assert fill("{list}", ROW, known) == ["P", "Q"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{absent}", "has no column 'absent' .columns: a, n, list"),
        ("{none}", "has no column 'none'"),
        ("{absent} x", "has no column 'absent'"),
        ("{list} x", "expected text"),
    ],
)
def test_missing_columns(template, message):
    with pytest.raises(RowError, match=message):
        fill(template, ROW, {})


def test_an_unknown_value_is_refused():
    with pytest.raises(RowError, match="has 'x' in column 'a'"):
        fill("{a}", ROW, {"a": {"y": "z"}})


def test_text_that_looks_like_a_template_is_left_alone():
    assert fill("{a} {b}", {"a": "{b}", "b": "{a.__class__}"}, {}) == "{b} {a.__class__}"


def test_faults_of_columns():
    faults = dict(fields_for("choose", {"contxt": "{a}", "choices": [], "label": "{a"}))
    assert "Did you mean 'context'?" in faults["contxt"]
    assert faults.keys() == {"contxt", "choices", "label"}
