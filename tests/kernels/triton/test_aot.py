"""Builds for GPUs that need not be there; all of them: python -m benchmarks.aot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def builds():
    if find_spec("triton") is None:
        pytest.skip("triton is not installed (pip install triton)")
    command = [
        sys.executable,
        "-m",
        "benchmarks.aot",
        "--json",
        "--rows",
        "16384",
        "--arch",
        "90",
        "--op",
        "bottleneck_1",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_built_without_a_fault_for_weights_in_16_and_32_bits(builds):
    assert [(build["op"], build["masters"]) for build in builds] == [("bottleneck_1", False), ("bottleneck_1", True)]
    assert all(build["tile"][0] >= 64 and build["wgmma"] and not build["spill"] for build in builds)


def test_faults_are_named():
    pytest.importorskip("triton")
    from benchmarks.aot import SHARED_LIMIT, faults

    fine = {"arch": 90, "op": "bottleneck_1", "tile": [64, 64, 4, 3], "spill": 0, "shared": 1000, "blocks": 1,
            "wgmma": 5, "mma": 0, "wide_loads": 9}  # fmt: skip
    assert faults(fine) == []
    for change, word in (
        ({"spill": 8}, "spilled"),
        ({"shared": SHARED_LIMIT[90] + 1}, "shared memory"),
        ({"blocks": 0}, "does not fit"),
        ({"wide_loads": 0}, "128 bits"),
        ({"wgmma": 0}, "tensor cores"),
        ({"arch": 80, "wgmma": 0}, "tensor cores"),
    ):
        assert [fault for fault in faults(fine | change) if word in fault], change
