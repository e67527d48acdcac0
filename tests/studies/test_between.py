from __future__ import annotations

import numpy as np
import pytest

from adaptxfer.files import write_json
from adaptxfer.runs.records import compare, read_record
from adaptxfer.runs.run import Run
from adaptxfer.studies.between import intervals
from tests.folders import add_run

LANGUAGES = ("de", "en", "sw")


def scored(root, number: int, seed: int, right: dict[str, np.ndarray], **changed) -> Run:
    """An evaluate run whose scores follow from its predictions."""
    folder = add_run(root, "evaluate", "weather", number, **changed)
    (folder / "predictions").mkdir()
    for code, hits in right.items():
        lines = [f'{{"id": "{place}", "correct": {str(bool(hit)).lower()}}}\n' for place, hit in enumerate(hits)]
        (folder / "predictions" / f"{code}.jsonl").write_text("".join(lines))
    points = {code: {"accuracy": 100 * float(np.mean(hits)), "n": len(hits)} for code, hits in right.items()}
    values = [value["accuracy"] for value in points.values()]
    write_json(folder / "scores.json", {
        "schema": 1, "task": "weather", "metric": "accuracy", "split": "test", "languages": points,
        "mean": float(np.mean(values)),
        "mean_zero_shot": float(np.mean([v["accuracy"] for c, v in points.items() if c != "en"])),
    })  # fmt: skip
    run = Run(folder)
    write_json(folder / "manifest.json", {**run.manifest, "seed": seed})
    return Run(folder)


def sides(runs):
    return [{run.name: (run, read_record(run)) for run in side} for side in runs]


def both(root, seeds: int, gain: float, n: int = 400):
    """Baseline and with modules, the latter right on more items."""
    draw = np.random.default_rng(5)
    skill = {code: draw.random(n) for code in LANGUAGES}
    made = ([], [])
    for seed in range(1, seeds + 1):
        for side, (how, shift) in enumerate((("none", 0.0), ("stack", gain))):
            bar = 0.5 + shift + draw.normal(0, 0.02)
            hits = {code: values < bar for code, values in skill.items()}
            names = {"how": how, "intermediates": ["nli"] if side else []}
            made[side].append(scored(root, 10 * seed + side, seed, hits, **names))
    return sides(made)


def of(base, other):
    return compare([r for _, r in base.values()], [r for _, r in other.values()])


def test_one_seed_gives_the_paired_interval_of_the_items(tmp_path) -> None:
    base, other = both(tmp_path, 1, 0.1)
    comparison = of(base, other)
    found = intervals(comparison, base, other, resamples=4000)
    (run, _), (with_run, _) = [next(iter(side.values())) for side in (base, other)]
    for gain in comparison.gains[:3]:
        hits = [np.array([row["correct"] for row in r.read_predictions(gain.row)], float) for r in (run, with_run)]
        error = np.std(hits[1] - hits[0], ddof=1) / np.sqrt(len(hits[0])) * 100
        assert found[gain.row].half_width == pytest.approx(1.966 * error, rel=0.08)
        assert found[gain.row].value == pytest.approx(gain.gain.mean)


def test_several_seeds_widen_it_by_their_variance(tmp_path) -> None:
    base, other = both(tmp_path, 3, 0.1)
    comparison = of(base, other)
    found = intervals(comparison, base, other, resamples=500)
    assert list(found) == [gain.row for gain in comparison.gains]
    assert {"mean", "mean zero-shot"} <= set(found)
    for gain in comparison.gains:
        assert found[gain.row].error > gain.gain.sd / np.sqrt(3)
        assert found[gain.row].low < gain.gain.mean < found[gain.row].high
        assert found[gain.row].n_units == 3


def test_the_mean_abroad_leaves_english_out(tmp_path) -> None:
    base, other = both(tmp_path, 1, 0.1)
    found = intervals(of(base, other), base, other, resamples=2000)
    assert found["mean zero-shot"].half_width > found["mean"].half_width
    assert found["mean"].half_width < found["en"].half_width


def test_without_predictions_there_is_no_interval(tmp_path) -> None:
    base, other = both(tmp_path, 1, 0.1)
    run = next(iter(other.values()))[0]
    (run.path / "predictions" / "sw.jsonl").unlink()
    assert intervals(of(base, other), base, other, resamples=100) == {}
    (run.path / "predictions" / "sw.jsonl").write_text('{"id": "0", "correct": true}\n')
    assert intervals(of(base, other), base, other, resamples=100) == {}
