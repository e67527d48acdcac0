"""Features of languages computed from text and from records."""

from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.measure import _cut, alignment_features, retrieval_targets, text_features, texts_of
from adaptxfer.studies.table import NONE, RecordTable, Row
from adaptxfer.tasks.examples import Answer, ClassifyExample, RetrieveExample, SpanExample, TagExample


def rows(target: str, gain: dict[str, float]) -> list[Row]:
    made = []
    for seed in (1, 2):
        for language, more in gain.items():
            made.append(Row(target, language, "accuracy", 50.0, seed, NONE, backbone="mini"))
            made.append(
                Row(target, language, "accuracy", 50.0 + more, seed, "sample_nli", backbone="mini", how="stack")
            )
    return made


CLAIMS, PAIRS = {"en": 1.0, "zh": 2.0, "sw": 0.0}, {"sw": 3.0, "de": -1.0}
TABLE = RecordTable((*rows("sample_claims", CLAIMS), *rows("tatoeba", PAIRS)))


def test_alignment_is_the_gain_on_retrieval() -> None:
    assert retrieval_targets(TABLE) == {"tatoeba"}
    found = alignment_features(TABLE)
    assert found.of_pairs(["sample_nli"], ["sw", "de"])[:, 0, 0].tolist() == [3.0, -1.0]
    with pytest.raises(AdaptxferError, match="no gains on retrieval"):
        alignment_features(TABLE.where(lambda row: row.target_task != "tatoeba"))


def test_fertility_and_overlap_of_sample_text() -> None:
    found = text_features(TABLE, "mini", None, ["fertility", "overlap"])
    assert found.names == ("fertility", "pieces_per_character") and found.pair_names == ("overlap",)
    words, characters = found.of_languages(["en", "zh", "sw", "de"]).T
    assert words[0] > 1 and np.isnan(words[1]) and np.isnan(words[3])  # no spaces in Chinese, no text in German
    assert characters[1] > characters[0] > 0
    english, chinese = found.of_pairs(["sample_nli"], ["en", "zh"])[:, 0, 0]
    assert 0 <= chinese < english <= 1


def test_texts_of_examples() -> None:
    assert list(texts_of(ClassifyExample("1", "a", None, "yes"))) == ["a"]
    assert list(texts_of(TagExample("1", ("a", "b"), ("X", "Y")))) == ["a b"]
    assert list(texts_of(SpanExample("1", "who", "text", (Answer("t", 0),), title="T"))) == ["who", "text"]
    assert list(texts_of(RetrieveExample("1", "query", "t", None, ("1",)))) == ["t"]


def test_counts_per_word_and_character() -> None:
    def tokenizer(text: str, add_special_tokens: bool) -> dict:
        return {"input_ids": list(range(2 * len(text.split())))}

    ids, per_word, per_character = _cut(tokenizer, ["ab cd", "ef"])
    assert len(ids) == 6 and per_word == 2.0 and per_character == 1.0
    assert np.isnan(_cut(tokenizer, ["ไทย ไทย"])[1])
