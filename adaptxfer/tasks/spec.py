"""What a task file says, as frozen dataclasses; ``parse.py`` builds them and ``find.py`` looks for the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SPLITS = ("train", "dev", "test")
UNSEEN = "unseen"
"""The tag of words whose own tag does not occur in the training data of a task with open labels."""
METHODS = ("bottleneck", "lora", "full", "fuse")
ROLES = ("intermediate", "target")


@dataclass(frozen=True)
class TextOptions:
    """How text is cut into model inputs. Lengths count sub-words, special tokens included."""

    max_length: int = 256
    truncation: str = "longest_first"
    side: str = "right"  # the end that loses sub-words when a text is too long
    stride: int = 128  # span: step between windows, as the original scripts count it (not the overlap)
    max_question: int = 64
    max_answer: int = 30
    n_best: int = 20


@dataclass(frozen=True)
class TrainOptions:
    """Training defaults; ``sources`` says for every number where it comes from."""

    task: str | None = None  # the task file that supplies the English training data (None: this one)
    epochs: int = 3
    batch_size: int = 32
    learning_rate: Mapping[str, float] = field(default_factory=lambda: {"bottleneck": 1e-4, "lora": 1e-4, "full": 1e-5})
    warmup: float = 0.1  # share of all steps
    weight_decay: float = 0.01
    clip: float = 1.0
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricOptions:
    """The metric that counts, those shown beside it, and how languages are averaged."""

    main: str = "accuracy"
    others: tuple[str, ...] = ()
    average: str = "mean"
    normaliser: str | None = None


@dataclass(frozen=True)
class RetrieveOptions:
    """Sentence vectors: ``layer`` maps the number of encoder layers to the hidden state (0 is the embedding output)."""

    pooling: str = "mean"
    layer: Mapping[str, int] = field(default_factory=lambda: {"24": 14, "12": 8})


@dataclass(frozen=True)
class Rows:
    """How rows of one upstream place become examples; shared by the Hub and by files."""

    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # our split -> names upstream, read in order
    columns: Mapping[str, Any] = field(default_factory=dict)  # field of the normal form -> template
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # upstream column -> its value -> ours
    where: Mapping[str, str] = field(default_factory=dict)  # upstream column -> pattern a row must match
    codes: Mapping[str, str] = field(default_factory=dict)  # our language code -> upstream's
    unlabelled: tuple[str, ...] = ("", "-", "-1")
    languages: tuple[str, ...] = ()  # the languages found here, if not all of the task


@dataclass(frozen=True)
class KnownBad:
    """A configuration that must not be used, and what to use in its place."""

    reason: str
    instead: str


@dataclass(frozen=True)
class HubSource(Rows):
    """A data set on the Hub. ``verified`` is true only for an id whose content was counted."""

    id: str = ""
    config: str | None = None
    candidates: str | None = None  # retrieval: the configuration of the candidates' side, if it is another one
    revision: str | None = None
    verified: bool = False
    caution: str = ""  # how it differs from the benchmark; said whenever it is read
    known_bad: Mapping[str, KnownBad] = field(default_factory=dict)


@dataclass(frozen=True)
class FileSource(Rows):
    """The same data as upstream ships it in files."""

    reader: str = "jsonl"
    paths: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # columns of a file without header; "label?" may be absent
    beside: Mapping[str, str] = field(default_factory=dict)  # companion files in the same folder; "gold?" may be absent
    options: Mapping[str, Any] = field(default_factory=dict)
    embedded: bool = False
    here: bool = False  # paths are relative to the task file, whatever the data folder


@dataclass(frozen=True)
class TaskSpec:
    """One task: what its examples are, where they come from, how they are trained and scored."""

    name: str
    kind: str
    role: tuple[str, ...]
    languages: tuple[str, ...]
    origin: Path
    digest: str  # content hash of the file, for cache keys and manifests
    version: int = 1
    about: str = ""
    paper: str = ""
    licence: str = ""
    labels: tuple[str, ...] = ()
    open_labels: bool = False  # the tags are those of the training data; see ``load.with_labels``
    pool: tuple[str, ...] = ()  # names of tasks whose examples are concatenated
    text: TextOptions = TextOptions()
    train: TrainOptions = TrainOptions()
    metric: MetricOptions = MetricOptions()
    retrieve: RetrieveOptions = RetrieveOptions()
    hub: tuple[HubSource, ...] = ()
    files: tuple[FileSource, ...] = ()
    export: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    expect: Mapping[str, int | Mapping[str, int]] = field(default_factory=dict)

    def expected(self, split: str, language: str) -> int | None:
        """The number of rows that the whole upstream split has, if the task file states it; 0 if there is no such."""
        rows = self.expect.get(split)
        return rows if isinstance(rows, int) or rows is None else rows.get(language)
