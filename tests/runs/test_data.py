from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adaptxfer.encoder.load import load_encoder
from adaptxfer.errors import AdaptxferError
from adaptxfer.runs.data import MLM, prepare_data
from adaptxfer.runs.plan import find_task, plan_evaluation, plan_intermediate, plan_target
from adaptxfer.runs.run import Run
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.stage import Mixture, text_language
from adaptxfer.runs.train import run_training

SHORT = {"max_steps": 40, "batch_size": 8, "evaluations": 1, "dev_limit": 8, "limit": 16, "max_length": 32}


@pytest.fixture
def samples(tmp_path):
    return Ask(model="mini", runs=tmp_path / "runs", **SHORT)


@pytest.fixture(scope="module")
def mini():
    return load_encoder("mini")


@pytest.fixture
def texts(tmp_path):
    lines = {"wiki.sw.txt": ["Habari ya asubuhi"] * 4, "de.txt": ["Guten Morgen zusammen"] * 64}
    for name, content in lines.items():
        (tmp_path / name).write_text("\n".join(content), encoding="utf-8")
    return tuple(tmp_path / name for name in lines)


def test_languages_of_text_files():
    assert [text_language(Path(name)) for name in ("sw.txt", "wiki.sw.txt", "wiki.sw.txt.gz", "a.b.de")] == [
        "sw", "sw", "sw", "de",
    ]  # fmt: skip


def test_masked_words_share_the_steps_by_language(samples, mini, texts):
    stage = plan_intermediate(["sample_nli"], replace(samples, max_steps=2000), 1, Mixture(mlm=texts, mlm_weight=0.5))
    steps, _, prints = prepare_data(stage, mini, stage.settings.training(1))
    drawn = Counter(getattr(steps.tasks[index], "language", "task") for index in steps.order)
    assert len(steps) == 2000 and drawn["task"] == pytest.approx(1000, abs=100)
    assert drawn["de"] / drawn["sw"] == pytest.approx(16**0.3, rel=0.2), "n^0.3"
    assert {"mlm/sw", "mlm/de"} < set(prints)


def test_sentences_are_embedded_for_intermediates_alone(samples, mini):
    """At the layer that the base model recommends, if the whole encoder is at hand."""

    def layers(stage, **changed):
        options = replace(stage.settings.training(1), **changed)
        return prepare_data(stage, mini, options)[1].devs[0].setting.layers

    stage = plan_intermediate(["sample_nli"], samples, 1)
    assert layers(stage) == (mini.hints.retrieval_layer,) and layers(stage, sharded=True) == ()
    assert layers(plan_target(find_task("sample_nli", samples, "target"), samples, 1, "none", (), False)) == ()
    silent = replace(mini, hints=replace(mini.hints, retrieval_layer=None))
    assert prepare_data(stage, silent, stage.settings.training(1))[1].devs[0].setting.layers == ()


def test_masks_change_with_the_batch_and_repeat_with_the_seed(samples, mini, texts):
    stage = plan_intermediate(["sample_nli"], samples, 1, Mixture(mlm=texts))
    options = stage.settings.training(1)
    first, again = (prepare_data(stage, mini, options)[0].tasks[-1] for _ in range(2))
    one, two = first.batches(0, 4096)[0], again.batches(0, 4096)[0]
    assert torch.equal(one.ids, two.ids) and torch.equal(one.targets["label"], two.targets["label"])
    later = first.batches(first.batches_per_epoch, 4096)[0]
    assert not torch.equal(one.targets["label"], later.targets["label"])
    hidden = one.targets["label"] != -100
    assert 0 < int(hidden.sum()) < len(hidden) / 2
    assert not set(one.targets["label"][hidden].tolist()) & set(mini.tokenizer.all_special_ids)


def test_training_with_masked_words_leaves_a_bundle_without_their_head(samples, texts):
    stage = plan_intermediate(["sample_nli"], replace(samples, max_steps=6), 1, Mixture(mlm=texts))
    bundle = run_training(stage)
    assert set(bundle.heads) == {"sample_nli"} and MLM not in bundle.heads
    run = Run(bundle.folder)
    contrasts = {"entailment_contrast", "entailment_auroc", "representation_contrast"}
    assert contrasts <= run.manifest["dev"]["sample_nli"].keys()
    assert run.asked("mlm") == ["de", "sw"] and {e["task"] for e in run.read_log() if e["event"] == "step"} >= {MLM}


@pytest.mark.parametrize(
    ("mixture", "said"),
    [
        (Mixture(mlm=(Path("nowhere.txt"),)), "is not a file"),
        (Mixture(mlm_weight=1.0), "share between 0 and 1"),
        (Mixture("evenly"), "--sampler"),
    ],
)
def test_bad_mixtures_are_refused(samples, mixture, said):
    with pytest.raises(AdaptxferError, match=said):
        plan_intermediate(["sample_nli"], samples, 1, mixture)


def test_tasks_without_data_are_named_and_left_out(tmp_path, capsys):
    ask = Ask(model="mini", data_dir=tmp_path, runs=tmp_path / "runs", **SHORT)
    stage = plan_intermediate(["sample_nli", "ccg"], ask, 1, skip_missing=True)
    assert [task.name for task in stage.tasks] == ["sample_nli"] and "ccg" in capsys.readouterr().err
    with pytest.raises(AdaptxferError, match="None of ccg"):
        plan_intermediate(["ccg"], ask, 1, skip_missing=True)


def test_translations_replace_english(data_dir, tmp_path):
    ask = Ask(model="mini", data_dir=data_dir, runs=tmp_path / "runs", **SHORT)
    english, russian = (
        plan_intermediate(["hellaswag"], ask, 1, Mixture(languages=languages)) for languages in (("en",), ("ru", "fa"))
    )
    assert english.hash != russian.hash
    encoder = load_encoder("mini")
    steps, _, _ = prepare_data(russian, encoder, russian.settings.training(1))
    assert len(steps.tasks[0].features) == 32, "16 of each language"
    text = encoder.tokenizer.decode(steps.tasks[0].features.ids[:200].tolist())
    assert any("а" <= char <= "я" for char in text)


def test_trained_retrieval_end_to_end(data_dir, tmp_path):
    """LAReQA: a dual encoder trained on SQuAD's sentences, ranked over a pool of languages."""
    from adaptxfer.runs.evaluate import run_evaluation

    ask = Ask(model="mini", data_dir=data_dir, runs=tmp_path / "runs", **(SHORT | {"max_steps": 4}))
    task = find_task("lareqa", ask, "target")
    stage = plan_target(task, ask, 1, "none", (), False)
    bundle = run_training(stage)
    assert bundle.heads["squad_v1"].kind == "retrieve"
    assert Run(bundle.folder).manifest["dev"]["squad_v1"]["main"] == "map"
    run = run_evaluation(
        plan_evaluation(task, ask, 1, "none", [bundle], head=bundle.task, languages=["en", "de"], limit=8)
    )
    scores = run.read_scores()
    assert set(scores["languages"]) == {"en", "de"} and scores["metric"] == "map"
    ranked = run.read_predictions("de")[0]
    assert len(ranked["predicted"]) <= 20 and {name.split(":")[0] for name in ranked["gold"]} >= {"en", "de", "zh"}
