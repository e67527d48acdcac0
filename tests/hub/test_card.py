"""The card: what the records say and no more, in Markdown and YAML that nothing can break out of."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

from adaptxfer import api
from adaptxfer.hub.card import render_card
from adaptxfer.hub.text import block, code, command, md, one_line
from adaptxfer.modules.bundle import read_bundle
from adaptxfer.runs.store import RunStore
from tests.world import open_world

REPO = "ann/weather"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, mini_dir):
    """A world with a stack over three seeds, scored."""
    with open_world(tmp_path_factory.mktemp("world"), mini_dir) as world:
        bundle = api.train_intermediate("weather", **world.training)
        result = api.transfer("weather", [bundle], how="stack", seeds=(1, 2, 3), **world.training)
        folder = world.root / "runs" / result.runs[0].manifest["parents"][0]
        yield world, bundle, read_bundle(folder), result


def head_of(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_scores_seeds_and_deviation(trained):
    world, _, bundle, result = trained
    card = render_card(bundle, REPO, world.options["tasks"])
    summary = result.tables()[0].rows
    for language, text in ((row[0], row[1]) for row in summary):
        (line,) = (line for line in card.splitlines() if line.startswith(f"| {md(language)} |"))
        assert f"| {md(text)} |" in line
    assert "over seeds 1, 2, 3" in card and "Zero-shot gap (English minus the mean of the others)" in card


def test_the_head_is_what_the_hub_expects(trained):
    world, _, bundle, result = trained
    from huggingface_hub import ModelCard

    card = render_card(bundle, REPO, world.options["tasks"])
    data = ModelCard(card).data
    assert data.library_name == "adapters" and "adaptxfer" in data.tags and data.pipeline_tag == "text-classification"
    assert data.language == ["en", "de", "sw"] and data.metrics == ["accuracy"]
    own = result.records[0].languages
    found = {entry.dataset_config: entry.metric_value for entry in data.eval_results}
    assert found == {code: round(values["accuracy"], 4) for code, values in own.items()}
    assert "base_model" not in head_of(card)  # it was a folder


def test_a_base_model_of_the_hub_is_linked(trained):
    _, _, bundle, _ = trained
    there = replace(bundle, base=replace(bundle.base, id="FacebookAI/xlm-roberta-large", revision="a" * 40))
    head = head_of(render_card(there, REPO))
    assert head["base_model"] == "FacebookAI/xlm-roberta-large" and head["base_model_relation"] == "adapter"


def test_the_command_makes_it_again(trained):
    _, first, bundle, _ = trained
    card = render_card(bundle, REPO)
    assert f"adaptxfer transfer --to weather --how stack --from {first.folder.name} --model tiny" in card
    assert "--method bottleneck --seeds 1 " in card and "--max-steps 6" in card and "--batch-size 4" in card
    assert "adaptxfer train-intermediate weather --model tiny" in render_card(read_bundle(first.folder), REPO)


def test_without_scores_it_says_so(trained):
    world, first, _, _ = trained
    card = render_card(read_bundle(first.folder), REPO, world.options["tasks"])
    assert "No scores in other languages are recorded" in card and "model-index" not in head_of(card)
    assert "On the dev data of its own training" in card and "CC0 1.0" in card
    assert head_of(card)["language"] == ["en"]


def test_predictions_without_labels_are_no_score(trained):
    world, _, bundle, result = trained
    before, scored, store = render_card(bundle, REPO), result.runs[0], RunStore(world.root / "runs")
    with store.open("evaluate", "weather", "00000bad") as run:
        run.start(scored.manifest["request"], seed=1, parents=scored.manifest["parents"])
        bare = {"languages": {}, "unscored": {"de": {"n": 6}}, "mean": None, "mean_zero_shot": None}
        run.write_scores({**scored.read_scores(), **bare})
        run.finish()
    assert render_card(bundle, REPO) == before
    store.remove([run.name])


def test_nothing_of_this_machine_is_on_it(trained, tmp_path_factory):
    world, _, bundle, _ = trained
    assert str(world.root) not in render_card(bundle, REPO) and str(world.root.parent) not in render_card(bundle, REPO)


EVIL = [
    "<script>alert(1)</script>",
    "](https://evil) [x",
    "a\n---\nlicense: evil\n---",
    "```\n# head",
    "| cell | cell |",
    "{{ 7*7 }} ${HOME} $(rm -rf x)",
    "\u202egnp.exe\u200b\x1b[31m\x00",
    "!!python/object/apply:os.system ['x']",
    "no: &a [*a]",
    "<!-- --><img src=x onerror=y>",
    "https://evil.example @everyone",
]


@pytest.mark.parametrize("text", EVIL)
def test_texts_of_task_files_stay_text(trained, text, tmp_path):
    world, first, _, _ = trained
    folder = tmp_path / "tasks"
    folder.mkdir()
    file = (world.root / "tasks" / "weather.toml").read_text()
    file = file.replace('about = "A test."', f"about = {json.dumps(text)}").replace('"CC0 1.0"', json.dumps(text))
    (folder / "weather.toml").write_text(file, encoding="utf-8")
    card = render_card(read_bundle(first.folder), REPO, [folder])
    plain = render_card(read_bundle(first.folder), REPO, world.options["tasks"])
    assert "<" not in card.replace("&lt;", "") and "\x1b" not in card and "\u202e" not in card
    assert len(card.splitlines()) == len(plain.splitlines()) and head_of(card) == head_of(plain)


@pytest.mark.parametrize("text", EVIL)
def test_names_and_values_in_yaml_and_code(text):
    from adaptxfer.hub.metadata import to_yaml

    assert head_of(to_yaml({"tags": [text], "language": ["no", "yes", "1e3"]})) == {
        "tags": [one_line(text)],
        "language": ["no", "yes", "1e3"],
    }
    assert "\n" not in md(text) + code(text) + command([text])
    fenced = block(text).splitlines()
    assert fenced[0] == fenced[-1] and fenced[0] not in fenced[1:-1]


def test_a_shell_reads_the_words_back():
    import shlex

    assert shlex.split(command(["a b", "$(x)", "`y`", "';rm"])) == ["a b", "$(x)", "`y`", "';rm"]


def test_a_merged_module_tells_what_was_merged(trained):
    world, first, _, _ = trained
    other = api.train_intermediate("endings", **world.training)
    merged = api.merge([first, other], "arithmetic", weights=[1, -0.5], **world.options)
    card = render_card(merged, REPO, world.options["tasks"])
    assert "# weather + endings: bottleneck, merged by arithmetic" in card
    again = f"adaptxfer merge {first.folder.name} {other.folder.name} --by=arithmetic --weights=1.0,-0.5"
    assert again in card and "| intermediate tasks | weather, endings |" in card
