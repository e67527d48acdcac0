"""A trained model against every language of a target task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from adaptxfer.console import console
from adaptxfer.data.cache import cached_features
from adaptxfer.data.features import Features
from adaptxfer.errors import AdaptxferError, data_error, nearest, use_error
from adaptxfer.evaluation.certainty import certainty_scores, is_inference, representation_contrast
from adaptxfer.evaluation.mining import bucc_records, mine_pairs, score_mined
from adaptxfer.evaluation.predict import predict
from adaptxfer.evaluation.ranking import rank_pool
from adaptxfer.evaluation.retrieve import embed, embed_with_head, retrieve
from adaptxfer.evaluation.score import Record, main_metric, score_records
from adaptxfer.modules.model import AdaptedModel
from adaptxfer.tasks.examples import Example, RetrieveExample
from adaptxfer.tasks.keep import is_labelled
from adaptxfer.tasks.load import Examples, NoExamples, available, read_examples
from adaptxfer.tasks.places import splits_of
from adaptxfer.tasks.spec import TaskSpec

ENGLISH = "en"


@dataclass(frozen=True)
class LanguageResult:
    """One language: which split was used, its scores (none of the main metric without labels) and its records."""

    language: str
    split: str
    scores: Mapping[str, Any]
    records: list[Record]
    fingerprint: str
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What evaluation needs besides the model."""

    tokenizer: Any
    data_dir: Path | None = None
    batch_tokens: int = 16384
    max_length: int | None = None
    limit: int | None = None
    layers: tuple[int, ...] = ()  # where sentences are embedded: retrieval, representation contrast


def features_of(spec: TaskSpec, examples: Sequence[Example], setting: Setting, training: bool = False) -> Features:
    """Cached features of a task's examples under this setting."""
    limit = min(setting.max_length or spec.text.max_length, spec.text.max_length)
    # a base model that takes shorter sequences gets windows that overlap by half: the task's step would leave gaps
    text = spec.text if limit == spec.text.max_length else replace(spec.text, stride=max(1, limit // 2))
    with console().waiting(f"{spec.name}: encoding {len(examples):,} examples"):
        return cached_features(spec.kind, examples, setting.tokenizer, text, spec.labels, training, limit)


def has_labels(examples: Sequence[Example]) -> bool:
    """Whether there is something to score: labels, answers, or for retrieval who belongs to whom."""
    return any(bool(item.gold) if isinstance(item, RetrieveExample) else is_labelled(item) for item in examples)


def evaluation_languages(
    spec: TaskSpec, data_dir: Path | None, asked: Sequence[str] | None, split: str | None
) -> list[str]:
    """The languages to score, in the task's order.

    Raises:
        AdaptxferError: for a language or split the task does not have, or that has no data here, or if there is none.
    """
    found = available(spec, data_dir)
    if split is not None and (split == "train" or split not in splits_of(spec)):
        raise use_error(f"{spec.name} has no evaluation split {split!r}.", "Give --split dev or --split test.")
    wanted = (split,) if split else ("test", "dev")
    offered = list(dict.fromkeys([*spec.languages, *(code for name in wanted for code in found.get(name, ()))]))
    here = [code for code in offered if any(code in found.get(name, ()) for name in wanted)]
    if asked:
        for code in asked:
            if code not in offered:
                raise use_error(f"{spec.name} has no language {code!r}.", nearest(code, offered))
            if code not in here:
                raise data_error(
                    f"{spec.name} has no evaluation data in {code!r} here.", "See `adaptxfer tasks check`."
                )
        return [code for code in offered if code in asked]
    here = [code for code in here if code in spec.languages]  # others, such as cross-language pairs, must be asked for
    if not here:
        where = f"under {data_dir}" if data_dir else "on the Hub"
        raise data_error(f"{spec.name} has no evaluation data {where}.", "See `adaptxfer tasks check`.")
    return here


def read_split(
    spec: TaskSpec, language: str, setting: Setting, split: str | None = None
) -> tuple[str, Examples] | None:
    """The test set of a language, or its dev set where the test set has no labels; None if neither can be scored.

    A split that is asked for by name is read as it is: without labels it is predicted, not scored.
    """
    found = available(spec, setting.data_dir)
    for name in (split,) if split else ("test", "dev"):
        if language in found.get(name, ()):
            with suppress(NoExamples):  # of a file that several languages share
                examples = read_examples(spec, name, language, setting.data_dir, setting.limit)
                if split or has_labels(examples.items):
                    return name, examples
    return None


def evaluate_languages(
    model: AdaptedModel,
    task: str,
    spec: TaskSpec,
    languages: Sequence[str],
    setting: Setting,
    split: str | None = None,
) -> Iterator[LanguageResult | str]:
    """Score one language after the other (all together where candidates of all languages are ranked in one pool).

    Yields:
        a result for each language, or a sentence for one that can be neither scored nor predicted.
    """
    pooled: dict[str, tuple[str, Examples]] = {}
    for language in languages:
        found = read_split(spec, language, setting, split)
        if found is None:
            yield f"{spec.name} has no labels in {language} here; it is left out."
        elif spec.metric.main == "map20":
            pooled[language] = found
        else:
            yield _score(model, task, spec, language, *found, setting)
    if pooled:
        yield from _ranked(model, task, spec, _whole_pool(spec, pooled, setting), setting)


def _score(
    model: AdaptedModel, task: str, spec: TaskSpec, language: str, split: str, examples: Examples, setting: Setting
) -> LanguageResult:
    features = features_of(spec, examples.items, setting)
    notes = {**examples.notes, **features.notes}
    if spec.metric.main == "bucc":
        records, scores = _mined(model, spec, language, split, examples.items, features, setting)
    elif spec.kind == "retrieve":
        records, scores = _retrieved(model, spec, language, examples.items, features, setting)
    else:
        records = predict(model, task, spec, examples.items, features, setting.batch_tokens)
        scores = score_records(spec, language, records) if has_labels(examples.items) else {}
    return LanguageResult(language, split, scores, records, examples.fingerprint, notes)


def _retrieved(
    model: AdaptedModel, spec: TaskSpec, language: str, examples: Sequence[Any], features: Features, setting: Setting
) -> tuple[list[Record], dict[str, Any]]:
    """Nearest neighbours at the first layer asked for; with several layers their scores beside it."""
    vectors = embed(model, features, setting.layers, setting.batch_tokens)
    by_layer = {layer: retrieve(examples, vectors[layer]) for layer in setting.layers}
    records = by_layer[setting.layers[0]]
    sweep = {str(layer): score_records(spec, language, r)[main_metric(spec)] for layer, r in by_layer.items()}
    return records, score_records(spec, language, records) | ({"layers": sweep} if len(sweep) > 1 else {})


def _mined(
    model: AdaptedModel,
    spec: TaskSpec,
    language: str,
    split: str,
    examples: Sequence[Any],
    features: Features,
    setting: Setting,
) -> tuple[list[Record], dict[str, Any]]:
    """Mined pairs, and F1 at the threshold that is best on the dev set of the language."""
    layer, tokens = setting.layers[0], setting.batch_tokens
    pairs, gold = mine_pairs(examples, embed(model, features, [layer], tokens)[layer])
    dev = None
    if split != "dev" and language in available(spec, setting.data_dir).get("dev", ()):
        tuning = read_examples(spec, "dev", language, setting.data_dir).items
        dev = mine_pairs(tuning, embed(model, features_of(spec, tuning, setting), [layer], tokens)[layer])  # type: ignore[arg-type]
    return bucc_records(pairs, gold), score_mined(pairs, gold, dev)


def _ranked(
    model: AdaptedModel, task: str, spec: TaskSpec, found: Mapping[str, tuple[str, Examples]], setting: Setting
) -> Iterator[LanguageResult]:
    """Queries of every language against the candidates of all; languages without queries give candidates only."""
    examples: dict[str, Any] = {language: part.items for language, (_, part) in found.items()}
    features = {language: features_of(spec, items, setting) for language, items in examples.items()}
    vectors = {language: _vectors(model, task, part, setting) for language, part in features.items()}
    for language, records in rank_pool(examples, vectors).items():
        split, part = found[language]
        if not records:
            continue
        yield LanguageResult(
            language, split, score_records(spec, language, records), records, part.fingerprint, dict(part.notes)
        )


def _whole_pool(
    spec: TaskSpec, asked: Mapping[str, tuple[str, Examples]], setting: Setting
) -> dict[str, tuple[str, Examples]]:
    """The languages asked for, and the candidates of all others: the pool does not depend on what is asked."""
    pool = dict(asked)
    for split in dict.fromkeys(split for split, _ in asked.values()):
        for language in available(spec, setting.data_dir).get(split, ()):
            if language in pool:
                continue
            with suppress(NoExamples):
                part = read_examples(spec, split, language, setting.data_dir, setting.limit)
                items = [item for item in part.items if isinstance(item, RetrieveExample) and item.side == "candidate"]
                pool[language] = split, replace(part, items=items)
    return pool


def _vectors(model: AdaptedModel, task: str, features: Features, setting: Setting) -> Any:
    """Vectors of a trained dual encoder, or mean-pooled hidden states where nothing was trained."""
    if task in model.heads:
        return embed_with_head(model, task, features, setting.batch_tokens)
    layer = setting.layers[0]
    return embed(model, features, [layer], setting.batch_tokens)[layer]


def scores_document(spec: TaskSpec, results: Sequence[LanguageResult]) -> dict[str, Any]:
    """The content of ``scores.json``: per language, and the plain means with and without English.

    Languages without labels stand apart under ``unscored``.

    Raises:
        AdaptxferError: if no language could be scored or predicted.
    """
    if not results:
        raise data_error(f"No language of {spec.name} could be scored.", "See `adaptxfer tasks check`.")
    metric = main_metric(spec)
    splits = {result.split for result in results}
    scored = [result for result in results if metric in result.scores]
    entries = {
        r.language: {"n": len(r.records), **r.scores, **({"split": r.split} if len(splits) > 1 else {})}
        for r in results
    }
    values = {result.language: result.scores[metric] for result in scored}
    others = [value for language, value in values.items() if language != ENGLISH]
    unscored = {code: entry for code, entry in entries.items() if code not in values}
    return {
        "schema": 1,
        "task": spec.name,
        "metric": metric,
        "split": results[0].split if len(splits) == 1 else "mixed",
        "languages": {code: entries[code] for code in values},
        "mean": sum(values.values()) / len(values) if values else None,
        "mean_zero_shot": sum(others) / len(others) if others else None,
        **({"unscored": unscored} if unscored else {}),
    }


class DevSet:
    """The English dev examples that select checkpoints: called with a model, it gives the main score.

    Args:
        spec: kind, labels, lengths and metric of the examples.
        setting: how they are read and cut.
        source: the task whose files are read, if it is another one.
        convert: makes examples of another kind out of them (retrieval from question answering).

    Raises:
        AdaptxferError: if the task has no English dev data, or none with labels.
    """

    def __init__(
        self,
        spec: TaskSpec,
        setting: Setting,
        source: TaskSpec | None = None,
        convert: Callable[[list[Any]], list[Any]] = list,
    ) -> None:
        try:
            examples = read_examples(source or spec, "dev", ENGLISH, setting.data_dir, setting.limit)
        except AdaptxferError as error:
            raise data_error(f"{spec.name} has no English dev data: {error.message}", error.hint) from error
        if not has_labels(examples.items):
            raise data_error(
                f"The English dev data of {spec.name} has no labels ({examples.source}).",
                "Checkpoints are selected on it, so it needs labels.",
            )
        examples = replace(examples, items=convert(examples.items))
        self.spec, self.setting, self.examples = spec, setting, examples
        self.features = features_of(spec, examples.items, setting)
        self.fingerprint = examples.fingerprint

    def scores(self, model: AdaptedModel) -> dict[str, Any]:
        """All scores of the dev set."""
        task, tokens = self.spec.name, self.setting.batch_tokens
        if self.spec.kind == "retrieve":
            vectors = embed_with_head(model, task, self.features, tokens)
            records = rank_pool({ENGLISH: self.examples.items}, {ENGLISH: vectors})[ENGLISH]  # type: ignore[dict-item]
            return score_records(self.spec, ENGLISH, records)
        records = predict(model, task, self.spec, self.examples.items, self.features, tokens)
        return {**certainty_scores(self.spec, records), **score_records(self.spec, ENGLISH, records)}

    def __call__(self, model: AdaptedModel) -> float:
        """The main score."""
        return self.scores(model)[main_metric(self.spec)]

    def contrast(self, model: AdaptedModel) -> dict[str, float]:
        """``representation_contrast`` where the task is one of inference and the setting has a layer, else nothing.

        Takes another pass, over single sentences, so it is not among the ``scores`` that select checkpoints.
        """
        if not is_inference(self.spec) or not self.setting.layers:
            return {}
        layer, tokens = self.setting.layers[0], self.setting.batch_tokens

        def vectors(sentences: Sequence[Any]) -> Any:
            features = features_of(replace(self.spec, kind="retrieve"), sentences, self.setting)
            return embed(model, features, [layer], tokens)[layer].numpy()

        value = representation_contrast(self.examples.items, vectors)  # type: ignore[arg-type]
        return {"representation_contrast": value} if isfinite(value) else {}

    def guessing(self) -> float | None:
        """The score of always giving the most frequent label (classify) or choice (choose)."""
        if self.spec.kind not in ("classify", "choose"):
            return None
        labels = [example.label for example in self.examples.items]  # type: ignore[union-attr]
        return 100 * max(labels.count(label) for label in set(labels)) / len(labels)
