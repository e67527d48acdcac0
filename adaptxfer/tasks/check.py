"""``tasks check``: what of a task is there, how many rows it has, and whether every row can be read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.examples import Example, RetrieveExample
from adaptxfer.tasks.load import available, read_examples
from adaptxfer.tasks.places import find_files, languages_of, splits_of
from adaptxfer.tasks.spec import TaskSpec

STATES = ("ok", "sample", "more", "found", "missing", "error")


@dataclass(frozen=True)
class Finding:
    """One split in one language.

    ``state`` is "ok" (read, as many rows as upstream has or unknown), "sample" (fewer), "more", "found" (there, not
    read), "missing", or "error" (``problem`` says which). ``rows`` counts rows before any is left out.
    """

    split: str
    language: str
    state: str
    source: str = ""
    rows: int | None = None
    expected: int | None = None
    notes: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    @property
    def count(self) -> str:
        """The rows in words: "5,010", or "600 of 5,010"."""
        if self.rows is None:
            return ""
        return f"{self.rows:,}" if self.expected in (None, self.rows) else f"{self.rows:,} of {self.expected:,}"


def check_task(spec: TaskSpec, data_dir: Path | None = None, read_rows: bool = True) -> list[Finding]:
    """Check every split and language that the task file offers, in its order. Never fails: faults are findings.

    Without ``data_dir`` and with ``read_rows`` every split is fetched from the Hub. In training data, a language that
    is not there is only reported if it is English or the task's only one.
    """
    try:
        here = available(spec, data_dir)
        offered = [(split, code) for split in splits_of(spec) for code in languages_of(spec, split)]
    except AdaptxferError as error:
        return [Finding("", "", "error", problem=str(error))]
    if spec.pool:
        offered = [(split, code) for split, codes in here.items() for code in codes]
    findings = []
    for split, language in offered:
        if language in here.get(split, ()):
            findings.append(_look(spec, split, language, data_dir, read_rows))
        elif _is_wanted(spec, split, language):
            findings.append(Finding(split, language, "missing", expected=spec.expected(split, language)))
    return findings


def _is_wanted(spec: TaskSpec, split: str, language: str) -> bool:
    """False for what nobody would miss: extra languages, training data other than English, what never was."""
    if spec.expected(split, language) == 0:
        return False
    if split == "train":
        return language == "en" or spec.languages == (language,)
    return language in spec.languages


def _look(spec: TaskSpec, split: str, language: str, data_dir: Path | None, read_rows: bool) -> Finding:
    expected = spec.expected(split, language)
    if not read_rows:
        found = None if spec.pool else find_files(spec, split, language, data_dir)
        source = ", ".join(map(str, found.paths())) if found else ""
        return Finding(split, language, "found", source, expected=expected)
    try:
        examples = read_examples(spec, split, language, data_dir)
    except AdaptxferError as error:
        return Finding(split, language, "error", expected=expected, problem=str(error))
    left_out = sum(count for name, count in examples.notes.items() if name.startswith("dropped"))
    rows = _count(examples.items) + left_out
    state = "ok" if expected in (None, rows) else "sample" if rows < expected else "more"
    notes = dict(examples.notes)
    if twice := _repeated(examples.items):
        notes["repeated_ids"] = twice
    return Finding(split, language, state, examples.source, rows, expected, notes)


def _count(items: list[Example]) -> int:
    """Rows as upstream counts them: of a retrieval task, its queries."""
    return sum(not isinstance(item, RetrieveExample) or item.side == "query" for item in items)


def _repeated(items: list[Example]) -> int:
    """How many examples carry an id that another one has already; their predictions could not be told apart."""
    ids = Counter((getattr(item, "side", ""), item.id) for item in items)
    return sum(count - 1 for count in ids.values())
