from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptxfer.data.features import build_features
from adaptxfer.data.ragged import borders
from adaptxfer.data.tags import split
from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.examples import TagExample

UPOS = tuple("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X _".split())


def words_of(features, example):
    """Numbers and labels of the words of one example, in packed order."""
    places = np.concatenate(
        [
            np.arange(features.bounds[row], features.bounds[row + 1])
            for row in np.flatnonzero(features.example == example)
        ]
    )
    places = places[features.targets["word"][places] >= 0]
    return features.targets["word"][places].tolist(), features.targets["label"][places].tolist()


def test_by_hand(mini_tokenizer, text):
    rows = [TagExample("a", ("one", "\u200b", "unbelievably"), ("NUM", "X", "ADV")), TagExample("b", (), ())]
    found = build_features("tag", rows, mini_tokenizer, text(), UPOS)
    one, long = (mini_tokenizer(word, add_special_tokens=False).input_ids for word in ("one", "unbelievably"))
    assert len(long) > 1
    more = [-100] * (len(long) - 1)
    assert found.ids.tolist() == [0, *one, 3, *long, 2, 0, 2]
    assert found.targets["label"].tolist() == [-100, 8, 16, 2, *more, -100, -100, -100]
    assert found.targets["word"].tolist() == [-1, 0, 1, 2, *([-1] * len(more)), -1, -1, -1]
    assert found.notes == {"unknown_words": 1}


@pytest.mark.parametrize(("length", "unknown"), [(200, 1), (128, 1), (64, 2)])
def test_words_of_too_many_pieces_become_unknown(mini_tokenizer, text, length, unknown):
    rows = [TagExample("a", ("q0" * 500, "q0" * 45, "one"), ("X", "X", "NUM"))]
    assert 64 - 3 < len(mini_tokenizer.tokenize("q0" * 45)) <= 125 < len(mini_tokenizer.tokenize("q0" * 500))
    found = build_features("tag", rows, mini_tokenizer, text(max_length=length), UPOS)
    assert found.notes["unknown_words"] == unknown
    assert words_of(found, 0) == ([0, 1, 2], [16, 16, 8])
    assert found.lengths.max() <= length


@given(st.lists(st.lists(st.integers(1, 6), max_size=12), max_size=5), st.integers(6, 12))
def test_split_is_greedy(lists, room):
    chunks, owner = split(
        borders(np.array([len(row) for row in lists], np.int64)),
        np.array([size for row in lists for size in row], np.int64),
        room,
    )
    expected = []
    for number, row in enumerate(lists):
        held, first = 0, True
        for size in row:
            if held + size > room:
                expected.append((number, held))
                held = 0
            held, first = held + size, False
        expected.append((number, held))
        assert first == (not row)
    sizes = np.array([size for row in lists for size in row], np.int64)
    found = [
        (int(sentence), int(sizes[a:b].sum())) for sentence, a, b in zip(owner, chunks[:-1], chunks[1:], strict=True)
    ]
    assert found == expected


def test_tags_and_words_must_match(mini_tokenizer, text):
    with pytest.raises(AdaptxferError, match="Sentence s3 has 2 words and 1 tags"):
        build_features("tag", [TagExample("s3", ("a", "b"), ("X",))], mini_tokenizer, text(), UPOS)


def test_unlabelled(mini_tokenizer, text):
    rows = [TagExample("a", ("one", "two"), None), TagExample("b", ("one",), ("NUM",))]
    found = build_features("tag", rows, mini_tokenizer, text(), UPOS)
    assert words_of(found, 0) == ([0, 1], [-100, -100])
    trained = build_features("tag", rows, mini_tokenizer, text(), UPOS, training=True)
    assert (trained.example.tolist(), trained.notes) == ([1], {"unlabelled_dropped": 1})


def test_word_by_word_equals_split_into_words(mini_tokenizer, real, text):
    rows = real.tag("en") + real.tag("th") + real.tag("ar")
    found = build_features("tag", rows, mini_tokenizer, text(max_length=512), UPOS)
    expected = mini_tokenizer([list(row.words) for row in rows], is_split_into_words=True)
    complete = [number for number, row in enumerate(rows) if len(set(expected.word_ids(number))) == len(row.words) + 1]
    assert len(complete) > 290
    for number in complete:
        place = slice(found.bounds[number], found.bounds[number + 1])
        assert found.ids[place].tolist() == expected.input_ids[number]
        words = expected.word_ids(number)
        first = [word if word is not None and word != words[i - 1] else -1 for i, word in enumerate(words)]
        assert found.targets["word"][place].tolist() == first


@pytest.mark.parametrize("length", [32, 128])
def test_every_real_word_is_scored_once(xlmr_tokenizer, real, real_languages, text, length):
    languages = real_languages("target/udpos/test-{}.tsv.gz")
    assert len(languages) > 20
    rows = [row for language in languages for row in real.tag(language, 60)]
    found = build_features("tag", rows, xlmr_tokenizer, text(max_length=length), UPOS)
    places = found.targets["word"] >= 0
    assert places.sum() == sum(len(row.words) for row in rows)
    assert [UPOS[number] for number in found.targets["label"][places]] == [tag for row in rows for tag in row.tags]
    assert found.targets["word"][places].tolist() == [number for row in rows for number in range(len(row.words))]
    assert np.all(found.targets["label"][~places] == -100)
    assert found.lengths.max() <= length - 1
    assert (np.diff(found.example) >= 0).all()
    if length == 32:
        assert found.notes["sentences_split"] > 100
