from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptxfer.data.features import build_features
from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.examples import Answer, SpanExample

WORDS = " ".join(["one", "two", "three", "four"] * 10)
LANGUAGES = "ar de el en es hi ru th tr zh".split()


def ask(context, answer, start, question="two", impossible=False):
    return SpanExample("q", question, context, (Answer(answer, start),) if answer else (), impossible)


def cut_out(features, rows, sequence):
    """What the target of one window cuts out of its context, None for position 0."""
    start, end = (int(features.targets[name][sequence]) for name in ("start", "end"))
    if start <= 0:
        return None
    offset = features.targets["offset"][features.bounds[sequence] : features.bounds[sequence + 1]]
    return rows[features.example[sequence]].context[offset[start, 0] : offset[end, 1]]


def test_one_window_by_hand(mini_tokenizer, text):
    rows = [ask("one two three", "two", 4)]
    found = build_features("span", rows, mini_tokenizer, text())
    one, two, three = (mini_tokenizer(word, add_special_tokens=False).input_ids for word in ("one", "two", "three"))
    assert [len(word) for word in (one, two, three)] == [1, 1, 1]
    assert found.ids.tolist() == [0, *two, 2, 2, *one, *two, *three, 2]
    targets = {name: value.tolist() for name, value in found.targets.items()}
    assert targets == {
        "start": [5],
        "end": [5],
        "context_start": [4],
        "context_end": [7],
        "offset": [[-1, -1]] * 4 + [[0, 3], [4, 7], [8, 13], [-1, -1]],
    }
    assert (len(found), found.notes) == (1, {})


def test_windows_step_as_the_original_scripts(mini_tokenizer, text):
    rows = [ask(WORDS, "four", WORDS.index("four"))]  # 40 pieces; a window holds 20 - 4 - 1 = 15
    found = build_features("span", rows, mini_tokenizer, text(max_length=20, stride=6))
    begins = [int(found.bounds[number] + found.targets["context_start"][number]) for number in range(len(found))]
    places = [found.targets["offset"][begin, 0] for begin in begins]
    starts = [len(WORDS[:place].split()) for place in places]
    assert starts == [0, 6, 12, 18, 24, 30]
    assert (found.targets["context_end"] - found.targets["context_start"]).tolist() == [15, 15, 15, 15, 15, 10]
    assert found.targets["start"].tolist() == [7, 0, 0, 0, 0, 0]
    assert found.notes == {"windows_added": 5}


def test_step_never_skips_pieces(mini_tokenizer, text):
    found = build_features("span", [ask(WORDS, "one", 0)], mini_tokenizer, text(max_length=20, stride=128))
    assert (found.targets["context_end"] - found.targets["context_start"]).tolist() == [15, 15, 10]


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 40), st.integers(1, 60), st.integers(0, 60), st.integers(1, 30))
def test_windows_cover_the_context(mini_tokenizer, text, length, stride, pieces, asked):
    row = ask(" ".join(["one"] * pieces), "", -1, question=" ".join(["two"] * asked))
    options = text(max_length=length, stride=stride, max_question=3)
    found = build_features("span", [row], mini_tokenizer, options)
    room, question = length - 4 - min(asked, 3), min(asked, 3)
    starts, start = [0], 0  # the loop of the original scripts
    while start + room < pieces:
        start += min(room, stride)
        starts.append(start)
    assert found.targets["context_start"].tolist() == [3 + question] * len(starts)
    sizes = [min(room, pieces - start) for start in starts]
    assert (found.targets["context_end"] - found.targets["context_start"]).tolist() == sizes
    assert found.lengths.max() <= length


def test_question_that_leaves_no_room(mini_tokenizer, text):
    with pytest.raises(AdaptxferError, match="leaves no room for context"):
        build_features("span", [ask(WORDS, "one", 0, WORDS)], mini_tokenizer, text(max_length=40))


def test_rows_without_a_usable_answer(mini_tokenizer, text):
    rows = [
        ask("one two", "two", -1),
        ask("one two", "two", 3),
        ask("one two", "", 0),
        ask("one two", "", 0, impossible=True),
        ask("one two", " two ", 3),
        ask("", "two", 0),
    ]
    found = build_features("span", rows, mini_tokenizer, text())
    assert found.targets["start"].tolist() == [-100, -100, -100, 0, 5, -100]
    assert found.notes == {"answers_unplaced": 3}
    trained = build_features("span", rows, mini_tokenizer, text(), training=True)
    assert trained.example.tolist() == [3, 4]
    assert trained.notes == {"answers_unplaced": 3, "examples_dropped": 4}


@pytest.mark.parametrize(
    ("context", "answer", "expected"),
    [
        ("北京大学 is 北京", "大学", "大学"),
        ("a  spaced   answer here", "spaced   answer", "spaced   answer"),
        ("in 20½ days", "½", "20½"),
        ("the caf\u0065\u0301 there", "caf\u0065\u0301", "caf\u0065\u0301"),
        ("\ufeffone\ttwo\nthree", "two", "two"),
        ("🙂 two 🙂🙂", "two", "two"),
        ("a\u3000b", "b", "b"),
    ],
)
def test_awkward_text(mini_tokenizer, text, context, answer, expected):
    rows = [ask("filler first", "", 0), ask(context, answer, context.rindex(answer))]
    found = build_features("span", rows, mini_tokenizer, text())
    assert cut_out(found, rows, 1) in (expected, answer) or answer in cut_out(found, rows, 1)
    assert len(cut_out(found, rows, 1)) <= len(expected) + 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_xquad_answer_is_found_again(xlmr_tokenizer, real, text, language):
    rows = real.span(language)
    assert len(rows) == 1190
    found = build_features("span", rows, xlmr_tokenizer, text())
    whole, exact = set(), 0
    for sequence in range(len(found)):
        if (cut := cut_out(found, rows, sequence)) is not None:
            example = int(found.example[sequence])
            answer = rows[example].answers[0].text.strip()
            assert answer in cut
            exact += cut == answer and example not in whole
            whole.add(example)
    assert len(whole) == 1190  # with the context in windows of 384, every answer is whole in one of them
    assert exact >= 1140, f"{language}: {exact} of 1190 cut exactly"
    assert found.lengths.max() <= 384


def test_training_drops_nothing_of_xquad(xlmr_tokenizer, real, text):
    rows = real.span("el")
    found = build_features("span", rows, xlmr_tokenizer, text(), training=True)
    assert "examples_dropped" not in found.notes
    assert np.array_equal(np.unique(found.example), np.arange(1190))
