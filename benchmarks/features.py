"""How fast are features built, against the bare fast tokenizer, and read back from the cache?

    python benchmarks/features.py DATA_DIR TOKENIZER_DIR [--limit 2000]

DATA_DIR holds the tasks' sample data. "bare" is `tokenizer(...)` of transformers on the same texts with truncation (and
windows for span), which is where a collator would start from; both are timed with a tokenizer that is already loaded.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adaptxfer.data.cache import cached_features
from adaptxfer.data.features import build_features
from adaptxfer.tasks.examples import Answer, ChooseExample, ClassifyExample, SpanExample, TagExample

TEXT = SimpleNamespace(max_length=384, max_question=64, stride=128, side="right")


def classify(folder: Path, limit: int) -> tuple[list, tuple, Callable[[Any], Any]]:
    with gzip.open(folder / "intermediate/mnli/train.json.gz", "rt", encoding="utf-8") as handle:
        rows = list(json.load(handle).values())[:limit]
    examples = [ClassifyExample(str(n), row["text_a"], row["text_b"], row["label"]) for n, row in enumerate(rows)]
    first, second = [row.first for row in examples], [row.second for row in examples]
    labels = tuple(sorted({row["label"] for row in rows}))
    return examples, labels, lambda tokenizer: tokenizer(first, second, truncation="longest_first", max_length=384)


def choose(folder: Path, limit: int) -> tuple[list, tuple, Callable[[Any], Any]]:
    with gzip.open(folder / "intermediate/cosmosqa/train.csv.gz", "rt", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))[:limit]
    examples = [
        ChooseExample(
            row["id"],
            f"{row['context']} {row['question']}",
            tuple(row[f"answer{number}"] for number in range(4)),
            int(row["label"]),
        )
        for row in rows
    ]
    first = [row.context for row in examples for _ in row.choices]
    second = [choice for row in examples for choice in row.choices]
    return examples, (), lambda tokenizer: tokenizer(first, second, truncation="longest_first", max_length=384)


def tag(folder: Path, limit: int) -> tuple[list, tuple, Callable[[Any], Any]]:
    with gzip.open(folder / "target/udpos/train-en.tsv.gz", "rt", encoding="utf-8") as handle:
        blocks = [block.splitlines() for block in handle.read().strip().split("\n\n")[:limit]]
    pairs = [[line.split("\t") for line in block] for block in blocks]
    examples = [
        TagExample(str(n), tuple(word for word, _ in block), tuple(name for _, name in block))
        for n, block in enumerate(pairs)
    ]
    labels = tuple(sorted({name for row in examples for name in row.tags or ()}))
    words = [list(row.words) for row in examples]

    def bare(tokenizer: Any) -> Any:
        found = tokenizer(words, is_split_into_words=True, truncation=True, max_length=384)
        return [found.word_ids(row) for row in range(len(words))]

    return examples, labels, bare


def span(folder: Path, limit: int) -> tuple[list, tuple, Callable[[Any], Any]]:
    with gzip.open(folder / "intermediate/squad_v1.1/train-v1.1.json.gz", "rt", encoding="utf-8") as handle:
        articles = json.load(handle)["data"]
    examples = [
        SpanExample(
            question["id"],
            question["question"],
            paragraph["context"],
            tuple(Answer(answer["text"], answer["answer_start"]) for answer in question["answers"]),
        )
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ][:limit]
    first, second = [row.question for row in examples], [row.context for row in examples]

    def bare(tokenizer: Any) -> Any:
        windows = {"truncation": "only_second", "max_length": 384, "stride": 128, "return_overflowing_tokens": True}
        return tokenizer(first, second, return_offsets_mapping=True, **windows)

    return examples, (), bare


def best(work: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """Shortest of a few runs in seconds, and the result."""
    found, result = float("inf"), None
    for _ in range(times):
        start = time.perf_counter()
        result = work()
        found = min(found, time.perf_counter() - start)
    return found, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("tokenizer_dir", type=Path)
    parser.add_argument("--limit", type=int, default=4000, help="examples per kind")
    options = parser.parse_args()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer_dir)
    tokenizer(["warm up"] * 100)
    line = "{:>9} {:>9} {:>10} {:>8} {:>8} {:>9} {:>8} {:>8}".format
    print(line("kind", "examples", "tokens", "bare s", "built s", "tokens/s", "cached s", "times"))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ADAPTXFER_CACHE"] = cache
        for read in (classify, choose, tag, span):
            kind = read.__name__
            examples, labels, bare = read(options.data_dir, options.limit)
            bare_time, _ = best(lambda work=bare: work(tokenizer))
            asked = (kind, examples, tokenizer, TEXT, labels, True)
            built_time, features = best(lambda arguments=asked: build_features(*arguments))
            cached_features(*asked)
            cached_time, _ = best(lambda arguments=asked: cached_features(*arguments), 5)
            tokens = len(features.ids)
            print(
                line(
                    kind,
                    len(examples),
                    tokens,
                    f"{bare_time:.3f}",
                    f"{built_time:.3f}",
                    f"{tokens / built_time:.0f}",
                    f"{cached_time:.4f}",
                    f"{built_time / cached_time:.0f}",
                )
            )


if __name__ == "__main__":
    main()
