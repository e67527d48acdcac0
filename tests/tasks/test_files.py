"""The task files that come along: what they say is consistent, and real data is read whole."""

from __future__ import annotations

import gzip
import re
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import pytest

from adaptxfer.metrics.registry import METRICS
from adaptxfer.tasks.examples import KINDS, Example, RetrieveExample
from adaptxfer.tasks.find import bundled_folder, list_tasks, members
from adaptxfer.tasks.load import available, read_examples, with_labels
from adaptxfer.tasks.places import find_files, languages_of
from adaptxfer.tasks.spec import UNSEEN

TASKS = {spec.name: spec for spec in list_tasks([bundled_folder()])}
each_task = pytest.mark.parametrize("name", sorted(TASKS))
FIRST = ("hellaswag", "mnli", "squad_v1", "xnli", "xquad", "udpos", "panx", "tatoeba", "xcopa")
NO_SAMPLES = {"anli_plus", "anli_r1", "anli_r2", "anli_r3", "mewslix"}
NUMBERS = ("epochs", "batch_size")


@each_task
def test_a_task_file_is_complete(name):
    spec = TASKS[name]
    assert spec.about[-1] in ".?"
    assert spec.licence
    assert spec.metric.main in METRICS
    assert spec.kind in KINDS
    if "intermediate" in spec.role and not spec.pool and not spec.files[0].embedded:
        assert spec.languages == ("en",)
    if spec.train.task:
        assert TASKS[spec.train.task].kind in (spec.kind, "span")
    if spec.pool:
        assert [part.name for part in members(spec)] == list(spec.pool)
    for source in spec.hub:
        assert not source.verified, "a claim that nobody checked"
        assert source.revision is None


@each_task
def test_every_training_number_has_its_source(name):
    spec = TASKS[name]
    if name.startswith("tatoeba") or spec.metric.main in ("bucc",) or name == "flores200":
        assert not spec.train.sources  # never trained
        return
    assert set(NUMBERS) <= spec.train.sources.keys()
    if not name.startswith("sample"):
        assert {f"learning_rate.{method}" for method in ("bottleneck", "lora", "full")} <= spec.train.sources.keys()


def test_lists_of_the_protocol():
    assert {name: len(TASKS[name].languages) for name in FIRST[3:]} == {
        "xnli": 15,
        "xquad": 11,
        "udpos": 33,
        "panx": 40,
        "tatoeba": 36,
        "xcopa": 11,
    }
    assert len(TASKS["flores200"].languages) == 203
    assert TASKS["mnli"].labels == TASKS["xnli"].labels == TASKS["snli"].labels == TASKS["anli_plus"].labels
    assert TASKS["xcopa"].text.side == TASKS["hellaswag"].text.side == "left"


NINE = ["anli_plus", "mnli", "qqp", "squad_v1", "squad_v2", "hellaswag", "ccg", "cosmosqa", "commonsenseqa"]


def test_the_nine_intermediate_tasks_of_the_final_version():
    assert all(TASKS[name].role == ("intermediate",) or "intermediate" in TASKS[name].role for name in NINE)
    plan = Path(__file__).parents[2] / "benchmarks/plans/x-stilts.toml"
    assert tomllib.loads(plan.read_text())["joint"]["multi"]["tasks"] == NINE


def test_sizes_are_those_of_the_public_releases():
    """Not the paper's, which counts SQuAD's answers and an older Cosmos QA."""
    sizes = {
        "cosmosqa": (25262, 2985),
        "squad_v1": (87599, 10570),
        "snli": (550152, 10000),
        "hellaswag": (39905, 10042),
    }
    for name, (train, dev) in sizes.items():
        assert (TASKS[name].expected("train", "en"), TASKS[name].expected("dev", "en")) == (train, dev)
    assert [TASKS["panx"].expected("test", code) for code in ("jv", "my", "yo", "sw", "en")] == [
        100,
        100,
        100,
        1000,
        10000,
    ]
    assert [TASKS["panx_xr"].expected("test", code) for code in ("gu", "pa", "qu")] == [100, 100, 100]


def test_pos_has_dev_data_in_twenty_nine_languages():
    spec = TASKS["udpos"]
    assert {code for code in spec.languages if spec.expected("dev", code) == 0} == {"kk", "th", "tl", "yo"}
    assert TASKS["udpos_xr"].expected("dev", "kk") == 0


def test_retrieval_reads_the_layer_of_the_published_recipe():
    for name in ("tatoeba", "bucc2018", "flores200"):
        assert (TASKS[name].retrieve.layer, TASKS[name].retrieve.pooling) == ({"24": 14, "12": 8}, "mean")


def test_tatoeba_asks_in_english(data_dir):
    items = read_examples(TASKS["tatoeba"], "test", "el", data_dir).items
    greek = {side: sum("α" <= char <= "ω" for item in items if item.side == side for char in item.text)
             for side in ("query", "candidate")}  # fmt: skip
    assert greek["query"] == 0 < greek["candidate"]


def test_mlqa_has_forty_nine_pairs_of_context_and_question(data_dir):
    pairs = languages_of(TASKS["mlqa"], "test")
    assert len(pairs) == len(set(pairs)) == 49 and pairs[:7] == TASKS["mlqa"].languages
    assert {pair.split("-")[0] for pair in pairs[7:]} == {pair.split("-")[1] for pair in pairs[7:]} == set(pairs[:7])
    german = read_examples(TASKS["mlqa"], "dev", "de-en", data_dir).items[0]
    assert german.question.isascii() and not german.context.isascii()


def test_configurations_with_foreign_languages_are_refused_on_the_hub():
    assert {"de", "el", "fr", "ru", "zh"} == set(TASKS["udpos"].languages) - set(available(TASKS["udpos"])["test"])


def test_sizes_of_the_pool_close():
    parts = [TASKS[name].expected for name in TASKS["anli_plus"].pool]
    assert sum(expected("train", "en") for expected in parts) == TASKS["anli_plus"].expected("train", "en")
    assert sum(expected("dev", "en") for expected in parts) == TASKS["anli_plus"].expected("dev", "en")


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("sample_")])
def test_samples_need_no_data_folder(name):
    spec = TASKS[name]
    here = available(spec)
    if "train" not in here:
        pytest.skip(f"the files of {name} are not there yet")
    assert here["train"] == here["dev"] == ["en"]
    assert here.get("test", list(spec.languages)) == list(spec.languages)
    examples = read_examples(spec, "train", "en")
    assert {getattr(item, "label") for item in examples.items} >= set(spec.labels)  # noqa: B009
    assert examples.notes == {}


@cache
def counted(readme: Path) -> dict[str, int]:
    """Path (without .gz) to number of examples, as the data folder's own README states them."""
    counts = {}
    folder = ""
    for line in readme.read_text(encoding="utf-8").splitlines():
        if line.startswith("### "):
            folder = line.split()[1]
        elif line.strip().startswith("Files (examples): "):
            entries = re.findall(r"(\S+) \((?:derivations 1-)?(\d+)[^)]*\)", line.split(": ", 1)[1])
            counts |= {f"{folder}/{name.removesuffix('.gz')}": int(count) for name, count in entries}
    return counts


def rows(items: list[Example]) -> int:
    return sum(not isinstance(item, RetrieveExample) or item.side == "query" for item in items)


def read_all(spec, data_dir):
    for split, languages in available(spec, data_dir).items():
        for language in languages:
            yield split, language, read_examples(spec, split, language, data_dir)


@pytest.mark.parametrize("name", sorted(set(TASKS) - NO_SAMPLES))
def test_real_data_is_read_whole(name, data_dir):
    spec = TASKS[name]
    if spec.files[0].embedded:
        pytest.skip("comes with the package")
    counts = counted(data_dir / "README.md")
    seen = 0
    for split, language, examples in read_all(spec, data_dir):
        found = find_files(spec, split, language, data_dir)
        expected = sum(counts[str(up.path.relative_to(data_dir)).removesuffix(".gz")] for up in found.files)
        if name != "lareqa" or split != "test":
            assert rows(examples.items) == expected, (split, language)
            assert examples.notes == {}, (split, language)
        else:
            assert rows(examples.items) == 274
        seen += 1
    assert seen


@pytest.mark.parametrize("name", ["xquad", "squad_v1", "squad_v2", "mlqa", "tydiqa"])
def test_every_answer_stands_where_it_says(name, data_dir):
    answers = 0
    for _, _, examples in read_all(TASKS[name], data_dir):
        for item in examples.items:
            assert item.answers or item.impossible
            for answer in item.answers:
                assert item.context[answer.start : answer.start + len(answer.text)] == answer.text
                answers += 1
    assert answers >= (11_900 if name == "xquad" else 400)


def test_xnli_labels_lie_beside_the_test_files_and_are_parallel(data_dir):
    languages = available(TASKS["xnli"], data_dir)["test"]
    found = {code: [i.label for i in read_examples(TASKS["xnli"], "test", code, data_dir).items] for code in languages}
    assert set(found["sw"]) == {"entailment", "neutral", "contradiction"}
    assert all(labels == found["sw"] for labels in found.values())


def test_files_without_labels_are_read_for_prediction(data_dir):
    japanese = read_examples(TASKS["pawsx"], "test", "ja", data_dir)
    assert {item.label for item in japanese.items} == {None}
    german = read_examples(TASKS["pawsx"], "test", "de", data_dir)
    assert {item.label for item in german.items} == {"different", "paraphrase"}
    assert {item.tags for item in read_examples(TASKS["panx"], "test", "th", data_dir).items} == {None}


def test_masakhaner_has_the_tags_of_its_training_data(data_dir):
    assert set(TASKS["masakhaner"].labels) == set(TASKS["panx"].labels)
    tags = {tag for item in read_examples(TASKS["masakhaner"], "test", "swa", data_dir).items for tag in item.tags}
    assert tags == set(TASKS["panx"].labels)


def test_xcopa_asks_in_english(data_dir):
    items = read_examples(TASKS["xcopa"], "test", "sw", data_dir).items
    assert {" ".join(item.context.split(" ")[-4:]) for item in items} == {"What was the cause?", "What was the effect?"}
    first = read_examples(TASKS["xcopa"], "test", "et", data_dir, limit=1).items[0]
    assert first.context.endswith(" What was the cause?")


def test_hellaswag_choices_start_with_the_second_half_of_the_context(data_dir):
    first = read_examples(TASKS["hellaswag"], "dev", "en", data_dir, limit=1).items[0]
    assert first.context == "Pole vault is a sport where you run with a pole and stop and swing your body."
    assert all(choice.startswith("a few women ") for choice in first.choices)
    assert first.label in range(4), "upstream it is text"


def test_ccg_labels_come_from_the_training_file(data_dir):
    labels = with_labels(TASKS["ccg"], data_dir).labels
    assert labels[-1] == UNSEEN
    assert 100 < len(labels) < 1000
    dev = read_examples(TASKS["ccg"], "dev", "en", data_dir).items
    assert {tag for item in dev for tag in item.tags} <= set(labels)


def test_tydiqa_as_xtreme_lays_it_out(data_dir, tmp_path):
    name = "tydiqa.goldp.sw.dev.json"
    packed = data_dir / "target/tydiqa_goldp/xtreme_split" / f"{name}.gz"
    folder = tmp_path / "tydiqa/tydiqa-goldp-v1.1-dev"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(gzip.decompress(packed.read_bytes()))
    assert available(TASKS["tydiqa"], tmp_path) == {"test": ["sw"]}
    assert len(read_examples(TASKS["tydiqa"], "test", "sw", tmp_path).items) == 100


@pytest.mark.parametrize(
    ("name", "language", "archive", "splits"),
    [
        ("anli_r1", "en", "anli/plain_text/0.1.0/dummy_data.zip", {"train", "dev", "test"}),
        ("anli_r3", "en", "anli/plain_text/0.1.0/dummy_data.zip", {"train", "dev", "test"}),
        ("commonsenseqa", "en", "commonsense_qa/0.1.0/dummy_data.zip", {"train", "dev"}),
        ("qqp", "en", "glue/qqp/1.0.0/dummy_data.zip", {"train", "dev"}),
        ("mnli", "en", "glue/mnli/1.0.0/dummy_data.zip", {"train", "dev", "dev_mismatched"}),
        ("siqa", "en", "social_i_qa/0.1.0/dummy_data.zip", {"train", "dev"}),
        ("pawsx", "de", "paws-x/de/1.1.0/dummy_data.zip", {"train", "dev", "test"}),
        ("tydiqa", "fi", "tydiqa/secondary_task/1.0.0/dummy_data.zip", {"train"}),
        ("mlqa", "en-de", "mlqa/mlqa.en.de/1.0.0/dummy_data.zip", {"dev", "test"}),
        ("squad_v1", "en", "squad/plain_text/1.0.0/dummy_data.zip", {"dev"}),
        ("squad_v2", "en", "squad_v2/squad_v2/2.0.0/dummy_data.zip", {"train", "dev"}),
        ("xcopa", "sw", "xcopa/sw/1.0.0/dummy_data.zip", {"dev", "test"}),
    ],
)
def test_releases_in_their_own_layout(name, language, archive, splits, data_dir, tmp_path):
    with zipfile.ZipFile(data_dir / "hf_dummy" / archive) as packed:
        packed.extractall(tmp_path)
    spec = TASKS[name]
    inner = tmp_path / "dummy_data"
    roots = [path for path in (inner, *inner.iterdir()) if path.is_dir()]
    read = set()
    for root in roots:
        for split, languages in available(spec, root).items():
            if language in languages and split in splits:
                assert read_examples(spec, split, language, root).items
                read.add(split)
    assert read == splits
