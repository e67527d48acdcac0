from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError


def test_sentences_with_and_without_tags(read):
    rows = read("tags", "\nA\tX\nb c\tY\n\n\nd\ne\n")
    assert rows == [(2, {"words": ["A", "b c"], "tags": ["X", "Y"]}), (6, {"words": ["d", "e"], "tags": None})]


def test_space_between_token_and_tag(read):
    assert read("tags", "A O\n", options={"separator": "space"}) == [(1, {"words": ["A"], "tags": ["O"]})]


def test_a_token_may_be_a_space_mark(read):
    assert read("tags", "\u00a0\tX\n") == [(1, {"words": ["\u00a0"], "tags": ["X"]})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A\tX\tZ\n", "line 1 has 3 fields; expected a token, a tab, a tag"),
        ("A\tX\nb\n", "sentence at line 1 has 2 tokens and 1 tags"),
    ],
)
def test_bad_lines(read, content, message):
    with pytest.raises(AdaptxferError, match=message):
        read("tags", content)
