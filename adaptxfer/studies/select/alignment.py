"""How a module moves languages towards English: retrieval of translations with it and without it, no labels needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adaptxfer.errors import use_error
from adaptxfer.evaluation.evaluate import Setting, features_of, read_split
from adaptxfer.evaluation.retrieve import embed, retrieve
from adaptxfer.modules.model import AdaptedModel
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import available
from adaptxfer.tasks.spec import TaskSpec

PARALLEL = ("flores200", "tatoeba")
"""Where translations are looked for, in this order."""


@dataclass(frozen=True)
class Parallel:
    """Sentences with their English translations, by language."""

    task: TaskSpec
    languages: tuple[str, ...]
    setting: Setting

    def accuracy(self, model: AdaptedModel) -> float:
        """Share of sentences whose nearest English neighbour is their translation, in points; mean over languages."""
        layer = self.setting.layers[0]
        shares = []
        for language in self.languages:
            found = read_split(self.task, language, self.setting)
            if found is None:
                continue
            examples = found[1].items
            features = features_of(self.task, examples, self.setting)
            records = retrieve(examples, embed(model, features, [layer], self.setting.batch_tokens)[layer])  # type: ignore[arg-type]
            shares.append(100 * float(np.mean([record["correct"] for record in records])))
        return float(np.mean(shares))


def find_parallel(
    languages: Sequence[str], setting: Setting, hint: int | None, layers: int, name: str | None = None,
    folders: Sequence[Path] = (),
) -> Parallel | None:  # fmt: skip
    """Translations for some of ``languages``, or None if there are none here.

    Args:
        languages: what the target task is in; English is left out.
        setting: data folder and limit.
        hint: layer to embed with, as the base model recommends.
        layers: of the encoder.
        name: of a retrieval task; None tries those in ``PARALLEL``.
        folders: of task files.

    Raises:
        AdaptxferError: if ``name`` is no retrieval task.
    """
    if name is None and setting.data_dir is None:  # nothing is fetched that was not asked for
        return None
    for candidate in (name,) if name else PARALLEL:
        task = load_task(candidate, folders)
        if task.kind != "retrieve":
            raise use_error(f"--parallel {candidate} is of kind {task.kind}.", "Give a retrieval task.")
        here = available(task, setting.data_dir)
        codes = [code for code in languages if code != "en" and any(code in found for found in here.values())]
        if codes:
            usual = task.retrieve.layer.get(str(layers), layers) if hint is None else hint
            return Parallel(task, tuple(codes), replace(setting, layers=(usual,)))
    return None
