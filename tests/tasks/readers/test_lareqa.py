from __future__ import annotations

import json

import pytest

from adaptxfer.errors import AdaptxferError


def document(breaks, start=12):
    question = {"id": "q", "question": "Who?", "answers": [{"text": "Bob", "answer_start": start}]}
    paragraph = {"context": "Ann is one. Bob is two.", "qas": [question], "sentence_breaks": breaks}
    return json.dumps({"data": [{"paragraphs": [paragraph]}]})


def test_questions_and_sentences(read):
    rows = [row for _, row in read("lareqa", document([[0, 11], [12, 23]]), language="de")]
    assert [(row["id"], row["side"], row["text"], row["gold"]) for row in rows] == [
        ("q", "query", "Who?", ["de:0.1"]),
        ("de:0.0", "candidate", "Ann is one.", []),
        ("de:0.1", "candidate", "Bob is two.", ["q"]),
    ]
    assert rows[1]["context"] == "Ann is one. Bob is two."


@pytest.mark.parametrize("breaks", [[[0, 99]], [[5, 5]], ["x"], None])
def test_bad_breaks(read, breaks):
    with pytest.raises(AdaptxferError, match=r"sentence.breaks"):
        read("lareqa", document(breaks))
