"""Build every kernel for GPUs that need not be there, and print what each costs.

    python -m benchmarks.aot [--arch 90 80] [--op NAME ...] [--rows N ...] [--all] [--json]

Registers, spilled bytes and the instruction mix come from the disassembler inside the triton package, shared memory
from the compiler. ``--all`` builds other tiles beside those of `adaptxfer.kernels.tiles`; without it, a build that
spills registers, does not fit or leaves the tensor cores idle is named, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from adaptxfer.kernels import tiles
from adaptxfer.kernels.tiles import Tile

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
SHARED_LIMIT = {90: 232_448, 80: 166_912}
TYPES = {
    "T": "i32",
    "parts": "i32",
    "steps": "i32",
    "stream": "i32",
    "count": "i32",
    "seed_ptr": "*i64",
    "labels_ptr": "*i64",
    "table_ptr": "*i32",
}
FLOAT32 = re.compile(r"stats|moments|part_ptr|loss|^p_ptr")
WEIGHT = re.compile(r"down|up|gamma|beta")
WIDE = re.compile(r"\bLD(?:G|GSTS)\.E[.A-Z0-9]*\.128")
TRIED = [
    *(Tile(16, 64, 4, 3), Tile(16, 128, 4, 3), Tile(32, 64, 4, 3), Tile(64, 32, 4, 2)),
    *(Tile(64, 64, 4, 2), Tile(64, 64, 4, 3), Tile(64, 64, 8, 2), Tile(64, 128, 8, 3)),
]


class Case(NamedTuple):
    """One kernel with fixed constants; ``masters`` keeps trainable weights in float32."""

    op: str
    kernel: Any
    constants: dict[str, Any]
    tile: Tile
    masters: bool = False


class Choice(NamedTuple):
    """Which tiles to build: those of the table for these token counts, or the ones to try instead."""

    capability: tuple[int, int]
    rows: list[int]
    tried: list[Tile]

    def tiles(self, op: str, inner: int) -> list[Tile]:
        return self.tried or list(dict.fromkeys(tiles.tile(op, inner, rows, self.capability) for rows in self.rows))


def bottleneck_cases(choice: Choice) -> Iterator[Case]:
    from adaptxfer.kernels.triton.bottleneck_backward import rows_kernel, weights_kernel
    from adaptxfer.kernels.triton.bottleneck_forward import forward_kernel

    for grouped, count in product((False, True), (1, 2)):
        shape = {"H": 1024, "D": 64, "WIDTH": 64, "ACT": 0, "READS": 0, "DROP": False, "PRECISION": "tf32"}
        shape |= {"GROUPED": grouped}
        rest = {"D2": 64 * (count - 1), "WIDTH2": 64, "ACT2": 0, "DROP_HIDDEN": True}
        before = {"D0": 64 * (count - 1), "WIDTH0": 64, "ACT0": 0, "INNER": 64 * count}
        for op, kernel, more in (
            ("bottleneck", forward_kernel, rest),
            ("bottleneck_backward", rows_kernel, rest),
            ("bottleneck_weights", weights_kernel, before),
        ):
            for tile in choice.tiles(f"{op}_{count}", 64):
                for masters in (False, True):
                    name = f"grouped_{op}_{count}" if grouped else f"{op}_{count}"
                    yield Case(name, kernel, {**shape, **more, "ROWS": tile.rows, "COLS": tile.cols}, tile, masters)


def row_cases(choice: Choice) -> Iterator[Case]:
    from adaptxfer.kernels.triton import add_norm, gelu, masked_lm

    tile = add_norm.rows_tile(1024)
    shape = {"H": 1024, "DROP": True, "ROWS": tile.rows, "COLS": tile.cols}
    yield Case("add_norm", add_norm.forward_kernel, shape, tile)
    yield Case("add_norm_backward", add_norm.backward_kernel, shape, tile)
    yield Case("gelu", gelu.forward_kernel, {"SIZE": gelu.TILE.cols}, gelu.TILE)
    yield Case("gelu_backward", gelu.backward_kernel, {"SIZE": gelu.TILE.cols}, gelu.TILE)
    shape = {"V": 250_002, "STRIDE": 250_048, "COLS": masked_lm.TILE.cols, "BIAS": True, "GRADIENT": True}
    yield Case("cross_entropy_rows", masked_lm.rows_kernel, shape, masked_lm.TILE)


def narrow_cases(choice: Choice) -> Iterator[Case]:
    from adaptxfer.kernels.triton import fusion, lora_linear

    for count in (2, 3, 9, 16):
        for tile in [fusion.mix_tile(count)]:
            meta = fusion.meta(count, 64, "relu", fusion.aligned(count * 129), 0.1)
            shape = {name: value for name, value in meta.items() if name.isupper()} | {"ROWS": tile.rows}
            yield Case(f"fusion_{count}", fusion.forward_kernel, shape, tile)
            yield Case(f"fusion_{count}_backward", fusion.backward_kernel, shape, tile)
    for width in (1024, 4096):
        for op, kernel, more in (
            ("lora_shrink", lora_linear.shrink_kernel, {}),
            ("lora_spread", lora_linear.spread_kernel, {"COUNT": 2}),
            ("lora_gradients", lora_linear.grads_kernel, {"COUNT": 2}),
        ):
            for tile, grouped in product(choice.tiles(f"{op}_1", 16), (False, True)):
                shape = {"K": width, "RANK": 16, "ROWS": tile.rows, "COLS": tile.cols, "PRECISION": "tf32"}
                shape |= {"DROP": True, "GROUPED": grouped}
                yield Case(f"{'grouped_' if grouped else ''}{op}_{width}", kernel, {**shape, **more}, tile)


CASES = (row_cases, bottleneck_cases, narrow_cases)


def build(case: Case, arch: int) -> dict[str, Any]:
    """Compile one case and disassemble it."""
    names = list(case.kernel.arg_names)
    kinds = {name: kind(name, case.masters) for name in names if name not in case.constants}
    signature = {name: kinds.get(name, "constexpr") for name in names}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(names)
        if signature[name].startswith("*") or name == "count"
    }
    constants = {(names.index(name),): value for name, value in case.constants.items()}
    source = ASTSource(fn=case.kernel, signature=signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": case.tile.warps, "num_stages": case.tile.stages, "enable_fp_fusion": True}
    return usage(triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options), arch, case)


def kind(name: str, masters: bool) -> str:
    """The type of an argument, by its name."""
    if name in TYPES:
        return TYPES[name]
    if not name.endswith("_ptr"):
        return "fp32"
    if FLOAT32.search(name) or (masters and WEIGHT.match(name)):
        return "*fp32"
    return "*bf16"


def usage(built: Any, arch: int, case: Case) -> dict[str, Any]:
    """Registers per thread, spilled bytes, shared bytes, blocks per multiprocessor and instructions."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        resources = tool("cuobjdump", "--dump-resource-usage", file.name)
        code = tool("nvdisasm", file.name)
    registers, stack = map(int, re.search(r"REG:(\d+) STACK:(\d+)", resources).groups())
    shared = built.metadata.shared
    blocks = min(
        65536 // (registers * case.tile.warps * 32),
        (SHARED_LIMIT[arch] + 1024) // (shared + 1024),
        64 // case.tile.warps,
    )
    return {
        "op": case.op, "arch": arch, "tile": list(case.tile), "masters": case.masters, "registers": registers,
        "spill": stack, "shared": shared, "blocks": blocks, "wgmma": len(re.findall(r"\bHGMMA", code)),
        "mma": len(re.findall(r"\bHMMA", code)), "wide_loads": len(WIDE.findall(code)),
    }  # fmt: skip


def faults(found: dict[str, Any]) -> list[str]:
    """What speaks against a build."""
    products = "bottleneck" in found["op"]
    idle = not found["wgmma"] if found["arch"] == 90 and found["tile"][0] >= 64 else not found["mma"] + found["wgmma"]
    checks = {
        f"{found['spill']} bytes of registers are spilled": found["spill"] > 0,
        f"{found['shared']} bytes of shared memory are too many": found["shared"] > SHARED_LIMIT[found["arch"]],
        "a block of it does not fit": found["blocks"] < 1,
        "rows are not loaded 128 bits at a time": not found["wide_loads"],
        "the tensor cores are not used": products and idle,
    }
    return [text for text, wrong in checks.items() if wrong]


def tool(name: str, *arguments: str) -> str:
    return subprocess.run([str(TOOLS / name), *arguments], capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", type=int, default=[90, 80], choices=[80, 90])
    parser.add_argument("--op", nargs="+", default=[], help="only operations whose names start so")
    parser.add_argument(
        "--rows", nargs="+", type=int, default=[1024, 4096, 16384], help="token counts to take tiles for"
    )
    parser.add_argument("--all", action="store_true", help="tiles beside those of the table")
    parser.add_argument("--json", action="store_true", help="one object per line")
    chosen, wrong = parser.parse_args(), []
    for arch in chosen.arch:
        for cases in CASES:
            for case in cases(Choice((arch // 10, arch % 10), chosen.rows, TRIED if chosen.all else [])):
                if chosen.op and not case.op.startswith(tuple(chosen.op)):
                    continue
                found = build(case, arch)
                print(json.dumps(found) if chosen.json else line(found), flush=True)
                wrong += [f"sm_{arch} {case.op}: {fault}" for fault in faults(found) if not chosen.all]
    if wrong:
        sys.exit("\n".join(wrong))


def line(found: dict[str, Any]) -> str:
    tile = "x".join(map(str, found["tile"][:2])) + f" w{found['tile'][2]} s{found['tile'][3]}"
    return (
        f"sm_{found['arch']} {found['op']:<29} {tile:<15} {'fp32' if found['masters'] else '16':<5} "
        f"reg {found['registers']:>3} spill {found['spill']:>5} shared {found['shared'] / 1024:>6.1f} KiB "
        f"blocks {found['blocks']} wgmma {found['wgmma']} mma {found['mma']} 128-bit loads {found['wide_loads']}"
    )


if __name__ == "__main__":
    main()
