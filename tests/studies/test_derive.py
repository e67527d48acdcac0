"""Tasks made from others can be read and trained like any other."""

from __future__ import annotations

import json

import pytest

from adaptxfer.api import make_ask, train_intermediate
from adaptxfer.errors import AdaptxferError
from adaptxfer.studies.derive import write_fakes, write_halves
from adaptxfer.tasks.find import load_task
from adaptxfer.tasks.load import read_examples
from tests.world import open_world


@pytest.fixture(scope="module")
def world(tmp_path_factory, mini_dir):
    with open_world(tmp_path_factory.mktemp("derive"), mini_dir) as made:
        yield made


def ask_of(world):
    return make_ask(**world.options)


def test_halves_of_what_the_module_has_not_seen(world, tmp_path) -> None:
    bundle = train_intermediate("weather", **world.training, limit=4)
    made, notes = write_halves(bundle, ask_of(world), tmp_path)
    assert not notes and [d.name for d in made] == ["weather_easy", "weather_hard"]
    assert made[0].value > made[1].value and made[0].train == made[1].train >= 5
    source = load_task("weather", ask_of(world).tasks)
    whole = [e.first for e in read_examples(source, "train", "en", ask_of(world).data_dir).items]
    for d in made:
        task = load_task(d.name, [tmp_path])
        found = read_examples(task, "train", "en").items  # beside the task file: no data folder is needed
        assert len(found) == d.train and not {e.first for e in found} & (set(whole[:4]) - set(whole[4:]))
        assert task.role == ("intermediate",) and task.labels == source.labels
        dev = read_examples(task, "dev", "en").items
        assert [e.first for e in dev] == [
            e.first for e in read_examples(source, "dev", "en", ask_of(world).data_dir).items
        ]


def test_a_module_that_has_seen_all_is_said_to(world, tmp_path) -> None:
    _, (note,) = write_halves(train_intermediate("weather", **world.training), ask_of(world), tmp_path)
    assert "memorised" in note


def test_only_classifiers_have_halves(world, tmp_path) -> None:
    with pytest.raises(AdaptxferError, match="no classifier"):
        write_halves(train_intermediate("endings", **world.training), ask_of(world), tmp_path)


def test_fakes_can_be_trained_on(world, tmp_path) -> None:
    facts = load_task("facts", ask_of(world).tasks)
    made = write_fakes(facts, ask_of(world), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "data" / made.name / "train.jsonl").read_text().splitlines()]
    assert len(rows) == made.train and {row["label"] for row in rows} == {"real", "fake"}
    trained = train_intermediate(made.name, **{**world.training, "tasks": [tmp_path]})
    assert trained.task == "facts_realfake"
