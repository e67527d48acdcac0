from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics import retrieval
from adaptxfer.metrics.retrieval import mine, nearest, normalise_rows, retrieval_scores


def cosines(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    a, b = normalise_rows(x).double().numpy(), normalise_rows(y).double().numpy()
    return np.round(np.einsum("id,jd->ij", a, b, optimize=False), 12)


def naive_nearest(table: np.ndarray, k: int) -> list[list[int]]:
    return [sorted(range(len(row)), key=lambda j: (-row[j], j))[:k] for row in table.tolist()]


def naive_pairs(table: np.ndarray, k: int) -> list[tuple[int, int, float]]:
    """Ratio margin pair by pair, from the full table."""
    forth, back = naive_nearest(table, k), naive_nearest(table.T, k)
    mean_x = [sum(table[i, j] for j in row) / len(row) for i, row in enumerate(forth)]
    mean_y = [sum(table[i, j] for i in row) / len(row) for j, row in enumerate(back)]

    def score(i: int, j: int) -> float:
        around = (mean_x[i] + mean_y[j]) / 2
        return table[i, j] / around if around > 0 else 0.0

    offers = [(i, max(row, key=lambda j: score(i, j))) for i, row in enumerate(forth)]
    offers += [(max(row, key=lambda i: score(i, j)), j) for j, row in enumerate(back)]
    pairs, rows, columns = [], set(), set()
    for i, j in sorted(offers, key=lambda pair: (-score(*pair), pair)):
        if score(i, j) > 0 and i not in rows and j not in columns:
            pairs.append((i, j, score(i, j)))
            rows.add(i)
            columns.add(j)
    return pairs


def vectors(n: int, width: int, seed: int, copies: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if copies:  # few distinct directions, so that many cosines are equal
        return torch.randint(-1, 2, (n, width), generator=generator).float()
    return torch.randn(n, width, generator=generator)


def test_rows_become_unit_length_and_zero_stays():
    rows = normalise_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    assert torch.allclose(rows, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("block", [1, 7, 16, 4096])
def test_neighbours_are_those_of_a_full_sort(copies, block):
    x, y = vectors(23, 3, 1, copies), vectors(61, 3, 2, copies)
    scores, ids = nearest(x, y, k=4, block=block)
    table = cosines(x, y)
    assert ids.tolist() == naive_nearest(table, 4)
    assert np.abs(scores.numpy() - np.take_along_axis(table, ids.numpy(), 1)).max() < 1e-9


def test_when_all_candidates_are_equal_the_first_ones_win():
    x, y = vectors(9, 64, 11), vectors(1, 64, 10).repeat(200, 1)
    for block in (16, 33, 4096):
        assert nearest(x, y, k=3, block=block)[1].tolist() == [[0, 1, 2]] * 9


def test_fewer_candidates_than_neighbours():
    assert nearest(torch.eye(3), torch.eye(3)[:2], k=4)[1].shape == (3, 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.booleans(), st.integers(0, 2**20))
def test_the_block_size_changes_nothing(n, m, block, copies, seed):
    x, y = vectors(n, 4, seed, copies), vectors(m, 4, seed + 1, copies)
    one, two = nearest(x, y, 3, block), nearest(x, y, 3)
    assert torch.equal(one[1], two[1])
    assert torch.allclose(one[0], two[0], atol=1e-11)
    assert [pair[:2] for pair in mine(x, y, block=block)] == [pair[:2] for pair in mine(x, y)]


def test_a_thousand_random_sets_are_mined_as_by_hand():
    for seed in range(1000):
        n, m = 1 + seed % 7, 1 + seed % 5
        x, y = vectors(n, 3, seed), vectors(m, 3, seed + 5000)
        x[: min(n, m)] += 2 * y[: min(n, m)] if seed % 2 else 0  # in half of them, pairs that belong together
        expected = naive_pairs(cosines(x, y), k=4)
        found = mine(x, y, k=4, block=4)
        assert [pair[:2] for pair in found] == [pair[:2] for pair in expected]
        assert all(abs(a.score - b[2]) < 1e-9 for a, b in zip(found, expected, strict=True))


def test_translations_are_found_among_others():
    y = vectors(300, 32, 3)
    x = torch.cat([y[:100] + 0.2 * vectors(100, 32, 4), vectors(150, 32, 5)])
    best = mine(x, y)[:100]
    assert sorted(pair[:2] for pair in best) == [(i, i) for i in range(100)]
    assert [pair.score for pair in best] == sorted((pair.score for pair in best), reverse=True)


def test_top_one_accuracy_names_both_directions():
    queries = torch.tensor([[1.0, 0.0], [0.9, 0.1]])
    candidates = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    scores = retrieval_scores(queries, candidates)
    assert scores == {"accuracy": 50.0, "accuracy_reverse": 100.0, "accuracy_mean": 75.0, "n": 2}


def test_a_thousand_random_accuracies_agree_with_a_full_table():
    for seed in range(1000):
        n = 1 + seed % 9
        x, y = vectors(n, 2, seed, seed % 2 == 0), vectors(n, 2, seed + 5000, seed % 2 == 0)
        table = cosines(x, y)
        scores = retrieval_scores(x, y, block=4)
        hits = (sum(row[0] == i for i, row in enumerate(naive_nearest(part, 1))) for part in (table, table.T))
        assert (scores["accuracy"], scores["accuracy_reverse"]) == tuple(100.0 * count / n for count in hits)


def test_half_precision_and_gradients_are_taken_in():
    y = vectors(1, 64, 10) + 0.3 * vectors(400, 64, 9)
    x = y[:50].to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, ids = nearest(x, y, k=4)
    assert ids.tolist() == naive_nearest(cosines(x, y), 4)
    assert scores.dtype == torch.float64
    assert not scores.requires_grad


def test_a_faster_matrix_precision_of_the_caller_changes_nothing():
    y = vectors(1, 64, 10) + 1e-3 * vectors(400, 64, 8)
    expected = nearest(y[:50], y, k=4)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = nearest(y[:50], y, k=4)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found[1], expected[1])
    assert found[1].tolist() == naive_nearest(cosines(y[:50], y), 4)


@pytest.mark.parametrize(
    ("queries", "candidates", "said"),
    [
        (torch.zeros(0, 3), torch.eye(3), "shape"),
        (torch.eye(3), torch.eye(4), "width 3 and 4"),
        (torch.full((1, 3), torch.nan), torch.eye(3), "not finite"),
    ],
)
def test_bad_vectors_are_refused(queries, candidates, said):
    with pytest.raises(AdaptxferError, match=said):
        nearest(queries, candidates, k=1)
    with pytest.raises(AdaptxferError, match="as many candidates"):
        retrieval_scores(torch.eye(3), torch.eye(4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_finds_the_same():
    x, y = vectors(500, 64, 6), vectors(700, 64, 7)
    assert torch.equal(nearest(x.cuda(), y.cuda(), 4, block=128)[1].cpu(), nearest(x, y, 4)[1])
    assert [pair[:2] for pair in mine(x.cuda(), y.cuda())] == [pair[:2] for pair in mine(x, y)]


def test_faiss_finds_the_same(monkeypatch):
    """Copies of a vector, ties and few candidates among them."""
    pytest.importorskip("faiss", reason="the extra retrieval is not installed")
    draw = torch.Generator().manual_seed(3)
    y = torch.randn(300, 24, generator=draw)
    y[50:80] = y[:30]
    for candidates in (y, y[:5]):
        x = torch.cat([torch.randn(200, 24, generator=draw), candidates])
        found = retrieval.nearest(x, candidates, 4)
        with monkeypatch.context() as patch:
            patch.setattr(retrieval, "find_spec", lambda _name: None)
            expected = retrieval.nearest(x, candidates, 4)
        assert torch.equal(found[1], expected[1]) and torch.equal(found[0], expected[0])
