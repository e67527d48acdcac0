"""What `benchmarks.gpu` checks before it times: every kernel against plain torch, repeatability, captured graphs."""

from __future__ import annotations

import torch
from torch import Tensor

from adaptxfer.kernels.dispatch import OPERATIONS, using
from benchmarks.gpu_bench import CUDA, Bench
from benchmarks.gpu_cases import Run, bottleneck_case


def checks(bench: Bench) -> None:
    """Every kernel against plain torch, repeatability, and replay of a captured graph."""
    for dtype in (torch.bfloat16, torch.float32):
        kernels_agree(bench, dtype)
    with bench.guarded("full size"):
        _full_size(bench)
    with bench.guarded("repeatability"):
        _repeatable(bench)
    if CUDA:
        with bench.guarded("graph capture"):
            _captured(bench)


def kernels_agree(bench: Bench, dtype: torch.dtype) -> None:
    """Every kernel against plain torch in one dtype, on few rows, in memory that holds NaN before."""
    from adaptxfer.kernels.triton.self_check import fault

    torch.use_deterministic_algorithms(True, warn_only=True)  # new memory is filled with NaN
    for op in OPERATIONS:
        with bench.guarded(f"check of {op}"):
            found = fault(op, bench.sizes.device, dtype)
            print(f"check {op:<18} {str(dtype)[6:]:<9} {found or 'ok'}", flush=True)
            if found:
                bench.failures.append(f"check of {op} in {dtype}: {found}")
    torch.use_deterministic_algorithms(False)


def _full_size(bench: Bench) -> None:
    """Both forms of a case in bfloat16 against plain torch in float64, out and every gradient."""
    for count in (1, 2):
        case = bottleneck_case(bench.sizes, count)
        inputs = case.inputs(48 if bench.smoke else 4097)
        exact_case = bottleneck_case(bench.sizes._replace(dtype=torch.float64), count)
        exact = _results(exact_case.plain, [t.detach().double().requires_grad_() for t in inputs])
        for mode in ("torch", "triton"):
            with using(mode):
                found = _results(case.ours, inputs)
            errors = [((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]
            print(f"error of {case.name}, {mode}: " + " ".join(f"{error:.1e}" for error in errors), flush=True)


def _results(run: Run, inputs: list[Tensor]) -> list[Tensor]:
    out = run(*inputs)
    grad = torch.linspace(-1, 1, out.numel(), device=out.device, dtype=out.dtype).view(out.shape)
    return [out, *torch.autograd.grad(out, inputs, grad)]


def _repeatable(bench: Bench) -> None:
    """Equal bits from run to run; threads of a block that read too early would differ sooner or later."""
    for count in (1, 2):
        case = bottleneck_case(bench.sizes, count)
        inputs = case.inputs(48 if bench.smoke else 16_389)
        with using("triton"):
            first = _results(case.ours, inputs)
            for number in range(2 if bench.smoke else 200):
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
