"""``adaptxfer doctor``: what this machine has, and what is known not to work together."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from adaptxfer import __version__
from adaptxfer.cli.options import RUNS, Json, Offline, Runs
from adaptxfer.console import Table, console
from adaptxfer.files import cache_dir, home, is_offline

LIBRARIES = (
    *("torch", "transformers", "adapters", "peft", "datasets", "evaluate", "accelerate", "tokenizers"),
    *("safetensors", "huggingface_hub", "numpy", "scipy", "typer", "triton"),
)
ELSEWHERE = {
    "feature cache": "Texts are tokenised again each time; ADAPTXFER_CACHE names another folder.",
    "Hub cache": "Nothing can be fetched; HF_HOME names another folder.",
    "kernel cache": "Kernels are built again each time; TRITON_CACHE_DIR names another folder.",
    "runs": "Name another folder with --runs.",
}
"""What follows from a folder that cannot be made, and how to name another."""
PATIENCE = 3.0
"""Seconds to wait for the Hub."""


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``state`` is ok, note or bad, and ``hint`` says what to do about the latter two."""

    what: str
    found: str
    state: str = "ok"
    hint: str = ""


def doctor(runs: Runs = RUNS, offline: Offline = False, json: Json = False) -> None:
    """Report versions, device, caches and known bad combinations."""
    parts = (_libraries(), _combinations(), _machine(), _device(), _kernels(), _folders(runs), _network(), _embedded())
    findings = [finding for part in parts for finding in part]
    rows = [[item.what, item.found + (f"\n{item.hint}" if item.hint else ""), item.state] for item in findings]
    bad = sum(item.state == "bad" for item in findings)
    verdict = f"{bad} of {len(findings)} checks need attention." if bad else "Nothing stands in the way."
    document = {"schema": 1, "ok": bad == 0, "findings": findings}
    console().result(document, Table("", ["check", "found", "state"], rows, verdict))


def _libraries() -> Iterator[Finding]:
    yield Finding("adaptxfer", __version__)
    yield Finding("python", f"{platform.python_version()} at {sys.executable}")
    for name in LIBRARIES:
        if found := _version(name):
            yield Finding(name, found)
        elif name != "triton":
            yield Finding(name, "absent", "bad", "Install it with the versions in constraints.txt.")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _combinations() -> Iterator[Finding]:
    """Pairs that are known to fail; an absent library is reported elsewhere."""
    pins = "Install the versions in constraints.txt."
    if _version("adapters") and not _version("transformers").startswith("4.57."):
        found = f"adapters {_version('adapters')} beside transformers {_version('transformers')}"
        yield Finding("combination", found, "bad", f"adapters 1.3 works with transformers 4.57 only. {pins}")
    if _major(_version("huggingface_hub")) >= 1 and _version("transformers").startswith("4."):
        found = f"huggingface_hub {_version('huggingface_hub')} beside transformers 4"
        yield Finding("combination", found, "bad", f"transformers 4 needs huggingface_hub below 1.0. {pins}")
    if 0 < _major(_version("numpy")) < 2 and _version("datasets"):
        yield Finding("combination", f"numpy {_version('numpy')}", "note", "Tested with numpy 2 only.")
    if util.find_spec("kernels"):
        hint = "Uninstall it: with transformers 4.57 a model's config.json could make it fetch code from the Hub."
        yield Finding("combination", f"kernels {_version('kernels')}", "note", hint)


def _major(version: str) -> int:
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0


def _machine() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Finding(
        "processors",
        f"{usable} usable of {os.cpu_count()}, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'unset')}",
    )
    yield Finding("memory", f"{_size(memory.available)} free of {_size(memory.total)}")


def _device() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:
        yield Finding("device", f"torch does not load: {error}", "bad", "Install torch again.")
        return
    yield Finding("torch threads", str(torch.get_num_threads()))
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        yield Finding("device", f"cpu ({built})")
        yield Finding("precision", "float32; bfloat16 runs, but is seldom faster on a CPU")
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        yield Finding(
            f"device {index}", f"{facts.name}, {_size(facts.total_memory)}, capability {facts.major}.{facts.minor}"
        )
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    yield Finding("precision", "float32, bfloat16" if bf16 else "float32, float16 (this device has no bfloat16)")
    if not util.find_spec("triton"):
        yield Finding("triton", "absent", "bad", "Install triton, or use --kernels torch.")


def _kernels() -> Iterator[Finding]:
    """Which code runs each operation of the encoder and why, as far as it does not depend on sizes; and graphs."""
    from adaptxfer.errors import AdaptxferError

    try:
        import torch

        from adaptxfer.kernels.dispatch import check_machine, choices
        from adaptxfer.kernels.modes import effective_mode

        mode, origin = effective_mode()
        check_machine(None)
    except AdaptxferError as error:
        yield Finding("kernels", error.message, "bad", error.hint)
        return
    except ImportError:
        return  # reported as the device
    yield Finding("kernels", f"mode {mode} ({origin})")
    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu and torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    groups: dict[str, list[str]] = {}
    for op, reason in choices(torch.device("cuda" if gpu else "cpu"), dtype).items():
        groups.setdefault(reason, []).append(op)
    for reason, ops in groups.items():
        failed = "failed its check" in reason
        code = f"plain torch for {', '.join(ops)}: {reason}" if reason else f"Triton for {', '.join(ops)}"
        yield Finding("kernels", code, *(("note", "Training works, but slower.") if failed else ()))
    yield Finding("CUDA graphs", "for steps in bf16" if gpu else "none: there is no CUDA device")


def _folders(runs: Path) -> Iterator[Finding]:
    kernels = Path(os.environ.get("TRITON_CACHE_DIR") or home() / ".triton" / "cache")
    places = (("feature cache", cache_dir()), ("Hub cache", _hub_home()), ("kernel cache", kernels), ("runs", runs))
    for what, path in places:
        if path.is_dir():
            free = _size(shutil.disk_usage(path).free)
            yield Finding(what, f"{path}: {_size(_used(path))} used, {free} free", *_writable(path))
        elif path.exists():
            yield Finding(what, f"{path}: a file, not a folder", "bad", "Name another folder, or move the file away.")
        else:
            yield Finding(what, f"{path}: not there yet", *_creatable(path, what))


def _writable(path: Path) -> tuple[str, str]:
    return ("ok", "") if os.access(path, os.W_OK) else ("bad", "The folder cannot be written.")


def _creatable(path: Path, what: str) -> tuple[str, str]:
    """Whether a folder that does not exist could be made."""
    there = next(above for above in path.absolute().parents if above.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        return "ok", ""
    return "note", f"It cannot be made in {there}. {ELSEWHERE[what]}"


def _hub_home() -> Path:
    return Path(os.environ.get("HF_HOME") or home() / ".cache" / "huggingface")


def _used(path: Path) -> int:
    """Bytes of all files below ``path``; links are not followed, vanished files not counted."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:
                continue
    return total


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def _network() -> Iterator[Finding]:
    import urllib.error
    import urllib.request

    if is_offline():
        yield Finding("Hub", "not asked: offline (--offline or HF_HUB_OFFLINE)")
        return
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE) as answer:
            yield Finding("Hub", f"{address} answers ({answer.status})")
    except urllib.error.HTTPError as error:
        yield Finding("Hub", f"{address} answers ({error.code})")
    except (OSError, ValueError) as error:
        hint = "Use --data-dir and a local --model, or --offline for what is cached."
        yield Finding("Hub", f"{address} does not answer: {getattr(error, 'reason', error)}", "note", hint)


def _embedded() -> Iterator[Finding]:
    from adaptxfer.embedded import ENCODERS, encoder_dir

    for name in ENCODERS:
        folder = encoder_dir(name)
        whole = folder is not None and (folder / "model.safetensors").is_file() and (folder / "config.json").is_file()
        yield Finding(
            f"encoder {name}",
            "embedded" if whole else "absent",
            *(() if whole else ("bad", "Install adaptxfer again.")),
        )
