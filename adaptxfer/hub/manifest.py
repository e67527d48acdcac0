"""The record of a training as it travels: known fields of known types, whoever wrote it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from adaptxfer.encoder.load import BaseModel
from adaptxfer.errors import AdaptxferError
from adaptxfer.files import check_name
from adaptxfer.modules.composition import HOWS, METHODS
from adaptxfer.modules.recipe import WAYS
from adaptxfer.runs.run import SCHEMA, Manifest, versions
from adaptxfer.runs.store import PULLED

KIND = PULLED
"""Kind of a run that came from the Hub: never taken for a result of a stage here, nor as the newest intermediate."""
_TYPES = {
    **dict.fromkeys(("max_length", "limit", "max_steps", "batch_size", "r"), int),
    **dict.fromkeys(
        ("learning_rate", "epochs", "warmup", "reduction", "alpha", "dropout", "density", "drop"), int | float
    ),
    **dict.fromkeys(("tasks", "intermediates", "languages", "weights"), list),
    **dict.fromkeys(("model", "precision", "variant", "sampler"), str),
}
LARGEST = 1e300
_CHOICES = {"how": HOWS, "method": METHODS, "by": WAYS}


def cleaned(found: Mapping[str, Any]) -> Manifest:
    """What of a manifest may be shared or believed; anything of another type is left out."""
    seed = found.get("seed")
    return {
        "schema": SCHEMA,
        "kind": _text(found.get("kind")) or KIND,
        "name": _name(found.get("name")) or "module",
        "hash": _name(found.get("hash")) or "",
        "status": "finished",
        "request": _request(found.get("request")),
        "versions": _texts(found.get("versions")),
        "base_model": _base(found.get("base_model")),
        "data": _texts(found.get("data")),
        "seed": seed if isinstance(seed, int) and not isinstance(seed, bool) else 0,
        "parents": [name for name in map(_name, _list(found.get("parents"))) if name],
        "started": _text(found.get("started")) or "",
        "finished": _text(found.get("finished")),
        "duration_s": _number(found.get("duration_s")) or 0.0,
        "dev": {task: _scores(values) for task, values in _dict(found.get("dev")).items() if _name(task)},
        "training": {key: value for key, value in _scores(found.get("training")).items() if key != "main"},
    }


def pulled(found: Mapping[str, Any], source: Mapping[str, Any]) -> Manifest:
    """The manifest of a pulled bundle: what came with it, and where it came from."""
    return {**cleaned(found), "kind": KIND, "pulled": dict(source), "error": None}


def empty(name: str, base: BaseModel, method: str) -> Manifest:
    """A manifest for a module that came without one."""
    request = {"model": base.id, "method": method, "how": "none"}
    return {
        "name": name,
        "request": {key: {"value": value, "from": "module"} for key, value in request.items()},
        "versions": versions(),
        "base_model": base.to_dict(),
    }


def _request(found: Any) -> dict[str, dict[str, Any]]:
    kept = {}
    for key, entry in _dict(found).items():
        value = entry.get("value") if isinstance(entry, dict) else None
        if _name(key) and isinstance(entry, dict) and _fits(key, value):
            kept[key] = {"value": value, "from": _text(entry.get("from")) or "unknown"}
    return kept


def _fits(key: str, value: Any) -> bool:
    if key in _CHOICES:
        return value in _CHOICES[key]
    if key in _TYPES and value is not None and (not isinstance(value, _TYPES[key]) or isinstance(value, bool)):
        return False
    return _is_plain(value) or (isinstance(value, list) and len(value) < 1000 and all(map(_is_plain, value)))


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 1000
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _base(found: Any) -> dict[str, Any]:
    try:
        return BaseModel.from_dict(_dict(found)).to_dict()
    except (TypeError, ValueError):
        return {}


def _scores(found: Any) -> dict[str, Any]:
    numbers = {key: value for key, value in _dict(found).items() if _name(key) and _number(value) is not None}
    main = _dict(found).get("main")
    return numbers | ({"main": main} if isinstance(main, str) and main in numbers else {})


def _texts(found: Any) -> dict[str, str]:
    return {key: value for key, value in _dict(found).items() if len(key) <= 200 and _text(value)}


def _dict(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) and len(found) <= 1000 else {}


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _number(value: Any) -> int | float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return value if plain and -LARGEST < value < LARGEST else None  # a whole number may be too large for a float


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 1000 else None


def _name(value: Any) -> str | None:
    try:
        return check_name(value, "name") if isinstance(value, str) else None
    except AdaptxferError:
        return None
