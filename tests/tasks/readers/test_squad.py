from __future__ import annotations

import json

import pytest

from adaptxfer.errors import AdaptxferError

QUESTION = {"id": "q1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]}


def document(question=QUESTION, **paragraph):
    return json.dumps({"data": [{"paragraphs": [{"context": "Ada was here.", "qas": [question], **paragraph}]}]})


def test_rows(read):
    [(number, row)] = read("squad", document())
    assert number == 1
    assert row == {
        "id": "q1",
        "question": "Who?",
        "context": "Ada was here.",
        "title": "",
        "answers": [{"text": "Ada", "answer_start": 0}],
        "impossible": False,
    }


def test_version_two(read):
    [(_, row)] = read("squad", document({"id": "q", "question": "?", "answers": [], "is_impossible": True}))
    assert (row["answers"], row["impossible"]) == ([], True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not SQuAD JSON"),
        ("{}", "the top has no valid 'data'"),
        ('{"data": [3]}', "article 1 has no valid 'paragraphs'"),
        ('{"data": [{"paragraphs": [{"context": "x"}]}]}', "article 1, paragraph 1 has no valid 'qas'"),
        (document("x"), "question 1 is not an object"),
        (document({"id": "q"}), "question 1 has no valid 'question'"),
        (document({"question": "?"}), "question 1 has no valid 'id'"),
        (document(context=None), "paragraph 1 has no valid 'context'"),
        (document()[:40], "not valid JSON"),
    ],
)
def test_bad_documents(read, content, message):
    with pytest.raises(AdaptxferError, match=message):
        read("squad", content)
