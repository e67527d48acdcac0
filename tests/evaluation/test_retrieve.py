from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adaptxfer.errors import AdaptxferError
from adaptxfer.evaluation.evaluate import features_of
from adaptxfer.evaluation.retrieve import choose_layer, embed, retrieve
from adaptxfer.tasks.examples import RetrieveExample
from adaptxfer.tasks.load import read_examples


def test_the_layer(task) -> None:
    spec = replace(task("twins"), retrieve=replace(task("twins").retrieve, layer={"24": 14}))
    assert choose_layer(spec, 24, None, None) == 14
    assert choose_layer(spec, 24, None, 3) == 3, "the base model knows better"
    assert choose_layer(spec, 24, 0, 3) == 0
    for layers, asked, said in ((12, None, "no default layer"), (24, 25, "does not exist"), (24, -1, "does not exist")):
        with pytest.raises(AdaptxferError, match=said) as caught:
            choose_layer(spec, layers, asked, None)
        assert caught.value.code == 1 and str(layers) in str(caught.value)


def examples(gold: str = "ca") -> list[RetrieveExample]:
    return [
        RetrieveExample("cb", "candidate", "b"),
        RetrieveExample("qa", "query", "a", None, (gold,)),
        RetrieveExample("ca", "candidate", "a"),
        RetrieveExample("qb", "query", "b", None, ("cb",)),
    ]


def test_neighbours_there_and_back() -> None:
    """qa and qb both lie nearest to ca; going back, ca finds qa and cb finds qb."""
    vectors = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [3.0, 1.0]])
    first, second = retrieve(examples(), vectors)
    assert first == {"id": "qa", "gold": "ca", "predicted": "ca", "correct": True, "correct_reverse": True}
    assert second == {"id": "qb", "gold": "cb", "predicted": "ca", "correct": False, "correct_reverse": True}


def test_lengths_of_vectors_do_not_matter() -> None:
    vectors = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [3.0, 1.0]])
    assert retrieve(examples(), vectors) == retrieve(examples(), vectors * torch.tensor([[9.0], [0.1], [5.0], [70.0]]))


@pytest.mark.parametrize("gold", ["nowhere", "qb"])
def test_a_query_without_its_candidate(gold: str) -> None:
    with pytest.raises(AdaptxferError, match="no right candidate") as caught:
        retrieve(examples(gold), torch.eye(4))
    assert caught.value.code == 2


def test_vectors_are_means_over_all_tokens(task, setting, model) -> None:
    items = read_examples(task("twins"), "test", "de", setting.data_dir).items
    features = features_of(task("twins"), items, setting)
    vectors = embed(model, features, (2, 0), 64)
    assert set(vectors) == {0, 2} and vectors[2].shape == (len(items), 32)
    for number in (0, len(items) - 1):
        ids = torch.from_numpy(features.ids[features.bounds[number] : features.bounds[number + 1]]).long()
        with torch.inference_mode():
            states = model.network(input_ids=ids[None], output_hidden_states=True).hidden_states
        for layer in (0, 2):
            torch.testing.assert_close(vectors[layer][number], states[layer][0].mean(0), rtol=1e-4, atol=1e-5)
