"""Features of languages that are computed rather than looked up: how they are cut, what they share, how they align."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from adaptxfer.encoder.load import check_config, locate
from adaptxfer.errors import AdaptxferError, data_error, use_error
from adaptxfer.studies.languages import LanguageFeatures
from adaptxfer.studies.outcomes import paired
from adaptxfer.studies.pairs import APART
from adaptxfer.studies.select.texts import TOKENS, overlap
from adaptxfer.studies.table import NONE, RecordTable
from adaptxfer.tasks.examples import Example
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import available, read_examples
from adaptxfer.tasks.spec import TaskSpec

UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Scripts, by their names in Unicode, that write no spaces between words, so that words cannot be counted."""

EXAMPLES = 200
NO_TEXT = {"id", "label", "title", "side", "gold", "tags", "answers", "impossible"}


def alignment_features(table: RecordTable, folders: Sequence[Path] = ()) -> LanguageFeatures:
    """Gain of each intermediate on retrieval of translations, by language: it needs no labels in the language.

    Args:
        table: records with a retrieval task, which must then not be among the targets that are chosen for.
        folders: of further task files.

    Raises:
        AdaptxferError: if there is none.
    """
    names = retrieval_targets(table, folders)
    found: dict[tuple[str, str], list[float]] = {}
    for pairs in paired(table.where(lambda row: row.target_task in names)) if names else []:
        for label in pairs.labels():
            for language, gain in zip(pairs.languages, pairs.differences(label).mean(1), strict=True):
                found.setdefault((label, language), []).append(float(gain))
    if not found:
        raise use_error(
            "The records have no gains on retrieval.", "Score tatoeba or flores200, or leave alignment out."
        )
    return LanguageFeatures((), {}, ("alignment",), {key: np.array([np.mean(v)]) for key, v in found.items()})


def retrieval_targets(table: RecordTable, folders: Sequence[Path] = ()) -> set[str]:
    """Target tasks of the records that are retrieval."""
    names = {row.target_task for row in table.rows if row.study not in APART}
    return {name for name in names if (task := _known(name, folders)) and task.kind == "retrieve"}


def text_features(
    table: RecordTable, model: str, data_dir: Path | None, wanted: Sequence[str], folders: Sequence[Path] = ()
) -> LanguageFeatures:
    """Fertility of each language and its overlap with the English text of each intermediate, in the model's sub-words.

    ``fertility``: sub-words over words, unknown where no spaces are written; ``pieces_per_character`` is known always.
    ``overlap``: share of the language's sub-words that the intermediate's English training text holds too.

    Args:
        table: records, whose target tasks supply the text of each language.
        model: whose tokenizer cuts the text.
        data_dir: upstream files.
        wanted: fertility, overlap, or both.
        folders: of further task files.

    Raises:
        AdaptxferError: if the model or its data cannot be read.
    """
    tokenizer = _tokenizer(model)
    rows = [row for row in table.rows if row.study not in APART]
    cut = {code: _cut(tokenizer, texts) for code in dict.fromkeys(row.language for row in rows)
           if (texts := _language_texts(rows, code, data_dir, folders))}  # fmt: skip
    if not cut:
        raise data_error("No target task of the records has text here.", "Give --data-dir.")
    features = LanguageFeatures()
    if "fertility" in wanted:
        known = {code: np.array(counts) for code, (_, *counts) in cut.items()}
        features += LanguageFeatures(("fertility", "pieces_per_character"), known)
    if "overlap" in wanted:
        english = {name: ids for name in dict.fromkeys(row.intermediate for row in rows) if name != NONE
                   if (ids := _english(name, tokenizer, data_dir, folders)) is not None}  # fmt: skip
        shared = {(name, code): np.array([overlap(ids, other)]) for name, ids in english.items()
                  for code, (other, *_) in cut.items()}  # fmt: skip
        features += LanguageFeatures((), {}, ("overlap",), shared)
    return features


def _known(name: str, folders: Sequence[Path]) -> TaskSpec | None:
    try:
        return load_task(name, folders)
    except AdaptxferError:  # such as a joint module
        return None


def _tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    folder = locate(model, weights=False)[0]
    check_config(folder)
    return AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False, local_files_only=True)


def _language_texts(rows: Sequence, code: str, data_dir: Path | None, folders: Sequence[Path]) -> list[str]:
    """Text of the first target task that has some in this language."""
    for name in dict.fromkeys(row.target_task for row in rows if row.language == code):
        task = _known(name, folders)
        for split, languages in (available(task, data_dir) if task else {}).items():
            if code in languages and task and split != "train":
                if texts := _texts(task, split, code, data_dir):
                    return texts
    return []


def _texts(task: TaskSpec, split: str, code: str, data_dir: Path | None) -> list[str]:
    """Texts of the first examples; none where they cannot be read, so that the features stay unknown."""
    try:
        examples = read_examples(task, split, code, data_dir, EXAMPLES).items
    except AdaptxferError:
        return []
    return [text for example in examples for text in texts_of(example)]


def _english(name: str, tokenizer: Any, data_dir: Path | None, folders: Sequence[Path]) -> np.ndarray | None:
    """Sub-words of an intermediate's English training text; of several tasks together."""
    parts = []
    for part in name.split("+"):
        task = _known(part, folders)
        texts = _texts(task, "train", "en", data_dir) if task else []
        if not texts:
            return None
        parts.append(_cut(tokenizer, texts)[0])
    return np.concatenate(parts)


def texts_of(example: Example) -> Iterator[str]:
    """The texts of an example in any form; queries and candidates of retrieval alike."""
    for field in fields(example):
        value = getattr(example, field.name)
        if field.name in NO_TEXT or not value:
            continue
        yield " ".join(value) if isinstance(value, tuple) else str(value)


def _cut(tokenizer: Any, texts: Sequence[str]) -> tuple[np.ndarray, float, float]:
    """The first sub-words of texts, sub-words per word and per character."""
    ids: list[int] = []
    words = characters = unspaced = 0
    for text in texts:
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        letters = "".join(text.split())
        words, characters = words + len(text.split()), characters + len(letters)
        unspaced += sum(unicodedata.name(letter, "").startswith(UNSPACED) for letter in letters)
        if len(ids) >= TOKENS:
            break
    per_word = len(ids) / words if words and 2 * unspaced < characters else float("nan")
    return np.array(ids[:TOKENS]), per_word, len(ids) / max(1, characters)
