"""The embedded sample tasks and the embedded encoder are whole, parallel, balanced and safe."""

from __future__ import annotations

import importlib.util
import json
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from adaptxfer.embedded import embedded_dir, encoder_dir

SAMPLES = embedded_dir() / "samples"
LANGUAGES = ["ar", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "tr", "zh"]
SCRIPTS = {"ar": "ARABIC", "el": "GREEK", "hi": "DEVANAGARI", "ru": "CYRILLIC", "zh": "CJK"}
FIELDS = {"nli": ("premise", "hypothesis"), "claims": ("text", "claim")}
LABELS = {"nli": {"entailment", "neutral", "contradiction"}, "claims": {"supported", "unsupported"}}
SIZES = {"nli": {"train": 1800, "dev": 120}, "claims": {"train": 40, "dev": 60}}
GENERATOR = Path(__file__).parents[2] / "benchmarks" / "make_samples.py"


def rows(task: str, name: str) -> list[dict]:
    lines = (SAMPLES / task / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def pairs(task: str, name: str) -> list[tuple[str, str]]:
    first, second = FIELDS[task]
    return [(row[first], row[second]) for row in rows(task, name)]


@pytest.mark.parametrize("task", FIELDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_test_sets_are_parallel_and_whole(task, language):
    english, here = rows(task, "test.en"), rows(task, f"test.{language}")
    assert [(row["id"], row["label"]) for row in here] == [(row["id"], row["label"]) for row in english]
    assert len(here) == 120 and len({row["id"] for row in here}) == 120
    assert len(set(pairs(task, f"test.{language}"))) == 120, "two items became the same in translation"
    for text in (text for pair in pairs(task, f"test.{language}") for text in pair):
        assert len(text) > 3 and text == text.strip() and text[-1] in ".。।"
        assert not set(text) & set("{}|()"), text
        assert text[0] == text[0].upper(), text


@pytest.mark.parametrize("task", FIELDS)
@pytest.mark.parametrize(("language", "script"), SCRIPTS.items())
def test_text_is_in_its_script(task, language, script):
    for text in (text for pair in pairs(task, f"test.{language}") for text in pair):
        assert all(script in unicodedata.name(letter) for letter in text if letter.isalpha()), text


@pytest.mark.parametrize("task", FIELDS)
def test_every_language_has_its_own_sentences(task):
    for index, language in enumerate(LANGUAGES):
        for other in LANGUAGES[index + 1 :]:
            mine, theirs = (
                {text for pair in pairs(task, f"test.{code}") for text in pair} for code in (language, other)
            )
            assert not mine & theirs, (language, other)


@pytest.mark.parametrize("task", FIELDS)
@pytest.mark.parametrize("name", ["train", "dev", "test.en"])
def test_labels_are_balanced_and_known(task, name):
    counts = Counter(row["label"] for row in rows(task, name))
    assert set(counts) == LABELS[task]
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("task", FIELDS)
def test_no_pair_twice_and_none_in_two_splits(task):
    everything = [pair for name in ("train", "dev", "test.en") for pair in pairs(task, name)]
    assert len(everything) == len(set(everything))
    assert {name: len(rows(task, name)) for name in ("train", "dev")} == SIZES[task]


def test_claims_are_not_nli_pairs():
    nli = {pair for name in ("train", "dev", "test.en") for pair in pairs("nli", name)}
    assert not nli & {pair for name in ("train", "dev", "test.en") for pair in pairs("claims", name)}


@pytest.mark.parametrize(("name", "count"), [("train", 400), ("dev", 100)])
def test_stories_have_one_right_ending(name, count):
    stories = rows("stories", name)
    assert len(stories) == count == len({row["id"] for row in stories})
    assert all(len(set(row["choices"])) == 4 and 0 <= row["label"] < 4 and row["context"] for row in stories)
    places = Counter(row["label"] for row in stories)
    assert set(places) == {0, 1, 2, 3} and min(places.values()) >= count / 6


def test_dev_stories_have_new_contexts():
    train, dev = ({row["context"].split(" ", 1)[1] for row in rows("stories", name)} for name in ("train", "dev"))
    assert not train & dev


def test_generator_reproduces_the_files(tmp_path, monkeypatch):
    if not GENERATOR.exists():
        pytest.skip("benchmarks/ is not beside the tests")
    spec = importlib.util.spec_from_file_location("make_samples", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr("sys.argv", ["make_samples.py", "--to", str(tmp_path)])
    module.main()
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.jsonl"))
    assert written == sorted(path.relative_to(SAMPLES) for path in SAMPLES.rglob("*.jsonl"))
    assert all((tmp_path / path).read_bytes() == (SAMPLES / path).read_bytes() for path in written)


def test_encoder_loads_and_encodes():
    from safetensors import safe_open
    from transformers import XLMRobertaModel, XLMRobertaTokenizerFast

    folder = encoder_dir("mini")
    settings = json.loads((folder / "adaptxfer.json").read_text("utf-8"))
    tokenizer = XLMRobertaTokenizerFast.from_pretrained(folder)
    model = XLMRobertaModel.from_pretrained(folder, add_pooling_layer=False).eval()
    batch = tokenizer(["Habari ya dunia", "Hello"], padding=True, return_tensors="pt")
    output = model(**batch, output_hidden_states=True)
    assert output.last_hidden_state.shape == (*batch["input_ids"].shape, 256)
    assert len(output.hidden_states) == settings["retrieval_layer"] + 1, "the last layer is the one for retrieval"
    assert settings["name"] == "mini" and settings["max_length"] == 512
    assert set(settings["learning_rate"]) == {"bottleneck", "lora", "full", "fuse"}
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert any(key.startswith("lm_head") for key in weights.keys())


def test_unknown_encoder_has_no_folder():
    assert encoder_dir("xlm-roberta-large") is None and encoder_dir("../mini") is None


def test_no_file_can_carry_code():
    allowed = {".json", ".jsonl", ".md", ".model", ".safetensors", ".py"}
    files = [path for path in embedded_dir().rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.suffix for path in files} <= allowed
    assert [path.name for path in files if path.suffix == ".py"] == ["__init__.py"]
