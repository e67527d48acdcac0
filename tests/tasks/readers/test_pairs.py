from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError


def test_bitext(read):
    rows = [row for _, row in read("bitext", "a\n\nb\n", beside={"candidates": "x\ny\nz"})]
    assert [(row["id"], row["side"], row["text"], row["gold"]) for row in rows] == [
        ("0", "query", "a", ["0"]),
        ("1", "query", "", ["1"]),
        ("2", "query", "b", ["2"]),
        ("0", "candidate", "x", []),
        ("1", "candidate", "y", []),
        ("2", "candidate", "z", []),
    ]


def test_bitext_that_is_not_aligned(read):
    with pytest.raises(AdaptxferError, match=r"has 2 lines and candidates.txt 1"):
        read("bitext", "a\nb\n", beside={"candidates": "x\n"})


def test_bucc(read):
    beside = {"candidates": "e1\tOne.\ne2\tTwo\there.\n", "gold": "z2\te1\nz2\te2\n"}
    rows = [row for _, row in read("bucc", "z1\tA\nz2\tB\n", beside=beside)]
    assert [row["id"] for row in rows] == ["z1", "z2", "e1", "e2"]
    assert [row["gold"] for row in rows] == [[], ["e1", "e2"], [], []]
    assert rows[3]["text"] == "Two\there."


@pytest.mark.parametrize(
    ("queries", "gold", "message"),
    [("z1\tA\n", "z9\te1\n", "pairs 'z9' with 'e1'"), ("z1 A\n", "z1\te1\n", "line 1 has no tab")],
)
def test_bad_bucc(read, queries, gold, message):
    with pytest.raises(AdaptxferError, match=message):
        read("bucc", queries, beside={"candidates": "e1\tOne.\n", "gold": gold})
