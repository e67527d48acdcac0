from __future__ import annotations

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.tasks.find import bundled_folder, list_tasks, load_task, members, task_folders


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A working folder of one's own, without ./tasks."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("ADAPTXFER_TASKS", raising=False)


@pytest.fixture
def put(tmp_path, plain):
    def make(folder: str, name: str = "toy", about: str = "") -> None:
        path = tmp_path / folder / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(plain.replace('"toy"', f'"{name}"\nabout = "{about}"'), encoding="utf-8")

    return make


def test_the_first_folder_wins(tmp_path, monkeypatch, put):
    put("cwd/tasks", about="here")
    assert load_task("toy").about == "here"
    put("env/deep/er", about="env")
    monkeypatch.setenv("ADAPTXFER_TASKS", str(tmp_path / "env"))
    assert load_task("toy").about == "env"
    put("own", about="own")
    assert load_task("toy", [tmp_path / "own"]).about == "own"
    assert task_folders([tmp_path / "own"])[0] == tmp_path / "own"
    assert task_folders()[-1] == bundled_folder()


def test_an_unknown_task_offers_the_nearest():
    with pytest.raises(AdaptxferError, match=r"There is no task 'xnil'. Did you mean 'xnli'"):
        load_task("xnil")


def test_a_folder_that_does_not_exist(monkeypatch, tmp_path):
    with pytest.raises(AdaptxferError, match="does not exist"):
        load_task("xnli", [tmp_path / "none"])
    monkeypatch.setenv("ADAPTXFER_TASKS", str(tmp_path / "none"))
    with pytest.raises(AdaptxferError, match="ADAPTXFER_TASKS"):
        list_tasks()


def test_the_file_is_named_after_its_task(tmp_path, put):
    put("own", "toy")
    (tmp_path / "own/toy.toml").rename(tmp_path / "own/other.toml")
    with pytest.raises(AdaptxferError, match="holds the task 'toy'"):
        load_task("other", [tmp_path / "own"])


def test_foreign_files_in_the_working_folder_are_passed_over(tmp_path):
    (tmp_path / "cwd/tasks").mkdir()
    (tmp_path / "cwd/tasks/build.toml").write_text("[command]\nrun = 'make'\n", encoding="utf-8")
    assert "build" not in [spec.name for spec in list_tasks()]


def test_a_listing_has_the_bundled_tasks_by_name_and_no_suites():
    names = [spec.name for spec in list_tasks()]
    assert names == sorted(names)
    assert {"hellaswag", "mnli", "squad_v1", "xnli", "xquad", "udpos", "panx", "tatoeba", "xcopa"} <= set(names)
    assert "xtreme" not in names


def test_members_must_fit_the_pool(tmp_path, put, plain):
    put("own")
    text = plain[: plain.index("[columns]")].replace('"toy"', '"both"') + 'pool = ["toy"]\n'
    path = tmp_path / "own/both.toml"
    path.write_text(text, encoding="utf-8")
    assert [part.name for part in members(load_task("both", [tmp_path / "own"]))] == ["toy"]
    path.write_text(text.replace('["yes", "no"]', '["yes", "maybe"]'), encoding="utf-8")
    with pytest.raises(AdaptxferError, match="same labels"):
        members(load_task("both", [tmp_path / "own"]))
