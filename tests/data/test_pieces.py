from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.data.pieces import special_tokens, tokenise
from adaptxfer.data.ragged import take_rows
from adaptxfer.errors import AdaptxferError

TEXTS = ["Hello world!", "", "ของ ไทย", "Hello world!", " a  b ", "北京大学"]


def test_template_is_xlmr(mini_tokenizer):
    template = special_tokens(mini_tokenizer)
    parts = (template.prefix, template.middle, template.pair_end, template.single_end)
    assert [part.tolist() for part in parts] == [[0], [2, 2], [2], [2]]
    assert template.pair_size == 4


def test_same_pieces_as_the_tokenizer_itself(mini_tokenizer):
    pieces = tokenise(mini_tokenizer, TEXTS, offsets=True)
    expected = mini_tokenizer(TEXTS, add_special_tokens=False, return_offsets_mapping=True)
    for row, ids, offsets in zip(pieces.rows, expected.input_ids, expected.offset_mapping, strict=True):
        place = np.array([row])
        assert take_rows(pieces.ids, pieces.bounds, place).tolist() == ids
        assert take_rows(pieces.offsets, pieces.bounds, place).tolist() == [list(pair) for pair in offsets]


def test_each_text_costs_once(mini_tokenizer):
    pieces = tokenise(mini_tokenizer, TEXTS)
    assert pieces.rows.tolist() == [0, 1, 2, 0, 3, 4]
    assert pieces.offsets is None
    assert len(pieces.lengths) == 5


def test_truncation_left_in_the_tokenizer_does_not_count(mini_tokenizer):
    mini_tokenizer(["one two three"], truncation=True, max_length=3, padding="max_length")
    assert tokenise(mini_tokenizer, ["one two three", "one"]).lengths.tolist() == [3, 1]


def test_real_tokenizer_gives_the_published_ids(xlmr_tokenizer):
    assert tokenise(xlmr_tokenizer, ["Hello world!"]).ids.tolist() == [35378, 8999, 38]
    assert (xlmr_tokenizer.mask_token_id, len(xlmr_tokenizer)) == (250001, 250002)


def test_lone_surrogates_do_not_crash(mini_tokenizer):
    pieces = tokenise(mini_tokenizer, ["bad \ud800 text", "good"], offsets=True)
    assert pieces.offsets.max() == len("bad \ud800 text")


def test_slow_tokenizer_is_refused():
    with pytest.raises(AdaptxferError, match="no fast form"):
        tokenise(object(), ["a"])
