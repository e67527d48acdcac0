from __future__ import annotations

import gzip

import pytest
import torch

from adaptxfer.data.mlm import line_features, mask_tokens


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_lines(mini_tokenizer):
    found = line_features(["one two", "", "  ", "one " * 50], mini_tokenizer, max_length=10)
    assert found.lengths.tolist() == [4, 10]
    assert found.example.tolist() == [0, 3]
    assert found.notes == {"truncated": 1, "empty_dropped": 2}


@pytest.fixture(scope="module")
def masked(data_dir, mini_tokenizer):
    lines = gzip.decompress((data_dir / "text/ntrex128/newstest2019-ref.swa.txt.gz").read_bytes()).decode().split("\n")
    ids = torch.from_numpy(line_features(lines, mini_tokenizer, 128).ids).long()
    return ids, *mask_tokens(ids, mini_tokenizer, seeded())


def test_shares(masked, mini_tokenizer):
    ids, changed, labels = masked
    chosen = labels != -100
    special = torch.isin(ids, torch.tensor(mini_tokenizer.all_special_ids))
    assert chosen.sum() / (~special).sum() == pytest.approx(0.15, abs=0.01)
    hidden = (changed == mini_tokenizer.mask_token_id) & chosen
    replaced = (changed != ids) & chosen & ~hidden
    assert hidden.sum() / chosen.sum() == pytest.approx(0.8, abs=0.02)
    assert replaced.sum() / chosen.sum() == pytest.approx(0.1, abs=0.02)


def test_nothing_else_changes(masked, mini_tokenizer):
    ids, changed, labels = masked
    chosen = labels != -100
    special = torch.tensor(mini_tokenizer.all_special_ids)
    assert torch.equal(changed[~chosen], ids[~chosen])
    assert torch.equal(labels[chosen], ids[chosen])
    assert not torch.isin(ids[chosen], special).any()
    drawn = changed[chosen & (changed != ids) & (changed != mini_tokenizer.mask_token_id)]
    assert not torch.isin(drawn, special).any()
    assert drawn.max() < len(mini_tokenizer)


def test_the_generator_decides(masked, mini_tokenizer):
    ids, changed, _ = masked
    assert torch.equal(mask_tokens(ids, mini_tokenizer, seeded())[0], changed)
    assert not torch.equal(mask_tokens(ids, mini_tokenizer, seeded(1))[0], changed)
    generator = seeded()
    first, second = (mask_tokens(ids, mini_tokenizer, generator)[0] for _ in range(2))
    assert not torch.equal(first, second)
