from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adaptxfer.errors import AdaptxferError
from adaptxfer.evaluation.mining import bucc_records, mine_pairs, score_mined
from adaptxfer.metrics.bucc import tune_threshold
from adaptxfer.tasks.examples import RetrieveExample


def bitext(pairs: int, extra: int, seed: int) -> tuple[list[RetrieveExample], torch.Tensor]:
    """Parallel sentences with nearly equal vectors among others that have no translation."""
    random = torch.Generator().manual_seed(seed)
    shared = torch.randn(pairs, 16, generator=random)
    examples, vectors = [], []
    for side, offset in (("query", 0), ("candidate", 1)):
        for i in range(pairs + extra):
            gold = (f"c{i}",) if side == "query" and i < pairs else ()
            examples.append(RetrieveExample(f"{side[0]}{i}", side, f"{side} {i}", gold=gold))
        noise = torch.randn(pairs, 16, generator=random) * 0.3
        vectors += [shared + offset * noise, torch.randn(extra, 16, generator=random)]
    return examples, torch.cat(vectors)


def test_threshold_from_dev_finds_the_hidden_pairs():
    pairs, gold = mine_pairs(*bitext(20, 30, 1))
    dev = mine_pairs(*bitext(20, 30, 2))
    scores = score_mined(pairs, gold, dev)
    assert scores["f1"] > 80 and scores["n"] == 20 and scores["oracle"] is False
    assert score_mined(pairs, gold, None)["f1"] >= scores["f1"], "the oracle knows the answers"
    assert score_mined(pairs, gold, None)["oracle"] is True


def test_without_gold_there_is_a_threshold_from_dev_and_no_score():
    examples, vectors = bitext(20, 30, 1)
    pairs, gold = mine_pairs([replace(example, gold=()) for example in examples], vectors)
    dev = mine_pairs(*bitext(20, 30, 2))
    assert gold == set()
    assert score_mined(pairs, gold, dev) == {"threshold": tune_threshold(*dev)[0], "oracle": False}
    with pytest.raises(AdaptxferError, match="no gold pairs to tune the threshold on"):
        score_mined(pairs, gold, None)


def test_gold_pairs_alone_are_refused():
    with pytest.raises(AdaptxferError, match="these are the gold pairs without the sentences"):
        mine_pairs(*bitext(20, 0, 1))


def test_records_name_both_sentences():
    pairs, gold = mine_pairs(*bitext(5, 5, 3))
    records = bucc_records(pairs, gold)
    assert len(records) == len(pairs) and sum(record["correct"] for record in records) >= 4
    assert all(record["id"] == f"{record['source']}/{record['target']}" for record in records)
