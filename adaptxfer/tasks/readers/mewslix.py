"""Mewsli-X as its scripts leave it: mentions in news, pairs of mention and entity from Wikipedia, entity descriptions.

Texts are made as XTREME-R's script does: a mention is named, then shown in its sentence between braces; an entity is
its description. A candidate belongs to the language of its description, or to English if no mention is in that one, so
that every candidate is in one language's part and the pool of all languages is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from adaptxfer.errors import data_error
from adaptxfer.tasks.readers import Row, Upstream
from adaptxfer.tasks.readers.records import read_jsonl

ENGLISH = "en"


def read_mewslix(up: Upstream) -> Iterator[Row]:
    """Mentions of one language as queries, then its candidates; in a file of pairs each entity follows its mention."""
    seen: set[str] = set()
    for number, row in read_jsonl(up):
        try:
            if "contextual_mention" in row:
                pair = row["contextual_mention"]
                yield number, _query(pair["context"], pair["mention"])
                if row["entity"]["entity_id"] not in seen:
                    seen.add(row["entity"]["entity_id"])
                    yield number, _candidate(row["entity"])
            elif row["context"]["language"] == up.language:
                for mention in row["mentions"]:
                    yield number, _query(row["context"], mention)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise data_error(
                f"{up.path}, line {number} is no mention as Mewsli-X has them ({error!r}).",
                "Files whose name says no_text lack the articles; get-mewsli-x.sh puts them in.",
            ) from error
    if "candidates" in up.beside:
        yield from _candidates(replace(up, path=up.beside["candidates"]))


def _candidates(up: Upstream) -> Iterator[Row]:
    for number, row in read_jsonl(up):
        try:
            language = row["description_language"]
            if (language if language in up.source.languages else ENGLISH) == up.language:
                yield number, _candidate(row)
        except (KeyError, TypeError, AttributeError) as error:
            raise data_error(f"{up.path}, line {number} is no entity as Mewsli-X has them ({error!r}).") from error


def _query(context: dict[str, Any], mention: dict[str, Any]) -> dict[str, Any]:
    """The text of a mention: its words, a colon, and its sentence with the words between braces."""
    text, span = context["text"], mention["mention_span"]
    start, end = span["start"], span["end"]
    if text[start:end] != span["text"]:
        raise ValueError(f"the mention {span['text']!r} is not at {start}")
    borders = [(part["start"], part["end"]) for part in context["sentence_spans"]]
    first, last = next(((a, b) for a, b in borders if a <= start and end <= b), (0, len(text)))
    left, right = (part.replace("{", "(").replace("}", ")") for part in (text[first:start], text[end:last]))
    return {
        "id": mention["example_id"],
        "side": "query",
        "text": _plain(f"{span['text']}: {left} {{ {span['text']} }} {right}"),
        "gold": [mention["entity_id"]],
    }


def _candidate(entity: dict[str, Any]) -> dict[str, Any]:
    text = entity["description"]
    sentences = [text[span["start"] : span["end"]] for span in entity["sentence_spans"]]
    return {"id": entity["entity_id"], "side": "candidate", "text": _plain(" ".join(sentences) or text), "gold": []}


def _plain(text: str) -> str:
    return " ".join(text.split())
