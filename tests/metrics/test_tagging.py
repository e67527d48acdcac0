from __future__ import annotations

import random
from itertools import groupby

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.counts import f1_points
from adaptxfer.metrics.tagging import (
    chunk_counts,
    chunk_f1,
    entity_counts,
    entity_f1,
    find_chunks,
    pos_scores,
    token_accuracy,
)

UPOS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()
IOB2 = "O B-LOC I-LOC B-ORG I-ORG B-PER I-PER".split()

VECTORS = [
    ("DET NOUN NOUN VERB", "DET NOUN PROPN VERB", 0.750, 0.5714),
    ("NOUN CCONJ NOUN", "NOUN SCONJ NOUN", 0.667, 0.6667),
    ("SCONJ SCONJ", "SCONJ NOUN", 0.500, 0.5),
    ("X X NOUN", "X NOUN NOUN", 0.667, 0.0),
    ("NOUN X", "NOUN VERB", 0.500, 0.5),
]


def random_sentences(tags: list[str], count: int, seed: int):
    """Gold, and a prediction that repeats most of it, so that longer chunks agree too."""
    rng = random.Random(seed)
    few = tags[:1] + rng.sample(tags, 4) + [tag for tag in tags if tag[0] == "S"]
    for _ in range(count):
        gold = [[rng.choice(few) for _ in range(rng.randint(0, 8))] for _ in range(rng.randint(0, 3))] + [[few[1]]]
        yield gold, [[tag if rng.random() < 0.7 else rng.choice(few) for tag in sentence] for sentence in gold]


def runs(tags: list[str]) -> set[tuple[str, int, int]]:
    """Maximal runs of one tag; a tag that begins with S stands alone."""
    found, at = set(), 0
    for tag, group in groupby(tags):
        n = len(list(group))
        found |= {(tag, at + i, at + i) for i in range(n)} if tag[0] == "S" else {(tag, at, at + n - 1)}
        at += n
    return found


def entities(tags: list[str]) -> set[tuple[str, int, int]]:
    """IOB2 read leniently: an entity runs on while I- of its type follows."""
    found = set()
    for i, tag in enumerate(tags):
        position, _, label = tag.partition("-")
        goes_on = position == "I" and i > 0 and tags[i - 1] in (f"B-{label}", f"I-{label}")
        if position == "O" or goes_on:
            continue
        last = i
        while last + 1 < len(tags) and tags[last + 1] == f"I-{label}":
            last += 1
        found.add((label, i, last))
    return found


def naive_f1(gold, predicted, read) -> float:
    right = {(i, chunk) for i, tags in enumerate(gold) for chunk in read(tags)}
    found = {(i, chunk) for i, tags in enumerate(predicted) for chunk in read(tags)}
    both = len(right & found)
    if not both:
        return 0.0
    precision, recall = both / len(found), both / len(right)
    return 100 * 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("gold", "predicted", "accuracy", "f1"), VECTORS)
def test_bare_tags_score_as_the_published_numbers_did(gold, predicted, accuracy, f1):
    scores = pos_scores([gold.split()], [predicted.split()])
    assert scores["accuracy"] == pytest.approx(100 * accuracy, abs=0.05)
    assert scores["chunk_f1"] == pytest.approx(100 * f1, abs=0.005)


def test_neighbouring_equal_tags_melt_into_one():
    assert chunk_f1([["NOUN", "NOUN"]], [["NOUN", "VERB"]])["f1"] == 0.0


def test_an_entity_may_start_with_i():
    assert entity_f1([["B-PER", "I-PER"]], [["I-PER", "I-PER"]])["f1"] == 100.0
    assert entity_f1([["B-PER", "B-PER"]], [["B-PER", "I-PER"]])["f1"] == 0.0


def test_chunks_do_not_cross_sentences():
    assert chunk_f1([["NOUN"], ["NOUN"]], [["NOUN"], ["VERB"]])["f1"] == 50.0


def test_labels_with_a_dash():
    assert entity_counts(["B-a-b", "I-c-b"], ["B-a-b", "I-a-b"]) == (0, 1, 2)
    assert chunk_counts(["B-a-b", "I-c-b"], ["B-a-b", "I-a-b"]) == (1, 1, 1)  # only the last part is the label


def test_a_thousand_random_sets_agree_with_naive_readings():
    for gold, predicted in random_sentences(UPOS, 1000, seed=6):
        assert abs(chunk_f1(gold, predicted)["f1"] - naive_f1(gold, predicted, runs)) < 1e-9
    for gold, predicted in random_sentences(IOB2, 1000, seed=7):
        assert abs(entity_f1(gold, predicted)["f1"] - naive_f1(gold, predicted, entities)) < 1e-9
        words = [pair for a, b in zip(gold, predicted, strict=True) for pair in zip(a, b, strict=True)]
        assert abs(token_accuracy(gold, predicted) - 100 * sum(a == b for a, b in words) / len(words)) < 1e-9


def test_chunks_are_found_where_they_are():
    for read, tags, seed in ((runs, UPOS, 14), (entities, IOB2, 15)):
        for gold, _ in random_sentences(tags, 200, seed):
            for sentence in gold:
                assert find_chunks(sentence, lambda tag: tag.rsplit("-", 1)[-1]) == read(sentence)


@pytest.mark.parametrize(
    ("tags", "chunks"),
    [
        ("E-A E-A I-A O", "A00 A11 A22"),
        ("S-A I-A E-A B-A", "A00 A12 A33"),
        (".-A I-A .-A O", ""),
        ("B-A . I-A I-B", "A00 A22 B33"),
        ("I-A E-A I-A S-B S-B", "A01 A22 B33 B44"),
        ("SYM SYM X X . .", "SYM00 SYM11 X23"),
    ],
)
def test_rare_positions_are_read_as_seqeval_0_0_12_does(tags, chunks):
    found = find_chunks(tags.split(), lambda tag: tag.rsplit("-", 1)[-1])
    assert sorted(f"{label}{first}{last}" for label, first, last in found) == chunks.split()


def test_counts_per_sentence_add_up():
    for gold, predicted in random_sentences(IOB2, 50, seed=8):
        counts = [entity_counts(a, b) for a, b in zip(gold, predicted, strict=True)]
        assert f1_points(*map(sum, zip(*counts, strict=True))) == entity_f1(gold, predicted)["f1"]


@pytest.mark.filterwarnings("ignore")  # it warns about every tag that is not IOB2
def test_seqeval_agrees():
    seqeval = pytest.importorskip("seqeval.metrics")
    from importlib.metadata import version

    old = version("seqeval").startswith("0.0")
    odd = ["O", "B", "I-", "E-LOC", "S-LOC", "I-LOC", "B-LOC", ".", "I-ORG", "XPOS"]
    for tags, seed in ((UPOS, 9), (IOB2, 10), (odd, 11)):
        for gold, predicted in random_sentences(tags, 1000, seed=seed):
            ours = (chunk_f1 if old else entity_f1)(gold, predicted)["f1"]
            assert abs(ours - 100 * seqeval.f1_score(gold, predicted)) < 1e-9


@pytest.mark.parametrize(
    ("gold", "predicted", "said"),
    [
        ([["X"]], [["X", "X"]], "Sentence 0 has 1 gold tags and 2"),
        ([["X"]], [], "each of 1 sentences"),
        ([[]], [[]], "None of the sentences"),
        ([["X"]], [[""]], "Tag 0 of a sentence is empty"),
    ],
)
def test_bad_input_is_refused(gold, predicted, said):
    with pytest.raises(AdaptxferError, match=said):
        pos_scores(gold, predicted)
