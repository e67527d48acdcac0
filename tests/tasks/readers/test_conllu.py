from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError


def conllu(*lines: str) -> str:
    """Lines of number, form, tag, head as ten columns; a blank line after them."""
    rows = []
    for line in lines:
        number, form, tag, head = line.split("|")
        rows.append("\t".join([number, form, "_", tag, "_", "_", head, "_", "_", "_"]))
    return "# text\n" + "\n".join(rows) + "\n\n"


DAS = conllu("1-2|dámelo|_|_", "1|da|VERB|0", "2|melo|PRON|1", "3|.|PUNCT|1")


def test_a_fused_word_takes_the_tag_of_the_word_closest_to_the_root(read):
    assert read("conllu", DAS) == [(2, {"words": ["dámelo", "."], "tags": ["VERB", "PUNCT"]})]
    zum = conllu("1-2|zum|_|_", "1|zu|ADP|3", "2|dem|DET|3", "3|Haus|NOUN|0")
    assert read("conllu", zum) == [(2, {"words": ["zum", "Haus"], "tags": ["ADP", "NOUN"]})]
    deep = conllu("1-2|am|_|_", "1|a|ADP|2", "2|m|DET|3", "3|x|NOUN|0")
    assert read("conllu", deep)[0][1]["tags"] == ["DET", "NOUN"]


def test_words_as_close_are_decided_by_the_language(read):
    tie = conllu("1-2|du|_|_", "1|de|PRON|3", "2|le|AUX|3", "3|x|NOUN|0")
    assert read("conllu", tie)[0][1]["tags"][0] == "PRON"
    assert read("conllu", tie, language="es")[0][1]["tags"][0] == "AUX"
    assert read("conllu", tie, language="it")[0][1]["tags"][0] == "AUX"


def test_the_option_words_keeps_syntactic_words(read):
    rows = read("conllu", DAS, options={"words": True})
    assert rows == [(2, {"words": ["da", "melo", "."], "tags": ["VERB", "PRON", "PUNCT"]})]


def test_empty_nodes_and_invisible_characters(read):
    text = conllu("1|a\u200cb c|NOUN|0", "1.1|gone|VERB|_", "2|x|X|1")
    assert read("conllu", text) == [(2, {"words": ["abc", "x"], "tags": ["NOUN", "X"]})]


def test_sentences_without_their_text_are_dropped(read):
    hidden = conllu("1|_|NOUN|0", "2|_|VERB|1", "3|.|PUNCT|1")
    partly = conllu("1|_|NOUN|0", "2|x|VERB|1", "3|.|PUNCT|1")
    short = conllu("1|Ja|INTJ|0")
    assert [row["words"] for _, row in read("conllu", hidden + partly + short)] == [["_", "x", "."], ["Ja"]]


def test_a_broken_tree_does_not_loop(read):
    loop = conllu("1-2|ab|_|_", "1|a|NOUN|2", "2|b|VERB|1")
    assert read("conllu", loop)[0][1]["tags"] == ["VERB"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("1\tx\n", "line 1 has 2 fields"), (conllu("x|a|NOUN|0"), "bad word number"), (conllu("1|a|NOUN|y"), "head")],
)
def test_bad_lines(read, content, message):
    with pytest.raises(AdaptxferError, match=message):
        read("conllu", content)


def test_real_german_with_multi_word_tokens(data_dir):
    from adaptxfer.tasks.readers import Upstream
    from adaptxfer.tasks.readers.conllu import read_conllu
    from adaptxfer.tasks.spec import FileSource

    path = data_dir / "target/ud/UD_German-GSD/de_gsd-ud-test.conllu.gz"
    fused = list(read_conllu(Upstream(path, FileSource(), "de")))
    apart = list(read_conllu(Upstream(path, FileSource(options={"words": True}), "de")))
    assert len(fused) == len(apart) == 120
    shorter = [(a, b) for (_, a), (_, b) in zip(fused, apart, strict=True) if len(a["words"]) < len(b["words"])]
    assert len(shorter) > 10
    assert any("im" in row["words"] for row, _ in shorter)
    assert not any("_" in row["tags"] for _, row in fused)
