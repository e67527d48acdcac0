from __future__ import annotations

import json

import pytest

from adaptxfer.errors import AdaptxferError

TEXT = "Strike in Helsinki.\n\nIn {the} city, Helsinki is still. No trams."
LANGUAGES = ("de", "en")


def span(text, start):
    return {"start": start, "end": start + len(text), "text": text}


def mention(start=36, entity="Q1757"):
    return {"example_id": f"m{start}", "mention_span": span("Helsinki", start), "entity_id": entity}


def context(language="en", text=TEXT):
    borders = [(0, 19), (21, 54), (55, 64)]
    return {"language": language, "text": text, "sentence_spans": [{"start": a, "end": b} for a, b in borders]}


def entity(key="Q1757", language="en", description="Capital  of Finland. Big."):
    spans = [{"start": 0, "end": 20}, {"start": 21, "end": 25}]
    return {"entity_id": key, "description": description, "description_language": language, "sentence_spans": spans}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_mentions_of_one_language_and_its_candidates(read):
    news = lines(
        {"context": context(), "mentions": [mention(), mention(10)]},
        {"context": context("de"), "mentions": [mention(10, "Q1")]},
    )
    known = lines(entity(), entity("Q2", "de"), entity("Q3", "sw"))
    english, german = (
        [row for _, row in read("mewslix", news, language=code, languages=LANGUAGES, beside={"candidates": known})]
        for code in ("en", "de")
    )
    assert [(row["id"], row["side"], row["gold"]) for row in english] == [
        ("m36", "query", ["Q1757"]),
        ("m10", "query", ["Q1757"]),
        ("Q1757", "candidate", []),
        ("Q3", "candidate", []),
    ], "descriptions in languages without mentions belong to English"
    assert english[0]["text"] == "Helsinki: In (the) city, { Helsinki } is still."
    assert english[1]["text"] == "Helsinki: Strike in { Helsinki } ."
    assert english[2]["text"] == "Capital of Finland. Big."
    assert [row["id"] for row in german] == ["m10", "Q2"]


def test_pairs_hold_each_entity_once(read):
    pairs = [
        {"contextual_mention": {"context": context(), "mention": mention(n)}, "entity": entity()} for n in (36, 10)
    ]
    rows = [row for _, row in read("mewslix", lines(*pairs))]
    assert [row["id"] for row in rows] == ["m36", "Q1757", "m10"]


def test_a_mention_across_sentences_keeps_the_whole_text(read):
    crossing = {"example_id": "m", "mention_span": span("still. No", 48), "entity_id": "Q1"}
    (row,) = [row for _, row in read("mewslix", lines({"context": context(), "mentions": [crossing]}))]
    assert row["text"].startswith("still. No: Strike in Helsinki.") and "{ still. No } trams." in row["text"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"context": context(text=""), "mentions": [mention()]}, "line 1 is no mention.*no_text lack the articles"),
        ({"context": context(), "mentions": [mention(11)]}, "is no mention"),
        ({"context": context(), "mentions": [{}]}, "is no mention"),
        ({"context": [], "mentions": []}, "is no mention"),
        ({"mentions": []}, "is no mention"),
        ({"contextual_mention": {"context": context(), "mention": mention()}}, "is no mention"),
    ],
)
def test_bad_mentions(read, row, message):
    with pytest.raises(AdaptxferError, match=message):
        read("mewslix", lines(row))


@pytest.mark.parametrize("row", [{}, {"description_language": "en"}, {**entity(), "sentence_spans": [1]}])
def test_bad_entities(read, row):
    news = lines({"context": context("de"), "mentions": []})
    with pytest.raises(AdaptxferError, match="line 1 is no entity"):
        read("mewslix", news, languages=LANGUAGES, beside={"candidates": lines(row)})
