"""Check every kernel on the GPU at hand, then time it against plain torch and a training step against the library.

    python -m benchmarks.gpu [--minutes 9] [--only SECTION ...] [--trial] [--dry]

Rows go to results.csv as they come. ``--trial`` runs tiny sizes, also in the interpreter (TRITON_INTERPRET=1), and
keeps nothing.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle

import torch
import triton
from torch import Tensor

from adaptxfer.kernels.dispatch import OPERATIONS, using
from benchmarks.common import FIELDS, RESULTS, device
from benchmarks.gpu_cases import Case, Sizes, all_cases, bottleneck_case

VERSIONS = f"torch {torch.__version__} triton {triton.__version__}"
CUDA = torch.cuda.is_available()
ROTATED = 128 << 20
"""Bytes of inputs to cycle through, so that the last call's are not all in the cache (60 MB on Hopper)."""


class Bench:
    """Sizes, the deadline, and what was found."""

    def __init__(self, sizes: Sizes, minutes: float, trial: bool, dry: bool) -> None:
        self.sizes, self.trial, self.dry = sizes, trial, dry
        self.end = time.monotonic() + 60 * minutes
        self.rows: list[dict[str, str]] = []
        self.failures: list[str] = []

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """One failure costs its own rows only."""
        try:
            yield
        except Exception as error:  # whatever a compiler or a driver raises
            self.failures.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
            traceback.print_exc(limit=3)
            if CUDA:
                torch.cuda.empty_cache()

    def late(self) -> bool:
        return time.monotonic() > self.end

    def keep(self, name: str, variant: str, shape: str, times: list[float], first: float) -> None:
        """One row; it is on disk before the next is measured."""
        low, _, _, high = statistics.quantiles(times, n=5, method="inclusive")
        middle = statistics.median(times)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        milliseconds = (f"{low:.4f}", f"{middle:.4f}", f"{high:.4f}")
        values = (now, device(), VERSIONS, name, variant, shape, *milliseconds, "", f"{first / middle:.2f}")
        row = dict(zip(FIELDS, values, strict=True))
        self.rows.append(row)
        if self.dry or self.trial:
            return
        with RESULTS.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, FIELDS, lineterminator="\n").writerow(row)

    def compare(self, name: str, shape: str, variants: dict[str, Callable[[], object]]) -> dict[str, float]:
        """Time variants; the first is what the others are compared with."""
        middles: dict[str, float] = {}
        for variant, run in variants.items():
            if self.late():
                break
            with self.guarded(f"{name}, {shape}, {variant}"):
                times = self.times(run)
                middles[variant] = statistics.median(times)
                self.keep(name, variant, shape, times, next(iter(middles.values())))
        return middles

    def times(self, run: Callable[[], object]) -> list[float]:
        """Milliseconds of 50 runs after 20, fewer of both for runs above 20 ms."""
        run()
        wall = _wall(run)
        warm, repeats = (1, 3) if self.trial else (20, 50) if wall < 20 else (5, 15)
        for _ in range(warm):
            run()
        return [_event(run) if CUDA else _wall(run) for _ in range(repeats)]


def _wall(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if CUDA:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def _event(run: Callable[[], object]) -> float:
    """From the first to the last kernel, launch gaps between them included."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def both_ways(function: Callable[..., Tensor], sets: list[list[Tensor]]) -> Callable[[], object]:
    """Forward and backward, with another set of inputs every time."""
    turns = cycle(sets)
    grads: dict[torch.Size, Tensor] = {}

    def run() -> object:
        inputs = next(turns)
        out = function(*inputs)
        if out.shape not in grads:
            grads[out.shape] = torch.ones_like(out)
        return torch.autograd.grad(out, [t for t in inputs if t.requires_grad], grads[out.shape])

    return run


def operation(bench: Bench, case: Case) -> None:
    """Time the variants of one operation at all token counts."""
    variants = case.variants()
    for tokens in (64,) if bench.trial else case.tokens:
        if bench.late():
            return
        with bench.guarded(f"{case.name}, {tokens}"):
            size = tokens * bench.sizes.width * 2
            sets = [case.inputs(tokens) for _ in range(max(1, min(8, ROTATED // size)))]
            shape = f"{tokens} tokens, width {bench.sizes.width}, forward+backward"
            found = bench.compare(case.name, shape, {k: both_ways(v, sets) for k, v in variants.items()})
            if CUDA and "ours, triton" in found:
                reached = case.passes * size / found["ours, triton"] / 1e9
                print(f"{case.name}, {tokens} tokens: {reached:.2f} TB/s of bytes that cannot be avoided", flush=True)


def copy_speed(bench: Bench) -> None:
    """Print what a plain copy reaches, the yardstick of everything that is not a matrix product."""
    if not CUDA:
        return
    source = torch.empty(1 << 29, dtype=torch.bfloat16, device="cuda")
    target = torch.empty_like(source)
    middle = statistics.median(bench.times(lambda: target.copy_(source)))
    print(f"copy: {2 * source.numel() * 2 / middle / 1e9:.2f} TB/s", flush=True)


def checks(bench: Bench) -> None:
    """Every kernel against plain torch, repeatability, and replay of a captured graph."""
    from adaptxfer.kernels.triton.self_check import fault

    for op in OPERATIONS:
        for dtype in (torch.float32, torch.bfloat16, *([torch.float16] if CUDA else [])):
            with bench.guarded(f"check of {op}"):
                found = fault(op, bench.sizes.device, dtype)
                print(f"check {op:<12} {str(dtype)[6:]:<9} {found or 'ok'}", flush=True)
                if found:
                    bench.failures.append(f"check of {op} in {dtype}: {found}")
    with bench.guarded("full size"):
        _full_size(bench)
    with bench.guarded("repeatability"):
        _repeatable(bench)
    if CUDA:
        with bench.guarded("graph capture"):
            _captured(bench)


def _full_size(bench: Bench) -> None:
    """Both forms of a case in bfloat16 against plain torch in float64, out and every gradient."""
    for count in (1, 2):
        case = bottleneck_case(bench.sizes, count)
        inputs = case.inputs(48 if bench.trial else 4097)
        exact_case = bottleneck_case(bench.sizes._replace(dtype=torch.float64), count)
        exact = _results(exact_case.plain, [t.detach().double().requires_grad_() for t in inputs])
        for mode in ("torch", "triton"):
            with using(mode):
                found = _results(case.ours, inputs)
            errors = [((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]
            print(f"error of {case.name}, {mode}: " + " ".join(f"{error:.1e}" for error in errors), flush=True)


def _results(run: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    out = run(*inputs)
    grad = torch.linspace(-1, 1, out.numel(), device=out.device, dtype=out.dtype).view(out.shape)
    return [out, *torch.autograd.grad(out, inputs, grad)]


def _repeatable(bench: Bench) -> None:
    """Equal bits from run to run; threads of a block that read too early would differ sooner or later."""
    for count in (1, 2):
        case = bottleneck_case(bench.sizes, count)
        inputs = case.inputs(48 if bench.trial else 16_389)
        with using("triton"):
            first = _results(case.ours, inputs)
            for number in range(2 if bench.trial else 200):
                again = _results(case.ours, inputs)
                if not all(torch.equal(a, b) for a, b in zip(first, again, strict=True)):
                    bench.failures.append(f"{case.name} differs in repeat {number}")
                    return
    print("repeats are equal bit for bit", flush=True)


def _captured(bench: Bench) -> None:
    """Replays draw new dropout, and without dropout equal the eager run."""
    from adaptxfer.kernels.add_norm import add_norm

    s = bench.sizes
    h, x = s.draw(4096, s.width, trains=False), s.draw(4096, s.width, trains=False)
    norm, outs = s.norm(), {}
    with using("triton"):
        for p in (0.0, 0.1):
            add_norm(h, x, norm, p)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = add_norm(h, x, norm, p)
            outs[p] = []
            for _ in range(2):
                graph.replay()
                outs[p].append(out.clone())
        equal = torch.equal(outs[0.0][0], add_norm(h, x, norm))
    if not equal or not torch.equal(*outs[0.0]) or torch.equal(*outs[0.1]):
        bench.failures.append("graph capture: replays are wrong or repeat their dropout")
    else:
        print("graph replays equal the eager run, with new dropout each", flush=True)


def steps(bench: Bench) -> None:
    """A training step without optimiser: the library, our packed encoder in plain torch, and with kernels."""
    from benchmarks.gpu_steps import SETUPS, prepared, variants

    for setup in SETUPS:
        for count, length in ((2, 16),) if bench.trial else ((8, 128), (32, 128), (128, 128)):
            if bench.late():
                return
            with bench.guarded(f"step {setup}"):
                network, trained = prepared(setup, bench.sizes)
                shape = f"{bench.sizes.layers} layers, width {bench.sizes.width}, {count} x {length} tokens, no padding"
                bench.compare(f"step, {setup}", shape, variants(network, trained, count, length, bench.sizes))
                del network, trained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="start nothing after so long")
    parser.add_argument("--only", nargs="+", default=[], help="sections: checks, steps, or operations")
    parser.add_argument("--trial", action="store_true", help="tiny sizes, nothing kept")
    parser.add_argument("--dry", action="store_true", help="do not append to results.csv")
    chosen = parser.parse_args()
    if not CUDA and not chosen.trial:
        raise SystemExit("no CUDA device was found; --trial with TRITON_INTERPRET=1 runs tiny sizes without one")
    torch.manual_seed(0)
    sizes = Sizes(torch.device("cuda" if CUDA else "cpu"))
    if chosen.trial:
        sizes = sizes._replace(width=128, inner=16, words=1000, layers=1)
    bench = Bench(sizes, chosen.minutes, chosen.trial, chosen.dry)
    print(f"{device()}; torch {torch.__version__}, triton {triton.__version__}", flush=True)
    operations = all_cases(sizes)
    order = [
        "checks",
        "bottleneck",
        "fusion",
        "steps",
        *(name for name in operations if name not in ("bottleneck", "fusion")),
    ]
    copy_speed(bench)
    for section in chosen.only or order:
        with bench.guarded(section):
            if section in operations:
                for case in operations[section]():
                    operation(bench, case)
            else:
                {"checks": checks, "steps": steps}[section](bench)
    report(bench)


def report(bench: Bench) -> None:
    """The table, last."""
    print(f"\n{'name':<28}{'shape':<58}{'variant':<32}{'p50 ms':>10}{'ratio':>8}")
    for row in bench.rows:
        print(f"{row['name']:<28}{row['shape']:<58}{row['variant']:<32}{row['p50_ms']:>10}{row['ratio']:>8}")
    print("\n".join(f"FAILED {failure}" for failure in bench.failures) or "no failures")


if __name__ == "__main__":
    main()
