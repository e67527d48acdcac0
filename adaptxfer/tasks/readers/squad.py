"""SQuAD JSON, versions 1 and 2, and what shares its layout: XQuAD, MLQA, TyDiQA-GoldP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adaptxfer.errors import data_error
from adaptxfer.tasks.readers import Row, Upstream
from adaptxfer.tasks.readers.records import parse_json


def read_squad(up: Upstream) -> Iterator[Row]:
    """One row per question: id, question, context, title, answers, impossible. Rows are numbered by question."""
    number = 0
    for place, article, paragraph in paragraphs(up):
        for question in part(up, paragraph, "qas", list, place):
            number += 1
            here = f"{place}, question {number}"
            if not isinstance(question, dict):
                raise data_error(f"{up.path}: {here} is not an object with a question and its answers.")
            yield (
                number,
                {
                    "id": str(part(up, question, "id", (str, int), here)),
                    "question": part(up, question, "question", str, here),
                    "context": part(up, paragraph, "context", str, place),
                    "title": article.get("title", ""),
                    "answers": question.get("answers"),
                    "impossible": question.get("is_impossible", False),
                },
            )


def paragraphs(up: Upstream) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every paragraph with a sentence part that says where it stands, and the article around it."""
    data = parse_json(up)
    if not isinstance(data, dict):
        raise data_error(f'{up.path} is not SQuAD JSON; expected an object with "data".')
    for number, article in enumerate(part(up, data, "data", list, "the top"), 1):
        place = f"article {number}"
        for count, paragraph in enumerate(part(up, article, "paragraphs", list, place), 1):
            yield f"{place}, paragraph {count}", article, paragraph


def part(up: Upstream, holder: Any, key: str, kind: type | tuple[type, ...], place: str) -> Any:
    """``holder[key]`` if it has the expected type.

    Raises:
        AdaptxferError: if it does not.
    """
    value = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(value, kind):
        raise data_error(f"{up.path}: {place} has no valid {key!r}.", "Expected the SQuAD JSON layout.")
    return value
