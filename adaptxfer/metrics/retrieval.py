"""Nearest sentences by cosine, exactly and in blocks, and the pairs that BUCC mines from them (CPU or GPU)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor

from adaptxfer.errors import data_error
from adaptxfer.metrics.counts import share
from adaptxfer.metrics.mining import Pair, margin_pairs

BLOCK = 4096
"""Rows and columns of one block of the similarity matrix: 64 MiB of it exist at a time."""

SPARE = 8
"""Neighbours shortlisted beyond k before they are scored in double precision."""


def normalise_rows(vectors: Tensor) -> Tensor:
    """Rows (n, width) in single precision at length 1; a zero row stays zero.

    Raises:
        AdaptxferError: if there is no row, the shape is another, or a value is not finite.
    """
    if vectors.ndim != 2 or not vectors.numel():
        raise data_error(f"Expected sentence vectors of shape (n, width), found {tuple(vectors.shape)}.")
    if not bool(torch.isfinite(vectors).all()):
        raise data_error("Some sentence vectors are not finite.", "Check the model and its precision.")
    return torch.nn.functional.normalize(vectors.detach().double(), dim=1).float()


def nearest(queries: Tensor, candidates: Tensor, k: int, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """The ``k`` candidates with the highest cosine for each query, best first, the lower index first among equals.

    Exact: shortlisted in single precision, scored in double; a row whose shortlist is too close to call is searched
    again in double precision. The answer does not depend on ``block``.

    Args:
        queries: (n, width), any length of rows.
        candidates: (m, width).
        k: neighbours per query; all of them when there are fewer.
        block: rows and columns of similarities held at a time; memory grows with its square.

    Returns:
        cosines (n, k) in double precision and candidate rows (n, k).

    Raises:
        AdaptxferError: if a side is empty, the widths differ, or a value is not finite.
    """
    x, y = _normalised(queries, candidates)
    return _settle(x, y, *_shortlist(x, y, k, block), k, block)


def mine(sources: Tensor, targets: Tensor, k: int = 4, block: int = BLOCK) -> list[Pair]:
    """One-to-one pairs of rows by ratio margin (Artetxe and Schwenk 2019), best first, scores above 0.

    ``margin_pairs`` says how they are chosen from the ``k`` neighbours of every row on the other side.

    Raises:
        AdaptxferError: as ``nearest``.
    """
    there, back = nearest(sources, targets, k, block), nearest(targets, sources, k, block)
    return margin_pairs(*(part.cpu().numpy() for part in (*there, *back)))


def retrieval_scores(queries: Tensor, candidates: Tensor, block: int = BLOCK) -> dict[str, float]:
    """Top-1 accuracy in points when row i of one side belongs to row i of the other.

    Returns:
        ``accuracy`` (query to candidate), ``accuracy_reverse`` (candidate to query), ``accuracy_mean``, ``n``.

    Raises:
        AdaptxferError: if the sides differ in size, or as ``nearest``.
    """
    if len(queries) != len(candidates):
        raise data_error(f"Expected as many candidates as queries ({len(queries)}), found {len(candidates)}.")
    there, back = (_hits(nearest(a, b, 1, block)[1]) for a, b in ((queries, candidates), (candidates, queries)))
    points = share(there, len(queries)), share(back, len(queries))
    return {
        "accuracy": points[0],
        "accuracy_reverse": points[1],
        "accuracy_mean": sum(points) / 2,
        "n": len(queries),
    }


def _hits(found: Tensor) -> int:
    return int((found[:, 0] == torch.arange(len(found), device=found.device)).sum())


def _normalised(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    x, y = normalise_rows(left), normalise_rows(right)
    if x.shape[1] != y.shape[1]:
        raise data_error(f"The two sides have vectors of width {x.shape[1]} and {y.shape[1]}.", "Use one encoder.")
    return x, y


def _shortlist(x: Tensor, y: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
    """Single-precision cosines and ids of the k + SPARE best y of each x, block by block."""
    width = min(k + SPARE, len(y))
    if x.device.type == "cpu" and find_spec("faiss"):
        return _flat_index(x, y, width)
    space = x.new_empty(min(block, len(x)) * min(block, len(y)))  # reused: fresh memory costs as much as the product
    done = []
    with _full_precision():
        for left in x.split(block):
            scores, ids = left.new_empty(len(left), 0), torch.empty(len(left), 0, dtype=torch.long, device=x.device)
            for start, right in zip(range(0, len(y), block), y.split(block), strict=True):
                table = space[: len(left) * len(right)].view(len(left), len(right))
                # out= also keeps autocast away
                new, where = torch.mm(left, right.T, out=table).topk(min(width, len(right)), dim=1)
                pool, ids = torch.cat([scores, new], 1), torch.cat([ids, where + start], 1)
                scores, order = pool.topk(min(width, pool.shape[1]), dim=1)
                ids = ids.gather(1, order)
            done.append((scores, ids))
    rough, near = zip(*done, strict=True)
    return torch.cat(rough), torch.cat(near)


def _flat_index(x: Tensor, y: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The same from faiss's exhaustive index (extra ``retrieval``), which is faster on a CPU."""
    import faiss

    index = faiss.IndexFlatIP(y.shape[1])
    index.add(y.numpy())  # type: ignore[call-arg]
    scores, ids = index.search(x.numpy(), width)  # type: ignore[call-arg]
    return torch.from_numpy(scores), torch.from_numpy(ids)


def _settle(x: Tensor, y: Tensor, rough: Tensor, ids: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
    """Exact cosines and ids of the k best out of a shortlist, or out of all rows where the shortlist cannot decide."""
    k = min(k, len(y))
    step = max(1, block // 64)
    parts = [_rescore(x[i : i + step], y, ids[i : i + step].sort(dim=1).values, k) for i in range(0, len(x), step)]
    cosines, best = (torch.cat(column) for column in zip(*parts, strict=True))
    if ids.shape[1] < len(y):
        noise = x.shape[1] * torch.finfo(torch.float32).eps  # bound on the error of a difference of two cosines
        close = (rough[:, k - 1] - rough[:, -1] <= noise).nonzero()[:, 0]
        for rows in close.split(max(1, block * block // (2 * len(y)))):
            left = x[rows].double()
            table = torch.cat([left @ right.double().T for right in y.split(block)], 1)
            cosines[rows], best[rows] = _first_best(table.round(decimals=12), k)
    return cosines, best


def _rescore(x: Tensor, y: Tensor, ids: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # rounding makes copies of a vector tie exactly, whatever the order of the additions was
    exact = (x[:, None].double() * y[ids].double()).sum(-1).round(decimals=12)
    values, order = exact.sort(dim=1, descending=True, stable=True)
    return values[:, :k], ids.gather(1, order)[:, :k]


def _first_best(table: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row of a full table, ties to the lowest column."""
    last = table.topk(k, dim=1).values[:, -1:]
    above, equal = table > last, table == last
    chosen = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
    ids = chosen.nonzero()[:, 1].view(-1, k)
    values, order = table.gather(1, ids).sort(dim=1, descending=True, stable=True)
    return values, ids.gather(1, order)


@contextmanager
def _full_precision() -> Iterator[None]:
    """True single precision in matrix products (no TF32, no bfloat16), whatever the caller has set."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
