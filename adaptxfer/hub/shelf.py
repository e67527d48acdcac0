"""The bundles in a folder of runs, trained here or pulled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptxfer.errors import AdaptxferError
from adaptxfer.files import read_json
from adaptxfer.runs.run import Run


@dataclass(frozen=True)
class Shelved:
    """One bundle as its manifest describes it; ``problem`` says why it cannot be used.

    ``origin`` is "trained" or ``owner/name@commit``; ``verified`` is None for what was trained here.
    """

    name: str
    origin: str
    verified: bool | None
    task: str = ""
    method: str = ""
    composition: Any = None
    base_model: str = ""
    problem: str = ""


def list_bundles(runs: Path) -> list[Shelved]:
    """All bundles below ``runs`` by name. Weights are neither read nor compared with their hashes."""
    return [_shelved(path.parent) for path in sorted(runs.glob("[!.]*/bundle.json"))]


def _shelved(folder: Path) -> Shelved:
    run = Run(folder)
    source = run.manifest.get("pulled")
    source = source if isinstance(source, dict) else {}
    origin = f"{source.get('repo')}@{str(source.get('commit'))[:8]}" if source else "trained"
    verified = bool(source.get("verified")) if source else None
    try:
        found = read_json(folder / "bundle.json", "bundle")
        return Shelved(
            folder.name, origin, verified, str(found["task"]), str(found["method"]), found["composition"],
            str(found["base_model"]["id"]),
        )  # fmt: skip
    except AdaptxferError as error:
        return Shelved(folder.name, origin, verified, problem=error.message)
    except (KeyError, TypeError):
        return Shelved(folder.name, origin, verified, problem="bundle.json is not complete.")
