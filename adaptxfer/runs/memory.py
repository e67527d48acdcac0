"""Peak memory of this process."""

from __future__ import annotations

import resource
import sys


def peak_memory() -> dict[str, float]:
    """Largest resident memory so far in MiB, and on a GPU the largest allocation."""
    import torch

    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    found = {"peak_memory_mib": round(kilobytes / 1024, 1)}
    if torch.cuda.is_available():
        found["peak_gpu_memory_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found
