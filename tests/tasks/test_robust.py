"""Whatever a file holds, reading it gives examples or one sentence, never another error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.build import Builder
from adaptxfer.tasks.parse_places import READERS
from adaptxfer.tasks.readers import Upstream, reader_for
from adaptxfer.tasks.spec import FileSource, Rows, TaskSpec
from adaptxfer.tasks.template import FIELDS, RowError

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LEAF = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3))
KEYS = st.sampled_from(["data", "paragraphs", "qas", "context", "question", "id", "answers", "text", "answer_start"])
JSON = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3))
PIECES = st.lists(st.sampled_from(["a", "\t", "\n", "1", "-", ".", "_", "#", "ID=x", "(<L A B C d A>)", '"', ",", "ü"]))
CONTENT = st.one_of(
    st.binary(max_size=60),
    PIECES.map(lambda pieces: "".join(pieces).encode()),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.lists(JSON, max_size=3).map(lambda values: "\n".join(map(json.dumps, values)).encode()),
)


@pytest.mark.parametrize("reader", READERS)
@quick
@given(content=CONTENT)
def test_any_bytes(reader, tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    source = FileSource(reader=reader, names=("a", "b?") if reader == "tsv" else ())
    try:
        rows = list(reader_for(reader)(Upstream(path, source, "en", {"candidates": path, "gold": path})))
    except AdaptxferError:
        return
    assert all(isinstance(number, int) and isinstance(row, dict) for number, row in rows)


@pytest.mark.parametrize("kind", FIELDS)
@quick
@given(data=st.data())
def test_any_row(kind, data):
    row = data.draw(st.dictionaries(st.sampled_from(FIELDS[kind]), JSON | st.lists(st.text(max_size=2), max_size=3)))
    spec = TaskSpec("toy", kind, ("target",), ("en",), Path("toy.toml"), "0", labels=("a", "b"))
    columns = {"query": "{query}", "candidate": "{candidate}"} if "query" in row else {}
    try:
        made = Builder(spec, Rows(columns=columns), "en").examples(1, row)
    except RowError:
        return
    assert all(hash(example) is not None for example in made), "an example is hashable, so nothing in it is a list"
