from __future__ import annotations

from adaptxfer.tasks.convert import paired, questions_to_pairs, sentence_spans, unique_candidates
from adaptxfer.tasks.examples import Answer, RetrieveExample, SpanExample
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import read_examples

TEXT = 'The mill stood for years. It burnt in 1901! "Was it rebuilt?" Nobody knows.'


def question(key: str, answer: str, text: str = TEXT) -> SpanExample:
    return SpanExample(key, f"{key}?", text, (Answer(answer, text.index(answer)),))


def test_sentences_of_a_paragraph():
    found = [TEXT[start:end] for start, end in sentence_spans(TEXT)]
    assert found == ["The mill stood for years.", "It burnt in 1901!", '"Was it rebuilt?', "Nobody knows."]
    assert sentence_spans("") == []
    assert [TEXT[a:b] for a, b in sentence_spans("no stop here")] == [TEXT[:12]]


def test_a_question_is_followed_by_the_sentence_that_holds_its_answer():
    pairs = questions_to_pairs([question("when", "1901"), question("across", "years. It"), question("who", "Nobody")])
    assert [(e.side, e.text) for e in pairs] == [
        ("query", "when?"), ("candidate", "It burnt in 1901!"), ("query", "who?"), ("candidate", "Nobody knows."),
    ]  # fmt: skip
    assert all(e.context == TEXT for e in pairs if e.side == "candidate")
    assert questions_to_pairs([SpanExample("none", "?", TEXT, (), impossible=True)]) == []


def test_one_sentence_that_answers_two_questions_is_one_candidate():
    found = unique_candidates(
        questions_to_pairs([question("a", "1901"), question("b", "burnt"), question("c", "mill")])
    )
    assert [e.id for e in found if e.side == "query"] == ["a", "b", "c"]
    assert [set(e.gold) for e in found if e.side == "candidate"] == [{"a", "b"}, {"c"}]


def test_queries_are_paired_with_their_first_right_candidate():
    rows = [
        RetrieveExample("q1", "query", "x", gold=("gone", "c2")),
        RetrieveExample("q2", "query", "y", gold=("gone",)),
        RetrieveExample("c2", "candidate", "z"),
    ]
    assert [e.id for e in paired(rows)] == ["q1", "c2"]


def test_most_real_answers_lie_in_one_sentence(data_dir):
    examples = read_examples(load_task("squad_v1"), "train", "en", data_dir).items
    pairs = questions_to_pairs(examples)
    assert len(pairs) == 2 * sum(e.side == "query" for e in pairs) > 2 * 0.97 * len(examples)
    answers = {e.id: e.answers[0].text for e in examples}
    assert all(answers[query.id] in candidate.text for query, candidate in zip(pairs[::2], pairs[1::2], strict=True))
