"""The figures in README.md are those of results.csv, and the helpers that make them are right."""

from __future__ import annotations

import csv
import re

import pytest
import torch
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from benchmarks import masked_lm, planted, readme, stock
from benchmarks.common import FIELDS, Measured, interleaved, rows, saved_mib
from benchmarks.lengths import batch


def test_readme_is_in_step():
    text = readme.README.read_text(encoding="utf-8")
    assert readme.insert(text, "speed", readme.speed()) == text


def line(name, variant, ratio, date="2026-01-02 10:00", device="cpu, 1 thread(s)", **more):
    return dict.fromkeys(FIELDS, "") | {
        "date": date, "device": device, "name": name, "variant": variant, "shape": "some", "ratio": str(ratio),
        "cpu_p50_ms": "2000", "p50_ms": "2000", "memory_mib": "10", **more,
    }  # fmt: skip


def written(folder, *lines):
    path = folder / "results.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_a_command_is_compared_with_every_peer(tmp_path):
    name = "train-intermediate hellaswag"
    peers = [line(name, "dynamic", 1.0, memory_mib="30"), line(name, "padded", 0.5)]
    found = readme.speed(written(tmp_path, *peers, line(name, readme.OURS, 2.0)))
    assert f"| {name} | some | 2.0 | 2.00x dynamic<br>4.00x padded | 10 (30) |" in found


def test_the_newest_run_counts_and_measured_replaces_predicted(tmp_path):
    old = [line("step", "library", 1.0, "2026-01-01 10:00"), line("step", "ours", 7.0, "2026-01-01 10:00")]
    new = [line("step", "library", 1.0), line("step", "ours", 3.0)]
    found = readme.speed(written(tmp_path, *old, *new))
    assert "3.0x" in found and "7.0x" not in found and "predicted, not measured" in found
    gpu = [line("gpu step", "library", 1.0, device="H200"), line("gpu step", "ours", 5.0, device="H200")]
    found = readme.speed(written(tmp_path, *new, *gpu))
    assert "5.0x" in found and "predicted" not in found


def test_ratios_are_to_the_first_variant():
    found = rows(
        "step", "some", {"peer": Measured([8.0, 9.0], [4.0, 6.0]), "ours": Measured([3.0, 3.0], [2.0, 2.0], 7)}
    )
    assert [row["ratio"] for row in found] == ["1.00", "2.50"]
    assert found[1]["memory_mib"] == "7" and found[0]["tokens_per_s"] == ""


def test_memory_is_what_is_kept_once():
    weight = torch.nn.Parameter(torch.zeros(256, 256))
    x = torch.zeros(512, 256, requires_grad=True)

    def work():
        ((x @ weight).exp() * (x @ weight).cos()).sum().backward()

    # x, exp's result, cos's argument and its result; the weight is not counted
    assert saved_mib(work) == pytest.approx(4 * 512 * 256 * 4 / 2**20)
    assert {len(part.wall) for part in interleaved({"a": work, "b": work}, 3).values()} == {3}


def test_lengths_have_the_fill_asked_for():
    lengths = batch("MNLI", 0.35, 64)
    assert len(lengths) == 64 and abs(sum(lengths) / 64 / max(lengths) - 0.35) < 0.03


def tiny(kind):
    config = XLMRobertaConfig(
        vocab_size=2000, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=140, type_vocab_size=1, pad_token_id=1, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    return kind(config)


def test_both_masked_word_steps_give_the_same_gradients():
    model = masked_lm.prepared(tiny(XLMRobertaForMaskedLM), torch.float64, torch.device("cpu"))
    for name, parameter in model.named_parameters():
        if ".adapters." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    bounds = torch.tensor([0, 9, 11, 40])
    runs = masked_lm.variants(model, torch.randint(4, 2000, (40,)), bounds)
    expected, found = (run() for run in runs.values())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def test_the_stock_script_finds_answers():
    offsets = [(0, 0), (0, 3), (0, 0), (0, 4), (5, 9), (10, 14), (0, 0)]
    parts = [None, 0, None, 1, 1, 1, None]
    assert stock.answer_place(offsets, parts, {"answer_start": 5, "text": "abcd efgh"}) == (4, 5)
    assert stock.answer_place(offsets, parts, {"answer_start": 10, "text": "abcd ef"}) == (0, 0)


def test_every_planted_truth_is_drawn_and_told_in_the_tables():
    drawn = {(line.question, re.sub(r" \(width.*\)", "", line.procedure)) for line in planted.lines(1)}
    text = (readme.README.parent / "benchmarks" / "planted.md").read_text(encoding="utf-8")
    told = [re.sub(r" \(width.*?\)", "", row).split(" | ") for row in text.splitlines() if row.startswith("| ")]
    assert drawn == {(question.removeprefix("| "), procedure) for question, procedure, *_ in told[2:]}
