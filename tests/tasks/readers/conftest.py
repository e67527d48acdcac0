from __future__ import annotations

import pytest

from adaptxfer.tasks.readers import Upstream, reader_for
from adaptxfer.tasks.spec import FileSource


@pytest.fixture
def read(write):
    """Write a file and read all its rows with a reader."""

    def run(reader: str, content: str | bytes, name: str = "file", language: str = "en", beside=None, **source):
        path = write(name, content)
        companions = {key: write(f"{key}.txt", text) for key, text in (beside or {}).items()}
        up = Upstream(path, FileSource(reader=reader, **source), language, companions)
        return list(reader_for(reader)(up))

    return run
