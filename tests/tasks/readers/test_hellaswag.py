from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError

ROW = "Baking: A cook: stirs.\n2\na\nb\nc\nd\n"


def test_six_lines_a_row(read):
    first, second = read("hellaswag", ROW * 2)
    assert first == (1, {"activity_label": "Baking", "ctx": "A cook: stirs.", "label": "2", "endings": list("abcd")})
    assert second[0] == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [(ROW + "x\n", "ends at line 7 within a row"), ("no\n" + ROW, "line 1 does not start a row")],
)
def test_a_shifted_or_cut_file(read, content, message):
    with pytest.raises(AdaptxferError, match=message):
        read("hellaswag", content)
