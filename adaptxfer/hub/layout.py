"""Where the files of a bundle lie in a repository.

What a run keeps below ``module/`` lies at the root, so that `adapters` and `peft` find it: the only module itself, or
one folder per module of a composition. Beside are ``bundle.json``, ``head.safetensors``,
``manifest.json`` and the card.
"""

from __future__ import annotations

from collections.abc import Iterable

from adaptxfer.errors import data_error
from adaptxfer.modules.bundle import FILE as BUNDLE
from adaptxfer.modules.bundle import PART

CARD, MANIFEST, HEAD = "README.md", "manifest.json", "head.safetensors"
MOST_FILES = 500


def places(files: Iterable[object], where: str) -> dict[str, str]:
    """Place in the repository -> place in the bundle, for the files a bundle lists.

    Raises:
        AdaptxferError: for a name that is no part of a bundle (a path elsewhere, a pickle), or two at one place.
    """
    found: dict[str, str] = {}
    for name in files:
        if not isinstance(name, str) or len(name) > 300 or not PART.fullmatch(name):
            raise data_error(
                f"{where} lists {str(name)[:100]!r}, which is no part of a bundle.",
                "Only safetensors and JSON below module/ are.",
            )
        place = name.removeprefix("module/")
        if place in found or place in (CARD, BUNDLE, MANIFEST) or (place == HEAD and name != HEAD):
            raise data_error(f"{where} lists two files for the place {place}.")
        found[place] = name
    if not found or len(found) > MOST_FILES:
        raise data_error(f"{where} lists {len(found)} files, expected 1 to {MOST_FILES}.")
    return found
