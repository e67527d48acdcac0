"""The same protocol for every encoder: what it measures, and that it can tell good from bad."""

from __future__ import annotations

import json
import lzma
import math
import sys

import numpy as np
import pytest

from adaptxfer.embedded import encoder_dir
from adaptxfer.encoder.load import load_encoder
from adaptxfer.files import write_json
from benchmarks.mini import judge, start
from benchmarks.mini.judge import MEAN, RANDOM, Judge, Protocol

SHORT = Protocol(seeds=(1, 2), sentences=8, limit=16, epochs=1, eval_limit=4, pairs=8)
DAYS = "morning evening winter summer river bird house street garden bread water friend".split()


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Own sentences as training text and as data of the three tasks: German repeats English, so that a bag of words
    finds every translation; nouns and verbs take turns."""
    folder, draw = tmp_path_factory.mktemp("material"), np.random.default_rng(0)
    sentences = [" ".join(draw.choice(DAYS, 6)) + f" {number}" for number in range(900)]
    with lzma.open(folder / "text.tsv.xz", "wt", encoding="utf-8") as file:
        file.writelines(f"{'en' if n % 2 else 'de'}\t{text}\n" for n, text in enumerate(sentences))
    tagged = "".join(f"{word}\t{'NOUN' if word in DAYS[:6] else 'VERB'}\n" for word in DAYS) + "\n"
    target, text = folder / "data" / "target", "\n".join(sentences[:12]) + "\n"
    written = {f"tatoeba/v1/tatoeba.deu-eng.{side}": text for side in ("deu", "eng")}
    written |= {f"flores200/{side}.devtest": text for side in ("deu_Latn", "eng_Latn")}
    written |= {f"udpos/{name}.tsv": tagged * 8 for name in ("train-en", "dev-en", "test-en", "test-es")}
    for name, content in written.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small random encoder."""
    folder = tmp_path_factory.mktemp("encoders") / "small"
    tokenizer = start.copy_tokenizer(encoder_dir("mini"), folder)
    start.network(len(tokenizer), 1, 64, 0).save_pretrained(folder)
    write_json(folder / "adaptxfer.json", {"retrieval_layer": 1, "learning_rate": {"full": 1e-3}})
    return folder


@pytest.fixture(scope="module")
def found(material, small, tmp_path_factory):
    asked = Judge(material / "text.tsv.xz", material / "data", tmp_path_factory.mktemp("runs"), SHORT)
    return judge.judge([str(small)], asked)


def test_every_measure_of_every_encoder(found, small):
    _, document = found
    scores = document["scores"]
    assert list(scores) == ["small", RANDOM]
    for name in scores:
        assert set(scores[name]["masked words, nats"]) == {MEAN, "de", "en"}
        assert list(scores[name]["tatoeba, by layer"]) == ["0", "1"]
        assert set(scores[name]["flores200"]) == {MEAN, "deu_Latn"}
        assert set(scores[name]["udpos"]) == {"mean zero-shot", "en", "es"}
    for measure, seeds in (("masked words, nats", 2), ("tatoeba", 1), ("udpos", 2)):
        assert {len(values) for values in scores["small"][measure].values()} == {seeds}
    assert all(len(values) == 2 for measure in scores[RANDOM].values() for values in measure.values())
    assert set(document["weights"]) == {"small"} and json.dumps(document)


def test_numbers_mean_what_they_say(found):
    scores = found[1]["scores"]
    for name in scores:  # each translation is the sentence itself
        assert scores[name]["tatoeba"]["de"][0] == scores[name]["flores200"][MEAN][0] == 100
        assert all(0 <= value <= 100 for values in scores[name]["udpos"].values() for value in values)
    assert abs(scores[RANDOM]["masked words, nats"][MEAN][0] - math.log(16_000)) < 1
    assert scores["small"]["tatoeba, by layer"]["1"] == scores["small"]["tatoeba"][MEAN]


def test_a_trained_encoder_guesses_better_under_any_masks(material, tmp_path):
    asked = Judge(material / "text.tsv.xz", material / "data", tmp_path, SHORT)
    one, other = (dict(item[1:] for item in asked.words("mini", (seed,))) for seed in (1, 2))
    assert one != other and max(one[MEAN], other[MEAN]) < math.log(16_000) - 1


def test_the_table_has_a_column_for_each(found):
    shown, document = found
    assert [*shown.columns[:2], *(name for name, _ in shown.columns[2:])] == ["measure", "row", *document["scores"]]
    cells = {(row[0], row[1]): row[2:] for row in shown.rows}
    assert "±" in cells["udpos", "en"][0] and "±" not in cells["tatoeba", "de"][0] and "±" in cells["tatoeba", "de"][1]


def test_measures_stay_together_where_an_encoder_has_more_rows():
    one, other = {("a", "0"): [1.0], ("b", "en"): [2.0]}, {("a", "0"): [1.0], ("a", "1"): [3.0], ("b", "en"): [2.0]}
    shown = judge.table({"one": one, "other": other}, SHORT)
    assert [row[:3] for row in shown.rows] == [["a", "0", "1.00"], ["a", "1", "–"], ["b", "en", "2.00"]]


def test_random_weights_have_the_same_shape(small, tmp_path):
    one, other = (load_encoder(str(judge.random_like(str(small), tmp_path / str(seed), seed))) for seed in (1, 2))
    assert (one.base.layers, one.base.width, one.hints) == (1, 64, load_encoder(str(small)).hints)
    assert one.base.fingerprint != other.base.fingerprint


def test_command_line(material, small, tmp_path, monkeypatch, capsys):
    words = [small, "--data-dir", material / "data", "--runs", tmp_path, "--json", tmp_path / "out.json", "--no-random",
             "--seeds", "1", "--limit", "8", "--pairs", "4", "--eval-limit", "2", "--epochs", "1"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["judge", *map(str, words)])
    judge.main()
    written = json.loads((tmp_path / "out.json").read_text())
    assert "masked words, nats" not in written["scores"]["small"] and written["protocol"]["pairs"] == 4
    assert "Encoders, same protocol" in capsys.readouterr().out
    faults = {"no model folder": ["/nowhere/at/all"], "one name": [small, small],
              "whole numbers": [small, "--seeds", "a"], "not a file": [small, "--corpus", "no.xz"]}  # fmt: skip
    for said, more in faults.items():
        monkeypatch.setattr(sys, "argv", ["judge", *map(str, more), "--data-dir", str(tmp_path)])
        with pytest.raises(SystemExit) as stopped:
            judge.main()
        assert stopped.value.code == 1 and said in capsys.readouterr().err
