"""CoNLL-U as XTREME reads it: multi-word tokens are fused into one word with one tag.

The tag of a fused word is that of the syntactic word closest to the root within it; of words as close, the one whose
tag comes first in a list of the language (after XTREME's preprocessing scripts).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from adaptxfer.errors import data_error
from adaptxfer.tasks.readers import Row, Upstream
from adaptxfer.tasks.readers.text import read_lines

PRECEDENCE = {
    "": "VERB NOUN PROPN PRON ADJ NUM ADV INTJ AUX ADP DET PART CCONJ SCONJ X PUNCT".split(),
    "es": "VERB AUX PRON ADP DET".split(),
    "fr": "VERB AUX PRON NOUN ADJ ADV ADP DET PART SCONJ".split(),
    "it": "VERB AUX ADV PRON ADP DET INTJ".split(),
}
"""Which tag wins between words as close to the root; tags that a list leaves out come last, in the order they stand."""

INVISIBLE = str.maketrans("", "", "\u200c \u00a0")
"""Zero-width non-joiners and spaces, which XTREME takes out of words."""


@dataclass(frozen=True)
class Word:
    """A syntactic word: its number, form, tag, and the number of its head (0 for the root)."""

    number: int
    form: str
    tag: str
    head: int


def read_conllu(up: Upstream) -> Iterator[Row]:
    """One row per sentence: words and UPOS tags. The option ``words`` keeps the syntactic words of multi-word tokens.

    Sentences with fewer than two real words (the others are "_" where a treebank ships without its text) are dropped.
    """
    separate = bool(up.source.options.get("words", False))
    for start, lines in _sentences(up):
        words, ranges = _parse(up, lines)
        pairs = [(word.form, word.tag) for word in words] if separate else _fused(words, ranges, up.language)
        pairs = [(form.translate(INVISIBLE) or form, tag) for form, tag in pairs]
        real = sum(form != "_" for form, _ in pairs)
        if real >= 2 or real == len(pairs) > 0:
            yield start, {"words": [form for form, _ in pairs], "tags": [tag for _, tag in pairs]}


def _sentences(up: Upstream) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    lines: list[tuple[int, str]] = []
    for number, line in read_lines(up.path):
        if line.strip() and not line.startswith("#"):
            lines.append((number, line))
        elif not line.strip() and lines:
            yield lines[0][0], lines
            lines = []
    if lines:
        yield lines[0][0], lines


def _parse(up: Upstream, lines: list[tuple[int, str]]) -> tuple[list[Word], dict[int, tuple[int, str]]]:
    """The syntactic words, and multi-word tokens as first number -> (last number, form), without empty nodes."""
    words: list[Word] = []
    ranges: dict[int, tuple[int, str]] = {}
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) != 10:
            raise data_error(f"{up.path}, line {number} has {len(fields)} fields; expected the ten of CoNLL-U.")
        try:
            if "." in fields[0]:
                continue
            if "-" in fields[0]:
                first, last = map(int, fields[0].split("-"))
                ranges[first] = (last, fields[1])
            else:
                head = int(fields[6]) if fields[6] != "_" else 0
                words.append(Word(int(fields[0]), fields[1], fields[3], head))
        except ValueError as error:
            raise data_error(f"{up.path}, line {number} has a bad word number or head.") from error
    return words, ranges


def _fused(words: list[Word], ranges: dict[int, tuple[int, str]], language: str) -> Iterator[tuple[str, str]]:
    heads = {word.number: word.head for word in words}
    last = 0
    for word in words:
        if word.number in ranges:
            last, form = ranges[word.number]
            inside = [part for part in words if word.number <= part.number <= last]
            yield form, _tag(inside, heads, language)
        elif word.number > last:
            yield word.form, word.tag


def _tag(inside: list[Word], heads: dict[int, int], language: str) -> str:
    order = PRECEDENCE.get(language, PRECEDENCE[""])
    rank = {tag: place for place, tag in enumerate(order)}
    return min(inside, key=lambda word: (_depth(word.number, heads), rank.get(word.tag, len(order)))).tag


def _depth(number: int, heads: dict[int, int]) -> int:
    """Steps from a word to the root; a broken tree ends after as many steps as it has words."""
    depth = 0
    while number and depth <= len(heads):
        number, depth = heads.get(number, 0), depth + 1
    return depth
