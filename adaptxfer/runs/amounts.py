"""How many tokens a stage of a grid reads, from the first examples of its data or from what the task files state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from adaptxfer.encoder.load import locate
from adaptxfer.errors import AdaptxferError
from adaptxfer.evaluation.evaluate import evaluation_languages
from adaptxfer.runs.grid import Node
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.survey import Survey
from adaptxfer.tasks.load import available, read_examples, with_labels
from adaptxfer.tasks.spec import TaskSpec

TOKENS = {"classify": 56, "choose": 400, "tag": 40, "span": 260, "retrieve": 45}
"""Tokens per example where no data can be looked at: NLI pairs, four endings, sentences, windows, sentences."""

SAMPLE = {"train": 200, "test": 30, "dev": 30}
"""Examples that are tokenised to learn how long they are."""


@dataclass(frozen=True)
class Texts:
    """Tokens per unit of work (example, window), units per example, tokens of a sequence; ``seen`` if sampled."""

    per_unit: float
    units: float
    length: float
    seen: bool


class Amounts:
    """Tokens of the nodes of a survey; what several share is looked up once."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self._known: dict[tuple[Any, ...], Any] = {}

    def of(self, node: Node) -> tuple[int | None, float]:
        """Tokens that the stage reads (None: not known) and those of a typical sequence.

        Tokens of the dev sets count as much as their work does in training tokens: a half of a frozen base, a third
        of a full one.

        Raises:
            AdaptxferError: for data that cannot be read.
        """
        return self._scored(node) if node.kind == "evaluate" else self._trained(node)

    def assumed(self) -> list[str]:
        """Names of the tasks whose texts could not be looked at."""
        return sorted({key[1] for key, found in self._known.items() if isinstance(found, Texts) and not found.seen})

    def _trained(self, node: Node) -> tuple[int | None, float]:
        """Tokens of the steps and of the dev sets, and the length of a sequence."""
        steps, settings = self.survey.steps(node), self.survey.settings(node)
        sources = [self.survey.source(node.ask, name) for name in node.names]
        texts = [self.texts(source, "train", "en", node.ask, settings["max_length"]) for source in sources]
        length = sum(text.length for text in texts) / len(texts)
        if steps is None:
            return None, length
        per_unit = sum(text.per_unit for text in texts) / len(texts)
        dev = settings["evaluations"] * sum(
            text.per_unit * text.units * (self.count(source, "dev", "en", node.ask, settings["dev_limit"]) or 0)
            for source, text in zip(sources, texts, strict=True)
        )
        share = 3 if node.ask.method == "full" else 2
        return round(steps * settings["batch_size"] * per_unit + dev / share), length

    def _scored(self, node: Node) -> tuple[int | None, float]:
        """Tokens of all languages, and the length of a sequence."""
        assert node.wish is not None
        task, ask, wish = self.survey.task(node.ask, node.wish.to), node.ask, node.wish
        length = self.survey.settings(node)["max_length"]
        languages = evaluation_languages(task, ask.data_dir, wish.languages, wish.split)
        tests = available(task, ask.data_dir).get("test", ())
        tokens, lengths = 0.0, []
        for code in languages:
            split = wish.split or ("test" if code in tests else "dev")
            number = self.count(task, split, code, ask, wish.eval_limit)
            if number is None:
                return None, 0.0
            texts = self.texts(task, split, code, ask, length)
            tokens += number * texts.units * texts.per_unit
            lengths.append(texts.length)
        return round(tokens), sum(lengths) / len(lengths)

    def count(self, task: TaskSpec, split: str, code: str, ask: Ask, limit: int | None) -> int | None:
        """Examples to score, looked up once."""
        key = ("count", task.name, split, code, ask.data_dir, limit)
        if key not in self._known:
            self._known[key] = self._count(task, split, code, ask, limit)
        return self._known[key]

    def texts(self, source: TaskSpec, split: str, code: str, ask: Ask, length: int) -> Texts:
        """How long the texts are, looked up once."""
        key = ("texts", source.name, split, code, ask.model, ask.revision, ask.data_dir, length)
        if key not in self._known:
            self._known[key] = self._texts(source, split, code, ask, length)
        return self._known[key]

    def _count(self, task: TaskSpec, split: str, code: str, ask: Ask, limit: int | None) -> int | None:
        """Examples to score: those stated, or where the limit or the file says less."""
        stated = task.expected(split, code)
        if stated is None and self._is_here(task, ask):
            stated = len(read_examples(task, split, code, ask.data_dir, limit).items)
        if stated is None or limit is None:
            return stated if stated is not None else limit
        return min(stated, limit)

    def _is_here(self, task: TaskSpec, ask: Ask) -> bool:
        return ask.data_dir is not None or any(place.embedded for place in task.files)

    def _texts(self, source: TaskSpec, split: str, code: str, ask: Ask, length: int) -> Texts:
        """How long the texts are, from the first examples, or by kind where there is no data."""
        usual = TOKENS[source.kind]
        assumed = Texts(usual, 1.0, usual / 4 if source.kind == "choose" else usual, False)
        tokenizer = self._tokenizer(ask)
        if tokenizer is None or not self._is_here(source, ask):
            return assumed
        from adaptxfer.data.features import build_features

        try:
            items = read_examples(source, split, code, ask.data_dir, SAMPLE[split]).items
            labels = with_labels(source, ask.data_dir).labels
        except AdaptxferError:
            return assumed
        found = build_features(source.kind, items, tokenizer, source.text, labels, split == "train", length)
        if not len(found):
            return assumed
        sequences = len(found.example)
        return Texts(len(found.ids) / len(found), len(found) / found.size, len(found.ids) / sequences, True)

    def _tokenizer(self, ask: Ask) -> Any:
        """The base model's tokenizer, or where it is not here that of the embedded encoder."""
        return _load_tokenizer(ask.model, ask.revision)


@cache
def _load_tokenizer(model: str, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    for name, version in ((model, revision), ("mini", None)):
        try:
            folder = locate(name, version, weights=False)[0]
            return AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True)
        except (AdaptxferError, OSError, ValueError):
            continue
    return None
