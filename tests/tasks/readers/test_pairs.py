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


META = "URL\tdomain\ttopic\nu1\twikinews\tsports\nu2\twikivoyage\ttravel\n"


def test_bitext_with_domains(read):
    rows = [row for _, row in read("bitext", "a\nb\n", beside={"candidates": "x\ny\n", "domains": META})]
    assert [row["domain"] for row in rows] == ["wikinews", "wikivoyage"] * 2


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (META + "u3\twikinews\tx\n", "has 3 rows and file 2 lines"),
        ("", "has no column named domain"),
        (META.replace("domain", "genre"), "has no column named domain"),
        ("URL\tdomain\nu1\twikinews\nu2\n", "domains.txt, line 3 has too few fields"),
    ],
)
def test_bad_domains(read, table, message):
    with pytest.raises(AdaptxferError, match=message):
        read("bitext", "a\nb\n", beside={"candidates": "x\ny\n", "domains": table})


def test_bucc(read):
    beside = {"candidates": "e1\tOne.\ne2\tTwo\there.\n", "gold": "z2\te1\nz2\te2\n"}
    rows = [row for _, row in read("bucc", "z1\tA\nz2\tB\n", beside=beside)]
    assert [row["id"] for row in rows] == ["z1", "z2", "e1", "e2"]
    assert [row["gold"] for row in rows] == [[], ["e1", "e2"], [], []]
    assert rows[3]["text"] == "Two\there."


def test_bucc_without_public_gold(read):
    rows = [row for _, row in read("bucc", "z1\tA\n", beside={"candidates": "e1\tOne.\n"})]
    assert [(row["id"], row["gold"]) for row in rows] == [("z1", []), ("e1", [])]


@pytest.mark.parametrize(
    ("queries", "gold", "message"),
    [("z1\tA\n", "z9\te1\n", "pairs 'z9' with 'e1'"), ("z1 A\n", "z1\te1\n", "line 1 has no tab")],
)
def test_bad_bucc(read, queries, gold, message):
    with pytest.raises(AdaptxferError, match=message):
        read("bucc", queries, beside={"candidates": "e1\tOne.\n", "gold": gold})
