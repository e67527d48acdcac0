"""Builds for GPUs that need not be there: a tile of the table must not spill and must fit, whatever the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SHARED = {90: 232_448, 80: 166_912}


@pytest.fixture(scope="module")
def builds():
    if find_spec("triton") is None:
        pytest.skip("triton is not installed (pip install triton)")
    command = [sys.executable, "-m", "benchmarks.aot", "--json", "--rows", "16384"]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_operation_is_built_for_both_generations(builds):
    for arch in SHARED:
        found = {build["op"] for build in builds if build["arch"] == arch}
        assert {"add_norm_backward", "gelu", "cross_entropy_rows", "fusion_9_backward", "lora_spread_4096"} <= found
        assert {
            f"{op}_{n}" for op in ("bottleneck", "bottleneck_backward", "bottleneck_weights") for n in (1, 2)
        } <= found


def test_no_registers_are_spilled(builds):
    assert [build for build in builds if build["spill"]] == []


def test_shared_memory_fits(builds):
    assert [build for build in builds if build["shared"] > SHARED[build["arch"]] or build["blocks"] < 1] == []


def test_rows_are_loaded_128_bits_at_a_time(builds):
    assert [build for build in builds if not build["wide_loads"]] == []


def test_tall_tiles_use_the_tensor_cores_of_hopper(builds):
    tall = [b for b in builds if b["arch"] == 90 and b["op"].startswith("bottleneck") and b["tile"][0] >= 64]
    assert tall and all(build["wgmma"] for build in tall)
    assert all(build["mma"] for build in builds if build["arch"] == 80 and build["op"].startswith("bottleneck"))
