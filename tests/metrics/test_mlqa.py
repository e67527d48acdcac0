from __future__ import annotations

import random
import string
import unicodedata
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.mlqa import mlqa_scores, normalise
from adaptxfer.metrics.squad import f1

VECTORS = [
    ("en", 'The  U.S.A.\'s, an "A-team"!', "usas ateam"),
    ("de", "Der König, die „Krone“", "könig krone"),
    ("es", "¿Los Reyes Católicos?", "reyes católicos"),
    ("ar", "في المدينة القديمة، الرياض", "في مدينة قديمة رياض"),
    ("vi", "của những người là", "người"),
    ("hi", "भारत, दिल्ली।", "भारत दिल्ली"),
    ("zh", "1998年，北京大学(PKU) Campus 3区", "1998 年 北 京 大 学 pku campus 3 区"),
]
ARTICLES = {
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "de": "ein eine einen einem eines einer der die das den dem des",
    "vi": "của là cái chiếc những",
    "hi": "",
    "zh": "",
    "ar": "",
}
WORDS = (
    "die",
    "Der",
    "große",
    "„Krone“",
    "العربية",
    "值 北京",
    "a",
    "the",
    "las",
    "là",
    "ड़ा।",
    "x-y",
    "¿qué?",
    "3区",
    "",
)


def naive_tokens(text: str, language: str) -> list[str]:
    """Tokens by character classes, without regular expressions."""
    kept = [c for c in text.lower() if c not in string.punctuation and unicodedata.category(c)[0] != "P"]
    text = "".join(kept)
    if language == "ar":
        text = text.replace("ال", " ")
    if language == "zh":
        text = "".join(f" {c} " if 0x4E00 <= ord(c) <= 0x9FA5 else c for c in text)
    return [token for token in text.split() if token not in ARTICLES[language].split()]


@pytest.mark.parametrize(("language", "text", "form"), VECTORS)
def test_the_forms_of_the_reference_script(language, text, form):
    assert normalise(text, language) == form


def test_f1_by_language():
    assert f1("北京大学", ["北京"], partial(normalise, language="zh")) == pytest.approx(100 * 2 / 3)
    assert f1("die große Krone", ["Krone"], partial(normalise, language="de")) == pytest.approx(100 * 2 / 3)
    scores = mlqa_scores({"q": "Die Krone"}, {"q": ["Krone"]}, "de")
    assert scores == {"exact": 100.0, "f1": 100.0, "n": 1}
    assert mlqa_scores({"q": "Die Krone"}, {"q": ["Krone"]}, "en")["exact"] == 0.0


def test_the_article_of_arabic_goes_inside_words_too():
    assert normalise("والمدينة", "ar") == "و مدينة"


def test_a_thousand_random_sets_agree_with_a_naive_scorer():
    rng = random.Random(5)
    for _ in range(1000):
        language = rng.choice(tuple(ARTICLES))
        golds = {str(i): [" ".join(rng.choices(WORDS, k=rng.randint(0, 4)))] for i in range(rng.randint(1, 4))}
        said = {key: " ".join(rng.choices(WORDS, k=rng.randint(0, 4))) for key in golds}
        exact = overlap = 0.0
        for key in golds:
            guess, right = naive_tokens(said[key], language), naive_tokens(golds[key][0], language)
            same = sum(min(guess.count(token), right.count(token)) for token in set(guess))
            exact += 100 * (guess == right)
            overlap += 200 * same / (len(guess) + len(right)) if same else 0
        scores = mlqa_scores(said, golds, language)
        assert abs(scores["exact"] - exact / len(golds)) < 1e-9
        assert abs(scores["f1"] - overlap / len(golds)) < 1e-9


@given(st.text(), st.sampled_from(["ar", "hi", "zh"]))
def test_any_text_gives_the_tokens_of_the_naive_rule(text, language):
    assert normalise(text, language).split() == naive_tokens(text, language)


@pytest.mark.parametrize("language", ["fr", "sw", "zh-cn", ""])
def test_another_language_is_an_error(language):
    with pytest.raises(AdaptxferError, match="no normaliser"):
        mlqa_scores({"q": "x"}, {"q": ["x"]}, language)
