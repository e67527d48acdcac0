"""Everything that reads what a stranger may send, with hostile input for it: a few cases in the tests, many on demand.

A target takes drawn input and a folder. Reading it must end in a result or in an AdaptxferError whose sentence is not
empty; any other error is a crash.
"""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from adaptxfer.encoder.load import check_config
from adaptxfer.errors import AdaptxferError
from adaptxfer.hub.client import check_repo, check_revision, redact
from adaptxfer.hub.manifest import cleaned, pulled
from adaptxfer.hub.text import block, code, md, one_line
from adaptxfer.modules.bundle import read_bundle
from adaptxfer.modules.recipe import Recipe, parse_weights
from adaptxfer.modules.weights import check_file, read_tensors
from adaptxfer.runs.gridfile import read_grid
from adaptxfer.runs.run import Run
from adaptxfer.studies.items import read_clusters
from adaptxfer.studies.languages import read_features
from adaptxfer.studies.table import COLUMNS, read_csv
from adaptxfer.tasks.build import Builder
from adaptxfer.tasks.find import bundled_folder
from adaptxfer.tasks.load import read_examples
from adaptxfer.tasks.parse import parse_task
from adaptxfer.tasks.parse_places import READERS
from adaptxfer.tasks.readers import Upstream, reader_for
from adaptxfer.tasks.spec import FileSource, Rows, TaskSpec
from adaptxfer.tasks.template import FIELDS, RowError

REFUSED = (AdaptxferError, RowError)


class Target(NamedTuple):
    """Something that reads: what is drawn for it, and the reading."""

    drawn: st.SearchStrategy[Any]
    read: Callable[[Any, Path], object]


# ---- values -----------------------------------------------------------------------------------------------------
NASTY = ["", " ", "\0", "\ud800", "\u202e", "../x", "/etc/passwd", "a/b", "C:\\x", "con", ".", "..", "-x", "__class__",
         "{0.__class__}", "{x}", "%s", "$(id)", "`id`", "<script>", "=1+1", "'; --", "\r\n", "\x1b[31m", "NaN", "1e999",
         "(a+)+$", "x" * 5000, "é", "\ufeff", "\u2028", "keys", "type", "nan", "null", "true", "0x10", "١"]  # fmt: skip
TEXT = st.sampled_from(NASTY) | st.text(max_size=12)
NUMBER = st.integers() | st.floats() | st.sampled_from([0, -1, 1 << 31, 1 << 63, 10**400, -0.0, 1e-320, math.inf])
LEAF = st.none() | st.booleans() | NUMBER | TEXT
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
DEEP = st.integers(1, 3000).map(lambda n: b"[" * n + b"1" + b"]" * n)
LONG = st.integers(4000, 9000).map(lambda n: b'{"a":' + b"9" * n + b"}")


def plain(value: Any) -> bytes:
    """JSON as another program may write it: infinities, lone surrogates and all."""
    return json.dumps(value).encode()


def spoiled(text: bytes, place: int, byte: int, how: int) -> bytes:
    """One byte changed, the rest cut off, a piece doubled, or a line end turned around."""
    place %= max(1, len(text))
    if how == 0:
        return text[:place] + bytes([byte]) + text[place + 1 :]
    if how == 1:
        return text[:place]
    return text[:place] + text[place // 2 :] if how == 2 else text.replace(b"\n", [b"\r", b"\r\n", b"\0\n"][byte % 3])


def mutated(texts: list[bytes]) -> st.SearchStrategy[bytes]:
    """Good files with a few faults each."""
    fault = st.tuples(st.integers(0, 1 << 16), st.integers(0, 255), st.integers(0, 3))

    def apply(drawn: tuple[bytes, list[tuple[int, int, int]]]) -> bytes:
        text = drawn[0]
        for each in drawn[1]:
            text = spoiled(text, *each)
        return text

    return st.tuples(st.sampled_from(texts), st.lists(fault, min_size=1, max_size=3)).map(apply)


def documents(good: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """A JSON document with a value replaced somewhere, or its bytes spoiled, or no such thing at all."""
    keys = st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=2)
    inner = sorted({key for value in good.values() if isinstance(value, dict) for key in value} | {"x"})

    def replaced(names: list[str], below: str, value: Any) -> bytes:
        changed = dict(good)
        for name in names:
            old = changed[name]
            changed[name] = {**old, below: value} if isinstance(old, dict) and below != "x" else value
        return plain(changed)

    whole = st.builds(replaced, keys, st.sampled_from(inner), JSON)
    return st.one_of(whole, whole, mutated([plain(good)]), JSON.map(plain), DEEP, LONG, st.binary(max_size=40))


def zipped(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Now and then gzip, whole or cut off."""
    pressed = content.map(lambda text: gzip.compress(text, mtime=0))
    return st.one_of(content, content, pressed, pressed.map(lambda text: text[: len(text) * 2 // 3]))


def put(folder: Path, name: str, content: bytes) -> Path:
    """Write a file, its folder made."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# ---- bundles and records ----------------------------------------------------------------------------------------
BUNDLE = {
    "schema": 1, "task": "goal", "method": "bottleneck", "composition": "goal", "options": {"reduction": 16},
    "base_model": {"id": "tiny", "revision": None, "fingerprint": "0" * 32, "model_type": "xlm-roberta", "layers": 2,
                   "width": 32},
    "heads": {"goal": {"kind": "classify", "width": 32, "labels": ["a", "b"], "dropout": 0.1, "init_range": 0.02}},
    "files": {},
}  # fmt: skip
MANIFEST = {
    "schema": 1, "kind": "evaluate", "name": "goal", "hash": "0" * 8, "status": "finished",
    "request": {"how": {"value": "stack", "from": "you"}, "weights": {"value": [1, 2], "from": "you"}},
    "versions": {"torch": "2"}, "base_model": BUNDLE["base_model"], "data": {"goal/train": "0" * 64}, "seed": 1,
    "parents": ["intermediate-a-00000000"], "started": "2026-01-01T00:00:00+00:00", "finished": None,
    "duration_s": 1.0, "error": None, "dev": {"goal": {"accuracy": 50.0, "main": "accuracy"}},
    "training": {"tokens": 5, "seconds": 1.0},
}  # fmt: skip
SCORES = {"schema": 1, "task": "goal", "metric": "accuracy", "split": "test", "mean": 50.0, "mean_zero_shot": None,
          "languages": {"en": {"accuracy": 50.0, "n": 2}, "sw": {"accuracy": 50.0, "n": 2}}}  # fmt: skip
LINES = [plain({"id": str(i), "gold": "a", "predicted": "b", "correct": False, "step": i}) for i in range(3)]
CONFIG = {"model_type": "xlm-roberta", "num_hidden_layers": 2, "hidden_size": 32, "architectures": ["X"],
          "id2label": {"0": "a"}}  # fmt: skip


def read_a_bundle(content: bytes, folder: Path) -> object:
    put(folder, "bundle.json", content)
    return read_bundle(folder)


def read_a_run(content: bytes, folder: Path) -> object:
    run = Run(put(folder, "manifest.json", content).parent)
    assert run.status and isinstance(run.problem, str)
    return run.asked("how"), run.asked("\0")


def share_a_record(content: bytes, folder: Path) -> object:
    found = json.loads(content)
    record = cleaned(found if isinstance(found, dict) else {"request": found})
    again = json.loads(json.dumps(record, allow_nan=False))
    assert again == record and cleaned(record) == record
    return pulled(record, {"repo": "a/b"})


def read_scores(content: bytes, folder: Path) -> object:
    return Run(put(folder, "scores.json", content).parent).read_scores()


def read_records(content: bytes, folder: Path) -> object:
    put(folder, "log.jsonl", content)
    run = Run(put(folder, "predictions/en.jsonl", content).parent.parent)
    return run.read_predictions("en"), run.read_log()


def read_config(content: bytes, folder: Path) -> object:
    put(folder, "config.json", content)
    return check_config(folder)


# ---- weights ----------------------------------------------------------------------------------------------------
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "f32", "", "X"]) | LEAF,
        "shape": st.lists(st.integers(-2, 9) | NUMBER, max_size=4) | LEAF,
        "data_offsets": st.lists(st.integers(-4, 64) | NUMBER, max_size=3) | LEAF,
    },
    optional={"x": LEAF},
)
HEADERS = st.dictionaries(TEXT | st.just("__metadata__"), ENTRY | JSON, max_size=4).map(plain)
GOOD = plain({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}})


def weight_file(header: bytes, length: int | None, body: bytes) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + body


WEIGHTS = st.one_of(
    st.builds(weight_file, HEADERS, st.none() | st.integers(0, (1 << 64) - 1), st.binary(max_size=64)),
    st.builds(weight_file, HEADERS, st.none(), st.binary(max_size=64)),
    mutated([weight_file(GOOD, None, bytes(24))]),
    st.binary(max_size=40),
)


def read_weights(content: bytes, folder: Path) -> object:
    path = put(folder, "w.safetensors", content)
    check_file(path)
    return read_tensors(path)


# ---- task files and data ----------------------------------------------------------------------------------------
TASK_FILES = [path.read_bytes() for path in sorted(bundled_folder().rglob("*.toml"))[:40]]
KEYS = st.sampled_from(
    "name kind role labels languages pool extends code open_labels version text.max_length text.stride train.task "
    "train.epochs train.learning_rate.bottleneck metric.main metric.others retrieve.layer.2 columns.first "
    "columns.label values.label where.lang codes.en expect.train files hub x".split()
)
TOML = st.recursive(
    st.one_of(
        TEXT.map(lambda text: json.dumps(text.encode("utf-8", "replace").decode())),
        st.integers(-(1 << 70), 1 << 70).map(str), st.sampled_from(["true", "inf", "nan", "1979-05-27", "[]", "{}"]),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda x: f"{x:e}"),
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
    max_leaves=5,
)  # fmt: skip
TASK = """name = "toy"\nkind = "{kind}"\nrole = ["target"]\nlabels = ["a", "b"]\nlanguages = ["en", "de"]
{line}
[[files]]\nreader = "{reader}"\npaths = ["{{split}}.{{lang}}"]\n{more}"""
OWN_TASKS = st.builds(
    lambda kind, reader, key, value, more: TASK.format(
        kind=kind, reader=reader, line=f"{key} = {value}" if key else "", more=more
    ).encode(),
    st.sampled_from(["classify", "choose", "tag", "span", "retrieve"]), st.sampled_from(READERS),
    KEYS | st.just(""), TOML,
    st.just("") | TOML.map(lambda v: f"paths = {v}") | TOML.map(lambda v: f"columns.first = {v}")
    | TOML.map(lambda v: f"where.a = {v}") | TOML.map(lambda v: f"names = {v}"),
)  # fmt: skip
ROW_KEYS = st.sampled_from(["data", "paragraphs", "qas", "context", "question", "id", "answers", "text", "answer_start",
                            "label", "first", "words", "tags", "a", "lang", "sentences"])  # fmt: skip
ROWS = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ROW_KEYS, inner, max_size=4))
WORDS = [
    "a",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "1",
    "-",
    ".",
    "_",
    "#",
    "ID=x",
    "(<L A B C d A>)",
    '"',
    ",",
    "ü",
    "\0",
    "\ufeff",
]
PIECES = st.lists(st.sampled_from([*WORDS, "2-1", "1.1", "9" * 5000]), max_size=40)
CONLLU = mutated([b"# x\n1\tA\t_\tNOUN\t_\t_\t0\t_\t_\t_\n2-3\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n"
                  b"2\tb\t_\tADP\t_\t_\t1\t_\t_\t_\n3\tc\t_\tDET\t_\t_\t2\t_\t_\t_\n\n"])  # fmt: skip
SQUAD = mutated([plain({"data": [{"title": "t", "paragraphs": [{"context": "a b c", "qas": [
    {"id": "1", "question": "q", "answers": [{"text": "b", "answer_start": 2}]}]}]}]})])  # fmt: skip
ROW: dict[str, dict[str, Any]] = {
    "classify": {"id": "1", "first": "a", "second": "b", "label": "a"},
    "choose": {"id": 1, "context": "a", "choices": ["b", "c"], "label": 1},
    "tag": {"id": "1", "words": ["a", "b"], "tags": ["a", "b"]},
    "span": {"id": "1", "question": "q", "context": "a b", "answers": [{"text": "b", "answer_start": 2}], "title": "t"},
    "retrieve": {"id": "1", "side": "query", "text": "a", "gold": ["2"]},
}


def rows_like(good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A good row with up to two values replaced, or columns of its kind with anything in them."""
    changed = st.dictionaries(st.sampled_from([*good, "query", "candidate"]), ROWS, max_size=2)
    return changed.map(lambda part: {**good, **part}) | st.dictionaries(st.sampled_from(sorted(good)), ROWS)


CONTENT = zipped(st.one_of(
    st.binary(max_size=60), PIECES.map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass")), ROWS.map(plain),
    st.lists(ROWS, max_size=3).map(lambda rows: b"\n".join(map(plain, rows))), CONLLU, SQUAD, DEEP, LONG,
    st.sampled_from(sorted(ROW)).flatmap(lambda kind: st.lists(rows_like(ROW[kind]), min_size=1, max_size=3)).map(
        lambda rows: b"\n".join(map(plain, rows))),
))  # fmt: skip

LABELS = [('labels = ["a", "b"]\n', ""), ("", "")]
GOOD_TASKS = st.sampled_from(sorted(ROW)).flatmap(
    lambda kind: st.tuples(
        st.just(
            TASK.format(kind=kind, reader="jsonl", line="", more="")
            .replace(*LABELS[kind in ("classify", "tag")])
            .encode()
        ),
        st.lists(st.just(ROW[kind]) | rows_like(ROW[kind]), min_size=1, max_size=4).map(
            lambda rows: b"\n".join(map(plain, rows))
        ),
    )
)
"""A good task file, and rows of which some are odd."""


def parse_a_task(content: bytes, folder: Path) -> object:
    return parse_task(put(folder, "toy.toml", content))


def use_a_task(drawn: tuple[bytes, bytes], folder: Path) -> object:
    spec = parse_task(put(folder, "toy.toml", drawn[0]))
    for name in ("train.en", "test.de"):
        put(folder / "data", name, drawn[1])
    return [read_examples(spec, split, code, folder / "data", 3) for split, code in (("train", "en"), ("test", "de"))]


def reading(name: str) -> Callable[[bytes, Path], object]:
    def read(content: bytes, folder: Path) -> object:
        path = put(folder, "file", content)
        source = FileSource(reader=name, names=("a", "b?") if name == "tsv" else ())
        rows = list(reader_for(name)(Upstream(path, source, "en", {"candidates": path, "gold": path})))
        assert all(isinstance(number, int) and isinstance(row, dict) for number, row in rows)
        return rows

    return read


def building(kind: str) -> Callable[[dict[str, Any], Path], object]:
    spec = TaskSpec("toy", kind, ("target",), ("en",), Path("toy.toml"), "0", labels=("a", "b"))

    def build(row: dict[str, Any], folder: Path) -> object:
        columns = {"query": "{query}", "candidate": "{candidate}"} if "query" in row else {}
        made = Builder(spec, Rows(columns=columns), "en").examples(1, row)
        assert all(hash(example) is not None for example in made), "an example is hashable: nothing in it is a list"
        return made

    return build


TABLE = (
    ",".join(COLUMNS[:6]) + ",status,n_items\nxnli,en,accuracy,50,1,mnli,measured,5\nxnli,de,accuracy,40,1,none,,\n"
).encode()
FEATURES = b"# by us\nlanguage\tfamily\tsyntactic\nsw\tBantu\t0.5\nde\tGermanic\t\n"
GRID = b"""name = "g"\nmodels = ["mini"]\nmethods = ["lora"]\nintermediates = ["none", "mnli"]\ntargets = ["xnli"]
seeds = [1, 2]\n[train]\nmax_steps = 5\n[evaluate]\nlimit = 3\n"""
GRID_LINES = st.builds(
    lambda key, value: GRID.replace(b"seeds = [1, 2]", f"{key} = {value}".encode()),
    st.sampled_from(["seeds", "methods", "name", "models", "budget", "hows", "x", "joint", "train", "evaluate.limit"]),
    TOML,
)  # fmt: skip


def read_words(text: str, folder: Path) -> object:
    for used in (md, code, one_line, block, redact):
        assert isinstance(used(text), str)
    found = []
    for check in (check_repo, check_revision, lambda words: Recipe("arithmetic", parse_weights(words.split(",")))):
        try:
            found.append(check(text))
        except AdaptxferError as error:
            assert error.message
    return found


TARGETS: dict[str, Target] = {
    "bundle.json": Target(zipped(documents(BUNDLE)), read_a_bundle),
    "manifest.json": Target(zipped(documents(MANIFEST)), read_a_run),
    "manifest from a stranger": Target(
        st.dictionaries(st.sampled_from(sorted(MANIFEST)), JSON, max_size=8).map(plain), share_a_record
    ),
    "scores.json": Target(documents(SCORES), read_scores),
    "predictions and log": Target(zipped(st.one_of(mutated([b"\n".join(LINES)]), JSON.map(plain))), read_records),
    "config.json": Target(documents(CONFIG), read_config),
    "safetensors": Target(WEIGHTS, read_weights),
    "task file": Target(zipped(mutated(TASK_FILES)), parse_a_task),
    "task file by hand": Target(OWN_TASKS, parse_a_task),
    "task file and its data": Target(st.tuples(OWN_TASKS, CONTENT) | GOOD_TASKS, use_a_task),
    **{f"reader {name}": Target(CONTENT, reading(name)) for name in READERS},
    **{f"rows of {kind}": Target(rows_like(ROW[kind]), building(kind)) for kind in FIELDS},
    "record table": Target(zipped(mutated([TABLE])), lambda content, folder: read_csv(put(folder, "t.csv", content))),
    "language features": Target(zipped(mutated([FEATURES])),
                                lambda content, folder: read_features(put(folder, "f.tsv", content))),
    "clusters of items": Target(mutated([b"item_id,cluster_id\n1,a\n2,b\n"]),
                                lambda content, folder: read_clusters(put(folder, "c.csv", content))),
    "grid plan": Target(st.one_of(mutated([GRID]), GRID_LINES),
                        lambda content, folder: read_grid(put(folder, "g.toml", content))),
    "words": Target(TEXT, read_words),
}  # fmt: skip


def attempt(name: str, drawn: Any, folder: Path) -> str | None:
    """Read one drawn input: the sentence it is refused with, or None if it is taken.

    Raises:
        Exception: whatever else comes up, which is a fault of the reader.
    """
    try:
        TARGETS[name].read(drawn, folder)
    except REFUSED as error:
        assert str(error), "a refusal says something"
        return str(error)
    return None
