"""Time and memory of margin mining on random vectors: python benchmarks/mining.py [--sentences N] [--width D] ..."""

from __future__ import annotations

import argparse
import resource
import time

import torch

from adaptxfer.metrics.bucc import bucc_f1
from adaptxfer.metrics.retrieval import BLOCK, mine


def corpus(n: int, width: int, shared: float, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sides of n normal vectors; the first ``shared`` part of the rows are noisy translations of each other."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, width, generator=generator), torch.randn(n, width, generator=generator)
    pairs = int(n * shared)
    y[:pairs] = x[:pairs] + 0.5 * y[:pairs]
    return x.to(device), y.to(device)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=50_000, help="per side")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--block", type=int, default=BLOCK)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x, y = corpus(options.sentences, options.width, 0.1, options.device)
    before, start, busy = peak_mib(), time.perf_counter(), time.process_time()
    pairs = mine(x, y, k=4, block=options.block)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    gold = [(i, i) for i in range(options.sentences // 10)]
    scores = bucc_f1([(pair.source, pair.target) for pair in pairs if pair.score > 1.5], gold)
    rows = {
        "sentences a side": f"{options.sentences:,} x {options.width}",
        "device, threads, block": f"{options.device}, {options.threads}, {options.block}",
        "seconds": f"{seconds:.1f}",
        "processor seconds": f"{busy:.1f}",
        "peak memory (MiB)": f"{peak_mib():,.0f} (before: {before:,.0f})",
        "pairs mined": f"{len(pairs):,}",
        "F1 at margin 1.5": f"{scores['f1']:.2f}",
    }
    print("\n".join(f"{name:<24}{value}" for name, value in rows.items()))


if __name__ == "__main__":
    main()
