from __future__ import annotations

from adaptxfer.tasks.table import Table


def test_every_getter_reports_the_wrong_type_and_goes_on():
    top = Table({"a": 1, "b": "x", "c": [1], "d": {"e": 2}, "f": "yes", "g": [3]})
    assert top.text("a", "default") == "default"
    assert top.integer("b", 7) == 7
    assert top.texts("c") == ()
    assert top.strings("d") == {}
    assert top.flag("f", True) is True
    assert top.tables("g") == []
    assert [fault.split(":")[0] for fault in top.faults] == ["a", "b", "c", "d.e", "f", "g"]


def test_one_string_stands_for_a_list():
    assert Table({"role": "target"}).texts("role") == ("target",)


def test_one_table_stands_for_a_list_and_numbers_tell_several_apart():
    assert [table.name for table in Table({"hub": {}}).tables("hub")] == ["hub."]
    assert [table.name for table in Table({"hub": [{}, {}]}).tables("hub")] == ["hub[1].", "hub[2]."]


def test_unknown_keys_are_named_with_the_nearest_known_one():
    top = Table({"epohcs": 3})
    top.integer("epochs", 1)
    top.close()
    assert top.faults == ["epohcs: unknown key. Did you mean 'epochs'?"]


def test_not_a_number_is_out_of_range():
    top = Table({"x": float("nan")})
    top.number("x", 0.0)
    assert len(top.faults) == 1
