"""The peer of `benchmarks.end_to_end`: what a user of `adapters` and the Trainer of transformers would write.

    python -m benchmarks.stock TASK PADDING --model DIR --data-dir DIR --out DIR --limit N --batch-size B ...

PADDING is dynamic (each batch to its longest sequence), grouped (the same with ``group_by_length``) or max. Nothing of
adaptxfer is imported. The last line of the output is one JSON object: seconds inside ``train``, steps, real tokens.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import adapters
import torch
from adapters.composition import Stack
from datasets import Dataset
from transformers import (
    AutoTokenizer,
    DataCollatorForMultipleChoice,
    DataCollatorWithPadding,
    TrainingArguments,
)

LABELS = ("entailment", "neutral", "contradiction")


class Task(NamedTuple):
    """Tokenised rows, the head they need, and what else is scored."""

    train: Dataset
    dev: dict[str, Dataset]
    label_names: list[str]
    collator: Any


def opened(path: Path) -> Any:
    return gzip.open(path.with_name(path.name + ".gz"), "rt", encoding="utf-8", newline="")


def hellaswag(tokenizer: Any, options: argparse.Namespace) -> Task:
    folder = options.data_dir / "intermediate" / "hellaswag"

    def read(name: str, limit: int) -> Dataset:
        with opened(folder / name) as file:
            return Dataset.from_list([json.loads(line) for line, _ in zip(file, range(limit), strict=False)])

    def tokenise(rows: dict[str, list]) -> dict[str, list]:
        first = [context for context in rows["ctx_a"] for _ in range(4)]
        pairs = zip(rows["ctx_b"], rows["endings"], strict=True)
        second = [f"{start} {ending}" for start, endings in pairs for ending in endings]
        found = tokenizer(first, second, truncation="longest_first", max_length=options.max_length)
        nested = {key: [part[n : n + 4] for n in range(0, len(part), 4)] for key, part in found.items()}
        return {**nested, "labels": rows["label"]}

    names = ("derived_train.jsonl", "hellaswag_val.jsonl")
    train, dev = (read(name, limit) for name, limit in zip(names, (options.limit, options.dev_limit), strict=True))
    train, dev = (part.map(tokenise, batched=True, remove_columns=part.column_names) for part in (train, dev))
    collator = DataCollatorForMultipleChoice(tokenizer, **padding(options))
    return Task(train, {"dev": dev}, ["labels"], collator)


def squad_v1(tokenizer: Any, options: argparse.Namespace) -> Task:
    folder = options.data_dir / "intermediate" / "squad_v1.1"

    def read(name: str, limit: int) -> Dataset:
        with opened(folder / name) as file:
            articles = json.load(file)["data"]
        rows = [
            {"question": qa["question"], "context": paragraph["context"], "answer": qa["answers"][0]}
            for article in articles
            for paragraph in article["paragraphs"]
            for qa in paragraph["qas"]
        ]
        return Dataset.from_list(rows[:limit])

    def tokenise(rows: dict[str, list]) -> dict[str, list]:
        # the stride of fast tokenizers is the overlap; so windows advance by about 128, as in the original scripts
        overlap = options.max_length - 128 - 24  # the latter for a question and the special tokens
        limits = {"truncation": "only_second", "max_length": options.max_length, "stride": overlap}
        windows = {"return_overflowing_tokens": True, "return_offsets_mapping": True}
        found = tokenizer([q.strip() for q in rows["question"]], rows["context"], **limits, **windows)
        origins, offsets = found.pop("overflow_to_sample_mapping"), found.pop("offset_mapping")
        places = [
            answer_place(offsets[number], found.sequence_ids(number), rows["answer"][origin])
            for number, origin in enumerate(origins)
        ]
        starts, ends = zip(*places, strict=True)
        return {**found, "start_positions": list(starts), "end_positions": list(ends)}

    names = ("train-v1.1.json", "dev-v1.1.json")
    train, dev = (read(name, limit) for name, limit in zip(names, (options.limit, options.dev_limit), strict=True))
    train, dev = (part.map(tokenise, batched=True, remove_columns=part.column_names) for part in (train, dev))
    collator = DataCollatorWithPadding(tokenizer, **padding(options))
    return Task(train, {"dev": dev}, ["start_positions", "end_positions"], collator)


def answer_place(offsets: list, parts: list, answer: dict[str, Any]) -> tuple[int, int]:
    """First and last token of an answer in one window, or (0, 0) where it is not in it."""
    start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
    inside = [n for n, part in enumerate(parts) if part == 1]
    if offsets[inside[0]][0] > start or offsets[inside[-1]][1] < end:
        return 0, 0
    first = max(n for n in inside if offsets[n][0] <= start)
    return first, min(n for n in inside if offsets[n][1] >= end)


def xnli(tokenizer: Any, options: argparse.Namespace) -> Task:
    def tokenise(rows: dict[str, list]) -> dict[str, list]:
        found = tokenizer(rows["first"], rows["second"], truncation=True, max_length=options.max_length)
        return {**found, "labels": [LABELS.index(label) for label in rows["label"]]}

    def made(rows: list[tuple[str, str, str]]) -> Dataset:
        data = Dataset.from_list([dict(zip(("first", "second", "label"), row, strict=True)) for row in rows])
        return data.map(tokenise, batched=True, remove_columns=data.column_names)

    def english(name: str, limit: int) -> Dataset:
        with opened(options.data_dir / "intermediate" / "mnli" / f"{name}.json") as file:
            rows = list(json.load(file).values())[:limit]
        return made([(row["text_a"], row["text_b"], row["label"]) for row in rows])

    def test(language: str) -> Dataset:
        with opened(options.data_dir / "target" / "xnli" / f"test-{language}.tsv") as file:
            pairs = [row[:2] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
        return made([(*pair, label) for pair, label in zip(pairs, gold, strict=True)][: options.eval_limit])

    gold = (options.data_dir / "target" / "xnli" / "test-labels.txt").read_text(encoding="utf-8").split()
    train = english("train", options.limit)
    dev = {"dev": english("dev", options.dev_limit), **{code: test(code) for code in options.languages.split(",")}}
    return Task(train, dev, ["labels"], DataCollatorWithPadding(tokenizer, **padding(options)))


def padding(options: argparse.Namespace) -> dict[str, Any]:
    return {"padding": "max_length", "max_length": options.max_length} if options.padding == "max" else {}


def build_model(task: str, options: argparse.Namespace) -> Any:
    model: Any = adapters.AutoAdapterModel.from_pretrained(options.model, dtype=torch.float32)
    if task == "hellaswag":
        model.add_multiple_choice_head(task, num_choices=4)
    elif task == "squad_v1":
        model.add_qa_head(task)
    else:
        model.add_classification_head(task, num_labels=3)
    model.add_adapter(task, config="seq_bn")
    model.train_adapter(task)
    if options.adapter:
        below = model.load_adapter(str(options.adapter), with_head=False, use_safetensors=True)
        model.set_active_adapters(Stack(below, task))
        model.active_head = task
    return model


def with_lengths(data: Dataset) -> Dataset:
    """A column ``length`` for ``group_by_length``; of nested rows the longest counts."""
    nested = isinstance(data[0]["input_ids"][0], list)
    return data.map(lambda row: {"length": max(map(len, row["input_ids"])) if nested else len(row["input_ids"])})


def without_lengths(collator: Any) -> Any:
    return lambda rows: collator([{key: value for key, value in row.items() if key != "length"} for row in rows])


def real_tokens(data: Dataset) -> int:
    nested = isinstance(data[0]["input_ids"][0], list)
    return sum(sum(map(len, ids)) if nested else len(ids) for ids in data["input_ids"])


def arguments(options: argparse.Namespace, label_names: list[str]) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(options.out), num_train_epochs=options.epochs, seed=1, use_cpu=not torch.cuda.is_available(),
        per_device_train_batch_size=options.batch_size, per_device_eval_batch_size=32, learning_rate=3e-3,
        warmup_ratio=0.1, weight_decay=0.01, max_grad_norm=1.0, lr_scheduler_type="linear", optim="adamw_torch",
        group_by_length=options.padding == "grouped", label_names=label_names, remove_unused_columns=False,
        save_strategy="no", eval_strategy="no", logging_strategy="epoch", report_to="none", disable_tqdm=True,
        dataloader_pin_memory=False, bf16=options.precision == "bf16",
    )  # fmt: skip


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("hellaswag", "squad_v1", "xnli"))
    parser.add_argument("padding", choices=("dynamic", "grouped", "max"))
    for name in ("--model", "--data-dir", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--adapter", type=Path, help="frozen adapter below the trained one")
    parser.add_argument("--languages", default="en")
    for name, value in {"limit": 320, "dev-limit": 100, "eval-limit": 100, "batch-size": 32, "max-length": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--epochs", type=float, default=1.0)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    task = {"hellaswag": hellaswag, "squad_v1": squad_v1, "xnli": xnli}[options.task](tokenizer, options)
    model = build_model(options.task, options)
    trainer = adapters.AdapterTrainer(
        model=model,
        args=arguments(options, task.label_names),
        train_dataset=with_lengths(task.train),
        data_collator=without_lengths(task.collator),
    )
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    losses = {name: trainer.evaluate(data)["eval_loss"] for name, data in task.dev.items()}
    model.save_adapter(str(options.out / "adapter"), options.task, use_safetensors=True)
    tokens = int(real_tokens(task.train) * options.epochs)
    print(json.dumps({"seconds": seconds, "steps": trainer.state.global_step, "tokens": tokens, "losses": losses}))


if __name__ == "__main__":
    main()
