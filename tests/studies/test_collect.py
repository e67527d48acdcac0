from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.evaluation.certainty import certainty_scores
from adaptxfer.studies.answers import own_scores
from adaptxfer.studies.collect import OWN_METRICS, collect, read_table
from adaptxfer.studies.items import load_items
from adaptxfer.studies.pairs import choose, pair
from adaptxfer.tasks.find import load_task


def test_rows_of_runs(records) -> None:
    name = records.cell("claims", "nli", 2)
    rows = [row for row in collect(records.root).rows if not row.study]
    assert {row.language for row in rows} == {"en", "sw"}
    row = rows[0]
    assert (row.target_task, row.intermediate, row.target_seed, row.intermediate_seed) == ("claims", "nli", 2, 7)
    assert (row.status, row.backbone, row.method, row.how, row.run) == ("measured", "mini", "bottleneck", "stack", name)
    assert row.n_items == 60
    items = load_items(row)
    assert items is not None and items.score() == pytest.approx(row.value)


def test_baseline_and_intermediate_share_their_settings(records) -> None:
    records.cell("claims", "nli", 1)
    records.cell("claims", None, 1)
    assert len({row.settings for row in collect(records.root).rows if not row.study}) == 1


def test_other_settings_are_not_compared(records) -> None:
    records.cell("claims", "nli", 1, batch_size=16)
    records.cell("claims", None, 1, batch_size=32)
    with pytest.raises(AdaptxferError, match="baseline"):
        pair(collect(records.root))


def test_the_bare_encoder_is_the_baseline_of_every_method(records) -> None:
    asked = {"how": "none", "limit": None}
    bare = records.write("evaluate", "tatoeba", 1, [], intermediates=[], method="bottleneck", **asked)
    assert {row.method for row in collect(records.root).rows} == {"bottleneck"}
    for method in ("full", "lora"):
        module = records.write("intermediate", "nli", 1, [], method=method)
        records.write(
            "evaluate", "tatoeba", 1, [module], intermediates=["nli"], how="continue", method=method, limit=None
        )
    table = collect(records.root)
    baselines = [row for row in table.rows if row.intermediate == "none"]
    assert {row.method for row in baselines} == {"full", "lora"} and {row.run for row in baselines} == {bare}
    for method in ("full", "lora"):
        (pairs,), _ = pair(choose(table, method=method))
        assert pairs.labels() == ["nli"]


def test_a_fusion_with_a_module_of_its_own_above_is_another_composition(records) -> None:
    records.cell("claims", None, 1)
    below = [records.write("intermediate", name, 7, []) for name in ("nli", "qa")]
    for own in (False, True):
        trained = records.write("target", "claims", 1, below, intermediates=below, epochs=3, own_module=own)
        records.write("evaluate", "claims", 1, [trained], intermediates=["nli", "qa"], how="fuse", method="bottleneck",
                      limit=None)  # fmt: skip
    (pairs,), notes = pair(collect(records.root))
    assert sorted(pairs.labels()) == ["nli+qa (fuse)", "nli+qa (fuse, own module)"] and notes == []


def test_the_newest_of_two_counts(records) -> None:
    records.cell("claims", None, 1)
    newer = records.write(
        "evaluate", "claims", 1, [records.write("target", "claims", 1, [], intermediates=[], epochs=3, how="none")],
        intermediates=[], how="none", method="bottleneck", limit=None,
    )  # fmt: skip
    table = collect(records.root)
    assert {row.run for row in table.rows} == {newer}
    assert any("older" in note for note in table.notes)


def test_a_joint_module_goes_by_its_own_name(records) -> None:
    joint = records.write("intermediate", "nli-qa", 7, [])
    trained = records.write("target", "claims", 1, [joint], intermediates=[joint], epochs=3)
    records.write(
        "evaluate", "claims", 1, [trained], intermediates=["nli"], how="stack", method="bottleneck", limit=None
    )
    assert {row.intermediate for row in collect(records.root).rows if not row.study} == {"nli-qa"}


def test_nothing_to_read(tmp_path) -> None:
    with pytest.raises(AdaptxferError, match="no finished evaluate run"):
        read_table(tmp_path)
    with pytest.raises(AdaptxferError, match="does not exist"):
        read_table(tmp_path / "nowhere")


def test_own_scores_of_intermediates(records) -> None:
    records.cell("claims", "nli", 1)
    (row,) = [row for row in collect(records.root).rows if row.study == "intermediate"]
    assert (row.intermediate, row.target_task, row.metric, row.value, row.split) == (
        "nli",
        "nli",
        "accuracy",
        82.5,
        "dev",
    )
    assert own_scores(collect(records.root)) == {("nli", ""): 82.5}


def test_all_that_a_dev_set_tells_is_read() -> None:
    spec = load_task("sample_nli")
    told = [{"gold": label, "predicted": label, "scores": [0.0] * len(spec.labels)} for label in spec.labels]
    assert {*certainty_scores(spec, told), "representation_contrast"} <= {*OWN_METRICS}


def test_shorter_trainings_are_checkpoints(records) -> None:
    for steps in (10, 100):
        module = records.write("intermediate", "nli", 7, [], max_steps=steps)
        records.write("evaluate", "claims", 1, [module], intermediates=["nli"], how="stack", method="bottleneck")
    table = collect(records.root)
    assert {row.intermediate_checkpoint for row in table.rows if not row.study} == {"10", ""}
    assert own_scores(table, "steps") == {("nli", "10"): 10.0, ("nli", ""): 100.0}
    assert any(note.startswith("nli: trained for several lengths") for note in table.notes)


def test_an_intermediate_run_alone_is_no_record(records) -> None:
    records.write("intermediate", "nli", 7, [])
    with pytest.raises(AdaptxferError, match="no finished evaluate run"):
        collect(records.root)
