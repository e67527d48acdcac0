from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tiny import tiny_dir, tiny_encoder  # noqa: F401  (fixtures)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny matrices: more threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
