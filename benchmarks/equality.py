"""How far everything fast is from what it stands for: python -m benchmarks.equality

Largest relative norm of a difference over outputs and all gradients. Kernels, run by Triton's interpreter where there
is no GPU, against plain torch in float64 on the same inputs, next to plain torch in their own dtype; the padding-free
encoder, accelerated models and steps of a fixed shape against the libraries and ordinary steps.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from adaptxfer.encoder.forward import encode
from adaptxfer.encoder.packed import packed_encode
from adaptxfer.kernels import accelerate
from adaptxfer.kernels.dispatch import using
from tests.encoder import setups
from tests.kernels.triton import against


class Row(NamedTuple):
    """One comparison; ``other`` is the error of plain torch in the same dtype."""

    what: str
    dtype: str
    error: float
    other: float | None = None


def kernels(device: torch.device) -> Iterator[Row]:
    """Every kernel on one shape with dropout and a ragged last block."""
    for name, case in cases(device).items():
        for dtype in against.DTYPES:
            torch.manual_seed(0)
            fast, plain, inputs = case(dtype)
            exact = against.results(plain, inputs, torch.float64, ())
            errors = [
                max(against.distance(one, true) for one, true in zip(found, exact, strict=True))
                for found in (against.results(fast, inputs, None, ()), against.results(plain, inputs, None, ()))
            ]
            yield Row(f"kernel {name}", str(dtype).removeprefix("torch."), *errors)


def cases(device: torch.device) -> dict[str, Callable[[torch.dtype], Any]]:
    """(kernel, plain torch with the masks that the kernel draws, inputs) by name."""
    from tests.kernels.triton import test_bottleneck as bottleneck
    from tests.kernels.triton import test_fusion as fusion
    from tests.kernels.triton import test_lora_linear as lora
    from tests.kernels.triton import test_masked_lm as masked_lm

    def after_sublayer(inner: tuple[int, ...], reads: str) -> Callable[[torch.dtype], Any]:
        def make(dtype: torch.dtype) -> Any:
            rows = against.draw(device, dtype, (19, 128), (19, 128))
            weights = against.draw(device, dtype, *bottleneck.weight_shapes(128, inner), scale=0.1)
            p_hidden = 0.0 if reads == "sublayer" else 0.1
            return *bottleneck.both(device, 19, 128, inner, "swish", reads, 2.0, 0.1, p_hidden), [*rows, *weights]

        return make

    def mix(count: int) -> Callable[[torch.dtype], Any]:
        shapes = ((count * 33, 64), (count * 33,), (64, count * 17))

        def make(dtype: torch.dtype) -> Any:
            inputs = [*against.draw(device, dtype, (9, 64)), *against.draw(device, dtype, *shapes, scale=0.1)]
            return *fusion.both(device, 9, count, "gelu", 0.1), inputs

        return make

    def low_rank(dtype: torch.dtype) -> Any:
        return *lora.both(device, 17, 64, (8, 4), 0.1), lora.inputs_of(device, dtype, 17, 64, (8, 4))

    def words(dtype: torch.dtype) -> Any:
        from adaptxfer.kernels.triton.masked_lm import masked_lm_loss

        labels = torch.arange(7, device=device) * 600
        inputs = against.draw(device, dtype, (7, 64), (4100, 64), (4100,), scale=0.3)
        return lambda r, w, b: masked_lm_loss(r, labels, w, b, 2), masked_lm.plain(labels), inputs

    return {
        "bottleneck (seq_bn)": after_sublayer((48,), "sum"),
        "bottleneck (double_seq_bn)": after_sublayer((16,), "sublayer"),
        "bottleneck (par_bn)": after_sublayer((16,), "input"),
        "bottleneck (stack of 2)": after_sublayer((48, 16), "sum"),
        "fusion N=3": mix(3),
        "fusion N=9": mix(9),
        "lora_linear": low_rank,
        "masked_lm": words,
        "grouped bottleneck (stack of 2)": of_groups(device, "grouped_bottleneck"),
        "grouped lora_linear": of_groups(device, "grouped_lora_linear"),
        **row_cases(device),
    }


def of_groups(device: torch.device, op: str) -> Callable[[torch.dtype], Any]:
    """Two runs in one launch against plain torch on the rows of each, without dropout."""
    from adaptxfer.kernels.triton import self_check

    self_check.ROWS, self_check.WIDTH, self_check.INNER = 19, 128, 16

    def make(dtype: torch.dtype) -> Any:
        fast, plain, inputs = self_check.CASES[op]()

        def in_torch(*tensors: torch.Tensor) -> torch.Tensor:
            with using("torch"):
                return plain(*tensors)

        return fast, in_torch, [tensor.to(device, dtype) for tensor in inputs]

    return make


def row_cases(device: torch.device) -> dict[str, Callable[[torch.dtype], Any]]:
    """Kernels that work on each row or element by itself."""
    from adaptxfer.kernels.triton.add_norm import add_norm
    from adaptxfer.kernels.triton.gelu import gelu
    from adaptxfer.kernels.triton.parts import mask_of
    from tests.kernels.triton.test_add_norm import norm_of

    seed = torch.tensor([5], device=device)
    mask = mask_of(seed, 0, 17, 192, 0.1)

    def sums(dtype: torch.dtype) -> Any:
        fast = lambda h, x: add_norm(h, x, norm_of(192, h), 0.1, seed)  # noqa: E731
        plain = lambda h, x: norm_of(192, h)(h * mask.to(h) + x)  # noqa: E731
        return fast, plain, against.draw(device, dtype, (17, 192), (17, 192))

    def activation(dtype: torch.dtype) -> Any:
        return gelu, torch.nn.functional.gelu, against.draw(device, dtype, (17, 70), scale=2.0)

    return {"add_norm": sums, "gelu": activation}


def encoders() -> Iterator[Row]:
    """Hidden states and gradients of every arrangement of modules."""
    for dtype in (torch.float64, torch.float32):
        for setup in setups.SETUPS:
            network = setups.plain()
            chosen = setups.SETUPS[setup](network)
            network.to(dtype).train()
            expected = setups.results(network, chosen, encode, *setups.tokens())
            found = setups.results(network, chosen, packed_encode, *setups.tokens())
            yield Row(f"padding-free encoder, {setup}", str(dtype).removeprefix("torch."), _both(found, expected))


def encoders_on_kernels(device: torch.device) -> Iterator[Row]:
    """As `encoders`, all operations on kernels."""
    for setup in ("seq_bn", "double_seq_bn", "par_bn", "stack", "fuse", "lora on all"):
        network = setups.plain(hidden_size=64, num_hidden_layers=2)
        chosen = setups.SETUPS[setup](network)
        network.to(device)
        ids, bounds = (part.to(device) for part in setups.tokens((5, 9, 3)))
        expected = setups.results(network, chosen, encode, ids, bounds)
        with using("triton"):
            found = setups.results(network, chosen, packed_encode, ids, bounds)
        yield Row(f"encoder on kernels, {setup}", "float32", _both(found, expected))


def models() -> Iterator[Row]:
    """Models of the libraries with their heads, before and after `accelerate`."""
    from tests.encoder import test_accelerate as own

    labels = own.batch(labels=torch.tensor([0, 2, 1, 1]))
    for name, setup, names in (("Stack", own.Stack("a", "b"), "ab"), ("Fuse", own.Fuse("a", "b"), "ab")):
        model, weights = own.adapter_model(setup, names)
        expected = own.results(model, labels, weights)
        with accelerate(model):
            found = own.results(model, labels, weights)
        yield Row(f"accelerate(XLMRobertaAdapterModel), {name}", "float64", _both(found, expected))


def steps() -> Iterator[Row]:
    """Ten optimiser steps of a fixed shape with dummy sequences against ordinary ones, weights at the end.

    In 32 bits and uncaptured, so on a CPU; `benchmarks.gpu` compares captured ones.
    """
    import pytest

    from adaptxfer.embedded import encoder_dir
    from adaptxfer.encoder import load_encoder
    from tests.tiny import save_tiny
    from tests.training import test_graphs as own

    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        rates: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        mini = encoder_dir("mini")
        assert mini is not None
        encoder = load_encoder(str(save_tiny(Path(root) / "tiny", mini, **rates)))
        for kind in own.KINDS:
            runs = [own.run(encoder, Path(root) / f"{kind}{s}", patch, s, kind) for s in (False, True)]
            worst = max(
                float((runs[1][1][name] - weight).norm() / (1 + weight.norm())) for name, weight in runs[0][1].items()
            )
            yield Row(f"steps of a fixed shape, {kind}", "float32", worst)


def _both(found: Any, expected: Any) -> float:
    return max(setups.distance(found[0], expected[0]), setups.furthest(found[1], expected[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="kernels, encoders, encoders_on_kernels, models or steps")
    only = parser.parse_args().only
    logging.getLogger("adapters").setLevel(logging.ERROR)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = {"kernels": lambda: kernels(device), "encoders": encoders, "models": models, "steps": steps,
             "encoders_on_kernels": lambda: encoders_on_kernels(device)}  # fmt: skip
    for name, part in parts.items():
        for row in part() if only in ("", name) and (name != "steps" or device.type == "cpu") else ():
            other = "" if row.other is None else f"  plain torch {row.other:.1e}"
            print(f"{row.what:<50} {row.dtype:<9} {row.error:.1e}{other}", flush=True)


if __name__ == "__main__":
    main()
