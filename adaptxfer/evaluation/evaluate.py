"""A trained model against every language of a target task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adaptxfer.data.cache import cached_features
from adaptxfer.data.features import Features
from adaptxfer.errors import AdaptxferError, data_error, nearest, use_error
from adaptxfer.evaluation.predict import predict
from adaptxfer.evaluation.retrieve import embed, retrieve
from adaptxfer.evaluation.score import Record, main_metric, score_records
from adaptxfer.modules.model import AdaptedModel
from adaptxfer.tasks.examples import ChooseExample, ClassifyExample, Example, RetrieveExample, SpanExample, TagExample
from adaptxfer.tasks.load import Examples, available, read_examples
from adaptxfer.tasks.places import splits_of
from adaptxfer.tasks.spec import TaskSpec

ENGLISH = "en"


@dataclass(frozen=True)
class LanguageResult:
    """One language: which split was used, its scores and its records."""

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
    layers: tuple[int, ...] = ()  # retrieval only


def features_of(spec: TaskSpec, examples: Sequence[Example], setting: Setting, training: bool = False) -> Features:
    """Cached features of a task's examples under this setting."""
    limit = min(setting.max_length or spec.text.max_length, spec.text.max_length)
    # windows keep their relative overlap when the base model takes shorter sequences
    text = replace(spec.text, stride=max(1, spec.text.stride * limit // spec.text.max_length))
    return cached_features(spec.kind, examples, setting.tokenizer, text, spec.labels, training, limit)


def is_labelled(example: Example) -> bool:
    """Whether an example can be scored."""
    if isinstance(example, ClassifyExample | ChooseExample):
        return example.label is not None
    if isinstance(example, TagExample):
        return example.tags is not None
    if isinstance(example, SpanExample):
        return bool(example.answers) or example.impossible
    return isinstance(example, RetrieveExample)


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
    here = [code for code in spec.languages if any(code in found.get(name, ()) for name in wanted)]
    if asked:
        for code in asked:
            if code not in spec.languages:
                raise use_error(f"{spec.name} has no language {code!r}.", nearest(code, spec.languages))
            if code not in here:
                raise data_error(
                    f"{spec.name} has no evaluation data in {code!r} here.", "See `adaptxfer tasks check`."
                )
        return [code for code in spec.languages if code in asked]
    if not here:
        where = f"under {data_dir}" if data_dir else "on the Hub"
        raise data_error(f"{spec.name} has no evaluation data {where}.", "See `adaptxfer tasks check`.")
    return here


def read_labelled(
    spec: TaskSpec, language: str, setting: Setting, split: str | None = None
) -> tuple[str, Examples] | None:
    """The test set of a language, or its dev set where the test set has no labels; None if neither can be scored."""
    found = available(spec, setting.data_dir)
    for name in (split,) if split else ("test", "dev"):
        if language in found.get(name, ()):
            examples = read_examples(spec, name, language, setting.data_dir, setting.limit)
            if any(map(is_labelled, examples.items)):
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
    """Score one language after the other.

    Yields:
        a result for each language, or a sentence for one that cannot be scored.
    """
    for language in languages:
        found = read_labelled(spec, language, setting, split)
        if found is None:
            yield f"{spec.name} has no labels in {language} here; it is left out."
            continue
        name, examples = found
        features = features_of(spec, examples.items, setting)
        if spec.kind == "retrieve":
            vectors = embed(model, features, setting.layers, setting.batch_tokens)
            by_layer = {layer: retrieve(examples.items, vectors[layer]) for layer in setting.layers}  # type: ignore[arg-type]
            records = by_layer[setting.layers[0]]
            sweep = {str(layer): score_records(spec, language, r)[main_metric(spec)] for layer, r in by_layer.items()}
            extra = {"layers": sweep} if len(sweep) > 1 else {}
        else:
            records, extra = predict(model, task, spec, examples.items, features, setting.batch_tokens), {}
        scores = {**score_records(spec, language, records), **extra}
        yield LanguageResult(
            language, name, scores, records, examples.fingerprint, {**examples.notes, **features.notes}
        )


def scores_document(spec: TaskSpec, results: Sequence[LanguageResult]) -> dict[str, Any]:
    """The content of ``scores.json``: per language, and the plain means with and without English.

    Raises:
        AdaptxferError: if no language could be scored.
    """
    if not results:
        raise data_error(f"No language of {spec.name} could be scored.", "See `adaptxfer tasks check`.")
    metric = main_metric(spec)
    splits = {result.split for result in results}
    values = {result.language: result.scores[metric] for result in results}
    others = [value for language, value in values.items() if language != ENGLISH]
    return {
        "schema": 1,
        "task": spec.name,
        "metric": metric,
        "split": results[0].split if len(splits) == 1 else "mixed",
        "languages": {r.language: {**r.scores, **({"split": r.split} if len(splits) > 1 else {})} for r in results},
        "mean": sum(values.values()) / len(values),
        "mean_zero_shot": sum(others) / len(others) if others else None,
    }


class DevSet:
    """The English dev examples that select checkpoints: called with a model, it gives the main score.

    Raises:
        AdaptxferError: if the task has no English dev data, or none with labels.
    """

    def __init__(self, spec: TaskSpec, setting: Setting) -> None:
        try:
            examples = read_examples(spec, "dev", ENGLISH, setting.data_dir, setting.limit)
        except AdaptxferError as error:
            raise data_error(f"{spec.name} has no English dev data: {error.message}", error.hint) from error
        if not any(map(is_labelled, examples.items)):
            raise data_error(
                f"The English dev data of {spec.name} has no labels ({examples.source}).",
                "Checkpoints are selected on it, so it needs labels.",
            )
        self.spec, self.setting, self.examples = spec, setting, examples
        self.features = features_of(spec, examples.items, setting)
        self.fingerprint = examples.fingerprint

    def scores(self, model: AdaptedModel) -> dict[str, Any]:
        """All scores of the dev set."""
        task, tokens = self.spec.name, self.setting.batch_tokens
        records = predict(model, task, self.spec, self.examples.items, self.features, tokens)
        return score_records(self.spec, ENGLISH, records)

    def __call__(self, model: AdaptedModel) -> float:
        """The main score."""
        return self.scores(model)[main_metric(self.spec)]

    def guessing(self) -> float | None:
        """The score of always giving the most frequent label (classify) or choice (choose)."""
        if self.spec.kind not in ("classify", "choose"):
            return None
        labels = [example.label for example in self.examples.items]  # type: ignore[union-attr]
        return 100 * max(labels.count(label) for label in set(labels)) / len(labels)
