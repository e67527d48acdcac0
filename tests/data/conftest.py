"""Readers of a few real files, kept apart from the package's own so that a fault there cannot hide one here."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace

import pytest

from adaptxfer.tasks.examples import (
    Answer,
    ChooseExample,
    ClassifyExample,
    RetrieveExample,
    SpanExample,
    TagExample,
)


@pytest.fixture(scope="session")
def text():
    """Text options as a task file gives them; ``text(stride=8)`` changes some."""

    def make(**changes):
        return SimpleNamespace(**{"max_length": 384, "max_question": 64, "stride": 128, "side": "right"} | changes)

    return make


@pytest.fixture(scope="session")
def real(data_dir):
    """``real.span("th")`` and so on: real examples of each kind."""

    def lines(path: str) -> list[str]:
        return gzip.decompress((data_dir / path).read_bytes()).decode("utf-8-sig").split("\n")

    def classify(language: str, limit: int = 100):
        rows = [line.rstrip("\r").split("\t") for line in lines(f"target/xnli/dev-{language}.tsv.gz")[:limit]]
        return [ClassifyExample(str(number), *row) for number, row in enumerate(rows)]

    def choose(limit: int = 60):
        rows = [json.loads(line) for line in lines("intermediate/hellaswag/hellaswag_val.jsonl.gz")[:limit]]
        return [
            ChooseExample(
                str(row["ind"]),
                row["ctx_a"],
                tuple(f"{row['ctx_b']} {ending}" for ending in row["endings"]),
                row["label"],
            )
            for row in rows
        ]

    def tag(language: str, limit: int = 100):
        blocks = "\n".join(lines(f"target/udpos/test-{language}.tsv.gz")).strip().split("\n\n")[:limit]
        rows = [[line.split("\t") for line in block.split("\n")] for block in blocks]
        return [
            TagExample(str(number), tuple(word for word, _ in row), tuple(name for _, name in row))
            for number, row in enumerate(rows)
        ]

    def span(language: str):
        articles = json.loads("\n".join(lines(f"target/xquad/xquad.{language}.json.gz")))["data"]
        return [
            SpanExample(
                question["id"],
                question["question"],
                paragraph["context"],
                tuple(Answer(answer["text"], answer["answer_start"]) for answer in question["answers"]),
            )
            for article in articles
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]

    def retrieve(code: str, limit: int = 100):
        pair = f"target/tatoeba/v1/tatoeba.{code}-eng"
        sides = [("query", "eng"), ("candidate", code)]
        return [
            RetrieveExample(f"{side}{number}", side, line)
            for side, part in sides
            for number, line in enumerate(lines(f"{pair}.{part}.gz")[:limit])
        ]

    return SimpleNamespace(classify=classify, choose=choose, tag=tag, span=span, retrieve=retrieve)


@pytest.fixture(scope="session")
def real_languages(data_dir):
    """``real_languages("target/xquad/xquad.{}.json.gz")``: the language codes that are there."""

    def find(pattern: str) -> list[str]:
        head, tail = (data_dir / pattern).name.split("{}")
        names = [path.name for path in (data_dir / pattern).parent.iterdir()]
        return sorted(name[len(head) : -len(tail)] for name in names if name.startswith(head) and name.endswith(tail))

    return find
