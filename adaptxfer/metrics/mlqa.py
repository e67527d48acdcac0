"""MLQA: the scores of SQuAD v1.1 with a normaliser per language (Lewis et al. 2020, evaluation script v1)."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from functools import partial

from adaptxfer.errors import nearest, use_error
from adaptxfer.metrics.squad import References, span_scores


def _words(articles: str) -> re.Pattern[str]:
    return re.compile(rf"\b({articles.replace(' ', '|')})\b")


_ARTICLES: dict[str, re.Pattern[str] | None] = {
    "ar": re.compile("ال"),  # inside words too
    "de": _words("ein eine einen einem eines einer der die das den dem des"),
    "en": _words("a an the"),
    "es": _words("un una unos unas el la los las"),
    "hi": None,
    "vi": _words("của là cái chiếc những"),
    "zh": None,
}
_CHINESE = re.compile("([\u4e00-\u9fa5])")


def normalise(text: str, language: str) -> str:
    """Lower case, no punctuation (Unicode and ASCII), no articles of ``language``; zh: every character a token.

    Raises:
        AdaptxferError: if ``language`` is none of ar, de, en, es, hi, vi, zh.
    """
    if language not in _ARTICLES:
        raise use_error(f"MLQA has no normaliser for language {language!r}.", nearest(language, _ARTICLES))
    text = "".join(char for char in text.lower() if not _is_punctuation(char))
    if articles := _ARTICLES[language]:
        text = articles.sub(" ", text)
    if language == "zh":
        text = _CHINESE.sub(r" \1 ", text)
    return " ".join(text.split())


def mlqa_scores(predictions: Mapping[str, str], references: References, language: str) -> dict[str, float]:
    """``exact``, ``f1`` and ``n`` for one language; ``language`` is that of the context, hence of the answers.

    Raises:
        AdaptxferError: if the language is unknown, the ids differ, or a question has no gold answer.
    """
    return span_scores(predictions, references, partial(normalise, language=language))


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")
