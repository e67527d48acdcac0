from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaptxfer.data.batches import evaluation_batches, micro_batches, pack, training_batches
from adaptxfer.data.features import Features, build_features
from adaptxfer.data.ragged import borders
from adaptxfer.tasks.examples import ChooseExample, TagExample


def made(lengths, choices=1):
    """Features whose tokens are numbered, so that it shows where each one went."""
    bounds = borders(np.array(lengths, np.int64))
    units = np.arange(0, len(lengths) + 1, choices, dtype=np.int64)
    example = np.repeat(np.arange(len(units) - 1), choices).astype(np.int32)
    kind, targets = ("choose", {"label": np.arange(len(units) - 1)}) if choices > 1 else ("mlm", {})
    return Features(kind, np.arange(bounds[-1], dtype=np.int32), bounds, units, example, len(units) - 1, targets)


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=60)


@given(sizes, st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
def test_every_unit_once_per_epoch(lengths, batch_size, window, epoch):
    features = made(lengths)
    batches = training_batches(features, batch_size, seed=1, epoch=epoch, window=window)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)
    again = training_batches(features, batch_size, seed=1, epoch=epoch, window=window)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_epochs_and_seeds_differ():
    features = made([5] * 200)
    lists = {
        tuple(np.concatenate(training_batches(features, 8, seed, epoch)))
        for seed, epoch in [(1, 0), (1, 1), (2, 0), (2, 1)]
    }
    assert len(lists) == 4


def test_grouping_by_length_saves_padding():
    lengths = np.random.default_rng(0).integers(5, 200, 2000)
    features = made(lengths)

    def padded(batches):
        return sum(len(batch) * lengths[batch].max() for batch in batches)

    grouped = padded(training_batches(features, 32, seed=1, epoch=0))
    single = padded(training_batches(features, 32, seed=1, epoch=0, window=1))
    assert grouped < 1.1 * lengths.sum() < 0.7 * single


def test_order_in_a_window_is_not_sorted():
    features = made(list(range(1, 101)))
    first = [features.lengths[batch].max() for batch in training_batches(features, 4, seed=3, epoch=0)]
    assert first != sorted(first)


@given(sizes, st.integers(1, 120), st.sampled_from([1, 2]))
def test_micro_batches_keep_to_the_limit(lengths, limit, choices):
    lengths = lengths * choices
    features = made(lengths, choices)
    units = np.arange(len(features))[::2]
    parts = micro_batches(features, units, limit)
    assert sorted(np.concatenate(parts).tolist()) == units.tolist()
    for part in parts:
        assert len(part) == 1 or pack(features, part).padded_tokens <= limit
    longest = [features.unit_lengths[part].max() for part in parts]
    assert longest == sorted(longest, reverse=True)
    for part, following in pairwise(parts):  # no part could have taken one more
        assert pack(features, np.append(part, following[0])).padded_tokens > limit


def test_evaluation_covers_everything():
    features = made([3, 9, 4, 7, 1])
    parts = evaluation_batches(features, 14)
    assert [part.tolist() for part in parts] == [[1], [3, 2], [0, 4]]


def test_pack_by_hand(mini_tokenizer, text):
    rows = [
        ChooseExample("a", "one", ("two", "three two"), 0),
        ChooseExample("b", "two", ("one", "one", "three"), 2),
    ]
    features = build_features("choose", rows, mini_tokenizer, text())
    batch = pack(features, np.array([1, 0]))
    one, two, three = (mini_tokenizer.convert_tokens_to_ids(f"▁{word}") for word in ("one", "two", "three"))
    second = [[0, two, 2, 2, last, 2] for last in (one, one, three)]
    first = [[0, one, 2, 2, two, 2], [0, one, 2, 2, three, two, 2]]
    assert batch.ids.tolist() == [token for row in second + first for token in row]
    assert batch.bounds.tolist() == [0, 6, 12, 18, 24, 31]
    assert batch.units.tolist() == [0, 3, 5]
    assert batch.targets["label"].tolist() == [2, 0]
    assert (batch.examples.tolist(), batch.sequences.tolist()) == ([1, 0], [2, 3, 4, 0, 1])
    assert (batch.tokens, batch.padded_tokens, batch.longest, len(batch)) == (31, 35, 7, 2)
    assert {batch.ids.dtype, batch.bounds.dtype, batch.units.dtype} == {torch.int64}


def test_positions_put_results_back(mini_tokenizer, text):
    rows = [TagExample(str(n), ("one",) * n, ("X",) * n) for n in range(1, 9)]
    features = build_features("tag", rows, mini_tokenizer, text(), ("X",))
    back = np.full(len(features.ids), -1)
    for units in evaluation_batches(features, 20):
        batch = pack(features, units)
        back[batch.positions] = batch.ids.numpy()
        assert batch.targets["label"].tolist() == features.targets["label"][batch.positions].tolist()
    assert np.array_equal(back, features.ids)


def test_to_moves_every_tensor(mini_tokenizer, text):
    features = build_features("choose", [ChooseExample("a", "b", ("c", "d"), 1)], mini_tokenizer, text())
    batch = pack(features, np.array([0])).to("meta")
    tensors = [batch.ids, batch.bounds, batch.units, *batch.targets.values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.parametrize("units", [[], [0]])
def test_empty_features(units):
    features = made([]) if not units else made([4])
    assert len(training_batches(features, 4, 1, 0)) == len(units)
    assert len(evaluation_batches(features, 4)) == len(units)
    assert pack(features, np.array(units, np.int64)).tokens == 4 * len(units)
