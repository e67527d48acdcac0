"""Check every kernel on the GPU at hand, then time operations and training steps against the libraries.

    python -m benchmarks.gpu [--minutes 8.5] [--only SECTION ...] [--to FILE] [--smoke] [--dry]

Peers run in the same process: plain torch and the libraries eager, under torch.compile in both modes, and Liger where
it is installed. Sections run in the order of their importance, and nothing starts that may not end within
``--minutes``. Each row is written as soon as it is measured; the table comes last. ``--smoke`` runs tiny sizes and
keeps nothing; without a GPU it needs TRITON_INTERPRET=1. Checks and operations need torch and Triton alone; steps need
the libraries too, see `docs/add-a-kernel.md`.
"""

from __future__ import annotations

import argparse
import statistics
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.common import RESULTS, device, show, versions
from benchmarks.gpu_bench import CUDA, ROTATED, Bench, both_ways
from benchmarks.gpu_cases import Case, Sizes, all_cases
from benchmarks.gpu_checks import checks, kernels_agree

ORDER = (
    "checks",
    "captured",
    "steps",
    "training",
    "masked_lm_step",
    "bottleneck",
    "fusion",
    "compiled",
    "add_norm",
    "masked_lm",
    "lora",
    "gelu",
    "half",
)


def operation(bench: Bench, case: Case) -> None:
    """Time the variants of one operation at all token counts."""
    variants = case.variants()
    for tokens in (64,) if bench.smoke else case.tokens:
        if bench.late():
            return
        with bench.guarded(f"{case.name}, {tokens}"):
            size = tokens * bench.sizes.width * 2
            sets = max(1, min(8, ROTATED // size))
            shape = f"{tokens} tokens, width {bench.sizes.width}, forward+backward"
            makes = {name: both_ways(run, lambda n=tokens: case.inputs(n), sets) for name, run in variants.items()}
            found = bench.compare(case.name, shape, makes, tokens)
            if CUDA and "ours, triton" in found:
                reached = case.passes * size / found["ours, triton"] / 1e9
                print(f"{case.name}, {tokens} tokens: {reached:.2f} TB/s of bytes that cannot be avoided", flush=True)


def ceilings(bench: Bench) -> None:
    """Print what a plain copy and a large matrix product on random numbers reach, the yardsticks of everything else."""
    if not CUDA:
        return
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    middle = statistics.median(bench.times(lambda: square @ square)[0])
    print(f"matrix product: {2 * 8192**3 / middle / 1e9:.0f} TFLOP/s", flush=True)
    source = torch.empty(1 << 29, dtype=torch.bfloat16, device="cuda")
    target = torch.empty_like(source)
    middle = statistics.median(bench.times(lambda: target.copy_(source))[0])
    print(f"copy: {2 * source.numel() * 2 / middle / 1e9:.2f} TB/s", flush=True)


def steps(bench: Bench, compiled: bool = False) -> None:
    """A training step without optimiser: the library, our packed encoder in plain torch, and with kernels."""
    from benchmarks.gpu_steps import COMPILED, STEPS, compiled_variants, variants

    s = bench.sizes
    for step in COMPILED if compiled else STEPS:
        if bench.late():
            return
        with bench.guarded(f"step {step}"):
            lengths = step.lengths(bench.smoke)
            fill = sum(lengths) / len(lengths) / max(lengths)
            shape = (
                f"{s.layers} layers, width {s.width}, {len(lengths)} sequences, {sum(lengths)} tokens, fill {fill:.2f}"
            )
            made = (compiled_variants if compiled else variants)(step, s, bench.smoke)
            bench.compare(f"step, {step.setup}", shape, made, sum(lengths))


def masked_lm_step(bench: Bench) -> None:
    """The step of a language adapter, head and loss included."""
    from benchmarks.gpu_steps import masked_lm_variants

    made, tokens = masked_lm_variants(bench.sizes, bench.smoke)
    shape = f"{bench.sizes.layers} layers, width {bench.sizes.width}, {tokens} tokens, {bench.sizes.words} words, 15 %"
    bench.compare("step, masked words, seq_bn", shape, made, tokens)


def section(bench: Bench, name: str) -> None:
    """Run one section."""
    if name in ("captured", "training"):  # these need the library, which a machine with a GPU may lack
        getattr(import_module("benchmarks.gpu_training"), name)(bench)
        return
    own = {"checks": checks, "half": lambda bench: kernels_agree(bench, torch.float16), "steps": steps}
    own |= {"compiled": lambda bench: steps(bench, compiled=True), "masked_lm_step": masked_lm_step}
    if name in own:
        own[name](bench)
        return
    for case in all_cases(bench.sizes)[name]():
        operation(bench, case)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.5, help="start nothing after so long")
    parser.add_argument("--only", nargs="+", default=ORDER, choices=ORDER, help="sections")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, nothing kept")
    parser.add_argument("--dry", action="store_true", help="keep no rows")
    parser.add_argument("--to", type=Path, default=RESULTS, help="file that rows are appended to (default results.csv)")
    chosen = parser.parse_args()
    if not CUDA and not chosen.smoke:
        raise SystemExit("no CUDA device was found; --smoke with TRITON_INTERPRET=1 runs tiny sizes without one")
    torch.manual_seed(0)
    sizes = Sizes(torch.device("cuda" if CUDA else "cpu"))
    if chosen.smoke:
        sizes = sizes._replace(width=128, inner=16, words=1000, layers=1)
    bench = Bench(sizes, chosen.minutes, chosen.smoke, None if chosen.dry or chosen.smoke else chosen.to)
    print(f"{device()}; {versions()}", flush=True)
    with bench.guarded("ceilings"):
        ceilings(bench)
    for name in chosen.only:
        if not bench.late():
            with bench.guarded(name):
                section(bench, name)
    show("GPU", bench.rows)
    print("\n".join(f"FAILED {failure}" for failure in bench.failures) or "no failures")


if __name__ == "__main__":
    main()
