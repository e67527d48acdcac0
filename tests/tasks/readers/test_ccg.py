from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError

TREE = "(<T S[dcl] 0 2> (<L NP PRP PRP He NP>) (<L S[dcl]\\NP VBZ VBZ ran S[dcl]\\NP>) )"


def test_derivations(read):
    rows = read("ccg", f"ID=wsj_0001.1 PARSER=GOLD NUMPARSE=1\n{TREE}\n")
    assert rows == [(2, {"id": "wsj_0001.1", "words": ["He", "ran"], "tags": ["NP", "S[dcl]\\NP"]})]


@pytest.mark.parametrize("content", [TREE, "ID=a\nno tree\n", "ID=a\n(<L NP PRP PRP NP>)\n"])
def test_anything_else_is_refused(read, content):
    with pytest.raises(AdaptxferError, match="not a CCGbank derivation"):
        read("ccg", content)
