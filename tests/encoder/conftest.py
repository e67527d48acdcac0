from __future__ import annotations

from tests.tiny import tiny_dir, tiny_encoder  # noqa: F401  (fixtures)
