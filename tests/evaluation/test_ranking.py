from __future__ import annotations

import pytest
import torch

from adaptxfer.errors import AdaptxferError
from adaptxfer.evaluation.ranking import rank_pool
from adaptxfer.metrics.ranking import map_scores
from adaptxfer.tasks.examples import RetrieveExample


def test_candidates_of_all_languages_compete():
    examples = {
        "en": [RetrieveExample("q", "query", "?"), RetrieveExample("en:1", "candidate", "yes", gold=("q",))],
        "de": [RetrieveExample("de:1", "candidate", "ja", gold=("q",)), RetrieveExample("de:2", "candidate", "nein")],
    }
    vectors = {"en": torch.tensor([[1.0, 0.0], [0.9, 0.1]]), "de": torch.tensor([[0.0, 1.0], [0.8, 0.3]])}
    records = rank_pool(examples, vectors)
    assert records["de"] == []
    (record,) = records["en"]
    assert record == {"id": "q", "gold": ["de:1", "en:1"], "predicted": ["en:1", "de:2", "de:1"]}
    assert map_scores([record["predicted"]], [record["gold"]])["map"] == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_a_query_without_right_candidate_is_refused():
    with pytest.raises(AdaptxferError, match="no right candidate"):
        rank_pool({"en": [RetrieveExample("q", "query", "?"), RetrieveExample("c", "candidate", "x")]},
                  {"en": torch.eye(2)})  # fmt: skip
