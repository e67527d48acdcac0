"""Composition trees: shapes, names, and what each method refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptxfer.errors import DATA, USE, AdaptxferError
from adaptxfer.modules.composition import (
    HOWS,
    METHODS,
    WORKS,
    Fuse,
    Leaf,
    Stack,
    check_how,
    check_tree,
    draw,
    from_json,
    fuse,
    fusions,
    leaves,
    target_tree,
    to_json,
    trained_parts,
)

NAMES = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True), min_size=2, max_size=5, unique=True)


@given(NAMES)
def test_trees_survive_json(names):
    for tree in (
        Leaf(names[0]),
        fuse(names),
        Stack((Leaf(names[0]), Leaf(names[1]))),
        Stack((fuse(names), Leaf("z_"))),
    ):
        assert from_json(to_json(tree)) == tree


@given(NAMES)
def test_order_of_names_does_not_matter_to_a_fusion(names):
    assert fuse(names) == fuse(names[::-1]) == from_json({"fuse": names[::-1]})
    assert fuse(names).key == ",".join(sorted(names))


@pytest.mark.parametrize(
    "value",
    [
        "a,b",
        "a.b",
        "../a",
        "",
        "x" * 101,
        1,
        None,
        {"fuse": ["a", "b,c"]},
        {"fuse": ["a", {"stack": ["b", "c"]}]},  # fuse of stacks
        {"stack": [{"stack": ["a", "b"]}, "c"]},
        {"parallel": ["a", "b"]},
        {"stack": "ab"},
        {"stack": ["a", "b"], "fuse": ["c", "d"]},
    ],
)
def test_what_is_no_composition(value):
    with pytest.raises(AdaptxferError):
        from_json(value)


@pytest.mark.parametrize(
    "value", [{"fuse": ["a"]}, {"fuse": []}, {"stack": []}, {"stack": ["a", "a"]}, {"stack": ["a"]}]
)
def test_too_few_or_equal_parts(value):
    with pytest.raises(AdaptxferError, match="two or more different parts") as caught:
        check_tree(from_json(value), "bottleneck")
    assert caught.value.code == DATA


def test_trees_a_method_cannot_build():
    with pytest.raises(AdaptxferError, match="peft has no fuse for LoRA"):
        check_tree(fuse(["a", "b"]), "lora")
    with pytest.raises(AdaptxferError, match="peft has no fuse for LoRA"):
        check_tree(Stack((fuse(["a", "b"]), Leaf("c"))), "lora")
    with pytest.raises(AdaptxferError, match="no module to arrange"):
        check_tree(Stack((Leaf("a"), Leaf("b"))), "full")
    for method in METHODS:
        check_tree(Leaf("a"), method)
    check_tree(Stack((fuse(["a", "b"]), Leaf("c"))), "bottleneck")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", HOWS)
def test_how_and_method(how, method):
    number = {"none": 0, "fuse": 2, "merge": 3}.get(how, 1)
    if how in WORKS[method]:
        check_how(how, method, number)
    else:
        with pytest.raises(AdaptxferError, match=f"--how {how} does not work with --method {method}") as caught:
            check_how(how, method, number)
        assert caught.value.code == USE and "use none" in caught.value.hint


@pytest.mark.parametrize(("how", "number"), [("none", 1), ("stack", 0), ("stack", 2), ("fuse", 1), ("merge", 1)])
def test_number_of_intermediates(how, number):
    with pytest.raises(AdaptxferError, match=f"got {number}"):
        check_how(how, "bottleneck", number)


def test_unknown_words_and_misplaced_own_module():
    with pytest.raises(AdaptxferError, match="--how 'paste' is unknown"):
        check_how("paste", "lora", 1)
    with pytest.raises(AdaptxferError, match="--method 'prefix' is unknown"):
        check_how("none", "prefix", 0)
    with pytest.raises(AdaptxferError, match="--own-module belongs to --how fuse"):
        check_how("stack", "bottleneck", 1, own_module=True)


def test_target_trees_and_what_trains():
    cases = {
        ("none", False): (Leaf("t"), ["t"], []),
        ("continue", False): (Leaf("t"), ["t"], []),
        ("merge", False): (Leaf("t"), ["t"], []),
        ("stack", False): (Stack((Leaf("b"), Leaf("t"))), ["t"], []),
        ("fuse", False): (fuse(["a", "b"]), [], ["a,b"]),
        ("fuse", True): (Stack((fuse(["a", "b"]), Leaf("t"))), ["t"], ["a,b"]),
    }
    for (how, own), (tree, modules, keys) in cases.items():
        assert target_tree(how, "t", ["b", "a"], own) == tree
        assert trained_parts(how, tree, "t") == (modules, keys)


def test_parts_of_a_tree():
    tree = Stack((fuse(["b", "a"]), Leaf("c")))
    assert leaves(tree) == ["a", "b", "c"]
    assert fusions(tree) == [Fuse((Leaf("a"), Leaf("b")))]
    assert fusions(Leaf("a")) == []


def test_drawing_puts_the_top_first():
    tree = Stack((fuse(["b", "a"]), Leaf("c")))
    assert draw(tree, ["c", "a,b"]).splitlines() == [
        "stack",
        "  c  (trains)",
        "  fuse  (trains)",
        "    a  (frozen)",
        "    b  (frozen)",
    ]
