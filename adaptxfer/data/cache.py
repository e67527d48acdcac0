"""Features on disk, so that the same data is tokenised once. Plain arrays in an npz file; nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import logging
import marshal
import weakref
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from adaptxfer.data.features import ALIGNED, VERSION, Features, build_features
from adaptxfer.data.pieces import backend
from adaptxfer.errors import AdaptxferError
from adaptxfer.files import atomic_file, cache_dir, content_hash, remove_temporaries
from adaptxfer.tasks.examples import Example

log = logging.getLogger(__name__)
OPTIONS = ("max_length", "side", "stride", "max_question")
STALE = 24 * 3600.0
"""Seconds after which an unfinished file of the cache belongs to nobody."""
_tokenizers: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_told: set[str] = set()


def cached_features(
    kind: str,
    examples: Sequence[Example],
    tokenizer: Any,
    text: Any,
    labels: Sequence[str] = (),
    training: bool = False,
    max_length: int | None = None,
) -> Features:
    """``build_features`` with the same arguments, answered from disk if the same was asked before.

    A file that is damaged is built again. Where nothing can be written the features are built and not kept. Both are
    told once in the log.

    Raises:
        AdaptxferError: as ``build_features``.
    """
    asked = (kind, examples, tokenizer, text, labels, training, max_length)
    path = cache_dir() / "features" / f"{cache_key(*asked)}.npz"
    found = load(path)
    if found is None:
        remove_temporaries(path.parent, STALE)
        found = build_features(*asked)
        save(path, found)
    return found


def cache_key(
    kind: str,
    examples: Sequence[Example],
    tokenizer: Any,
    text: Any,
    labels: Sequence[str] = (),
    training: bool = False,
    max_length: int | None = None,
) -> str:
    """A hash of all that the features depend on: examples, tokenizer, its library, options and our own version."""
    import tokenizers

    options = {name: getattr(text, name, None) for name in OPTIONS} | {"limit": max_length, "training": training}
    parts = [VERSION, tokenizers.__version__, kind, options, list(labels), tokenizer_hash(tokenizer)]
    return content_hash([*parts, examples_hash(examples)], length=40)


def examples_hash(examples: Sequence[Example]) -> str:
    """SHA-256 of the examples' contents."""
    if not examples:
        return ""
    fields = type(examples[0]).__slots__
    content: list[Any] = list(map(attrgetter(*(name for name in fields if name != "answers")), examples))
    if "answers" in fields:
        content += [[(answer.text, answer.start) for answer in row.answers] for row in examples]  # type: ignore[union-attr]
    # marshal is many times faster than repr or JSON; version 0 writes equal values as equal bytes.
    return hashlib.sha256(marshal.dumps(content, 0)).hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 of everything the fast tokenizer is made of; computed once per tokenizer."""
    if tokenizer not in _tokenizers:
        _tokenizers[tokenizer] = hashlib.sha256(backend(tokenizer).to_str().encode()).hexdigest()
    return _tokenizers[tokenizer]


def save(path: Path, features: Features) -> None:
    """Write features, whole or not at all; a folder that cannot be written or a full disk is no error."""
    about = json.dumps({"kind": features.kind, "size": features.size, "notes": features.notes})
    arrays = {name: getattr(features, name) for name in ("ids", "bounds", "units", "example")}
    arrays |= {f"target_{name}": value for name, value in features.targets.items()}
    try:
        with atomic_file(path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, about=np.frombuffer(about.encode(), np.uint8), **arrays)
    except AdaptxferError as error:
        _tell(f"Features are not kept for the next start: {error.message}")


def load(path: Path) -> Features | None:
    """Read features; None if there are none or the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes())
        targets = {name: arrays.pop(f"target_{name}") for name in ALIGNED[about["kind"]]}
        features = Features(about["kind"], **arrays, size=about["size"], targets=targets, notes=about["notes"])
        _verify(features)
    except FileNotFoundError:
        return None
    except Exception as error:  # what numpy and zipfile raise on damaged bytes has no common class
        _tell(f"The cached features {path.name} cannot be read ({error}); they are built again.")
        return None
    return features


def _verify(features: Features) -> None:
    tokens, sequences = len(features.ids), len(features.example)
    ends = (features.bounds[0], features.bounds[-1], features.units[0], features.units[-1])
    if ends != (0, tokens, 0, sequences) or len(features.bounds) != sequences + 1:
        raise ValueError("its parts do not fit together")
    counts = {"token": tokens, "sequence": sequences, "unit": len(features)}
    for name, per in ALIGNED[features.kind].items():
        if len(features.targets[name]) != counts[per]:
            raise ValueError(f"{name} has another length")


def _tell(message: str) -> None:
    if message not in _told:
        _told.add(message)
        log.warning(message)
