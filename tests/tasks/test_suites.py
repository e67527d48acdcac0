from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.metrics.registry import METRICS
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.suites import list_suites, load_suite


def test_xtreme_has_nine_tasks_in_forty_languages():
    suite = load_suite("xtreme")
    assert {name: len(task.languages) for name, task in suite.tasks.items()} == {
        "xnli": 15,
        "pawsx": 7,
        "udpos": 33,
        "panx": 40,
        "xquad": 11,
        "mlqa": 7,
        "tydiqa": 9,
        "bucc2018": 4,
        "tatoeba": 36,
    }
    assert len({language for task in suite.tasks.values() for language in task.languages}) == 40


def test_xtreme_r_has_ten_tasks_in_fifty_languages():
    suite = load_suite("xtreme-r")
    assert len(suite.tasks) == 10
    assert len({language for task in suite.tasks.values() for language in task.languages}) == 50
    assert [len(suite.tasks[name].languages) for name in ("udpos_xr", "panx_xr", "xquad_xr", "tatoeba_xr")] == [
        38,
        48,
        12,
        41,
    ]


@pytest.mark.parametrize("name", list_suites())
def test_every_task_is_in_one_group_and_its_main_score_is_known(name):
    suite = load_suite(name)
    grouped = [task for members in suite.groups.values() for task in members]
    assert sorted(grouped) == sorted(suite.tasks)
    for task in suite.tasks.values():
        metric = METRICS[load_task(task.name).metric.main]
        assert set(task.scores) == set(metric.main) or task.scores == ("chunk_f1",)


def test_an_unknown_suite():
    with pytest.raises(AdaptxferError, match=r"There is no suite 'extreme'. Did you mean 'xtreme'"):
        load_suite("extreme")


def test_faults_are_listed(tmp_path):
    (tmp_path / "suites").mkdir()
    text = 'name = "s"\nabuot = ""\n[groups]\na = ["panx"]\n[tasks.xnli]\nlanguages = ["en", "yo"]\nscores = []\n'
    (tmp_path / "suites/s.toml").write_text(text, encoding="utf-8")
    with pytest.raises(AdaptxferError) as caught:
        load_suite("s", [tmp_path])
    for fault in (
        "abuot: unknown key",
        "groups.a: 'panx' is not a task",
        "tasks.xnli.languages: 'yo'",
        "scores: must not",
    ):
        assert fault in str(caught.value)


def test_the_flores_suite_is_a_part_of_the_task():
    suite = load_suite("flores200-xlmr")
    chosen = suite.tasks["flores200"].languages
    assert len(chosen) == 90
    assert {"swh_Latn", "urd_Arab", "zho_Hant"} < set(chosen) < set(load_task("flores200").languages)
