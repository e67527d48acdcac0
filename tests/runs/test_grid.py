from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from adaptxfer.errors import AdaptxferError
from adaptxfer.runs import stage as stages
from adaptxfer.runs import survey as surveys
from adaptxfer.runs.engines.job import attempt, stage_of
from adaptxfer.runs.grid import expand
from adaptxfer.runs.gridfile import read_grid
from adaptxfer.runs.outlook import outlook_document, outlook_views
from adaptxfer.runs.settings import Ask
from adaptxfer.runs.survey import Survey
from adaptxfer.runs.train import run_training
from tests.runs.plans import PLAN

ROOT = Path(__file__).resolve().parents[2]


def refused(said: list[str], call, *given) -> None:
    with pytest.raises(AdaptxferError) as caught:
        call(*given)
    assert caught.value.code == 1
    for text in said:
        assert text in str(caught.value)


def test_the_papers_grid() -> None:
    grid = expand(read_grid(ROOT / "benchmarks" / "plans" / "x-stilts.toml"), Ask())
    assert grid.counts() == {"intermediate": 30, "target": 198, "evaluate": 297} and not grid.left_out
    assert len({node.key for node in grid.nodes}) == 525
    trained = {
        node.training for node in grid.nodes if node.names in (("xquad",), ("mlqa",)) and node.kind == "evaluate"
    }
    assert len(trained) == 33, "XQuAD and MLQA share one training"


def test_every_plan_that_comes_along_can_be_expanded() -> None:
    for path in (ROOT / "benchmarks" / "plans").glob("*.toml"):
        assert expand(read_grid(path), Ask()).nodes


def test_all_of_one_seed_comes_first_and_parents_before_children(grid_of) -> None:
    grid = grid_of()
    seeds = [node.seed for node in grid.nodes]
    assert seeds == sorted(seeds) and seeds.count(1) == seeds.count(2)
    seen: set[str] = set()
    for node in grid.nodes:
        assert seen.issuperset(node.parents) and seen.issuperset(node.modules)
        seen.add(node.key)
    assert grid.nodes[0].label.endswith("no intermediate, seed 1"), "the baseline comes first"


def test_shared_work_is_planned_once(grid_of) -> None:
    grid = grid_of()
    # weather and seasons train on the same data in the same way; twins are not trained
    kinds = Counter((node.kind, node.seed) for node in grid.nodes)
    assert kinds["intermediate", 1] == 3, "weather, endings, both: alone and together"
    assert kinds["target", 1] == 5 and kinds["evaluate", 1] == 5 * 2 + 4
    assert grid.left_out == ("fuse for twins, which is not trained",)


def test_checkpoints_are_shorter_trainings_of_single_intermediates(grid_of) -> None:
    plain, grid = grid_of(), grid_of("checkpoints = [1]\n" + PLAN)
    short = [node for node in grid.nodes if node.kind == "intermediate" and node.ask.max_steps == 1]
    assert {node.names for node in short} == {("weather",), ("weather", "endings")} and len(short) == 4, "two seeds"
    assert {node.key for node in plain.nodes} < {node.key for node in grid.nodes}, "nothing else changes"
    assert "weather after 1 steps" in " ".join(node.label for node in grid.nodes)


def test_options_from_weak_to_strong(grid_of) -> None:
    tables = "[intermediate]\nmax_steps = 3\n[method.bottleneck]\nreduction = 8.0\n"
    grid = grid_of(PLAN + tables, batch_size=7)
    steps = {node.kind: node.ask.max_steps for node in grid.nodes}
    assert steps["intermediate"] == 3 and steps["target"] == 2
    assert all(node.ask.batch_size == 7 and node.ask.reduction == 8.0 for node in grid.nodes)
    other = grid_of(PLAN)
    assert not {n.key for n in grid.nodes} & {n.key for n in other.nodes}, "other options, other stages"


def test_what_a_method_cannot_do_is_left_out(grid_of) -> None:
    text = PLAN.replace("targets =", 'methods = ["lora", "full"]\ncompositions = ["stack"]\ntargets =')
    grid = grid_of(text)
    assert {"fuse with lora", "stack with full", "fuse with full"} <= set(grid.left_out)
    hows = {(node.ask.method, node.wish.how) for node in grid.nodes if node.wish}
    assert hows == {("lora", "none"), ("lora", "stack"), ("lora", "merge"), ("full", "none"), ("full", "merge")}


def test_languages_that_a_target_lacks(grid_of) -> None:
    grid = grid_of(PLAN + 'languages = ["en"]\n')
    assert "twins, which has none of en" in grid.left_out
    assert {node.wish.languages for node in grid.nodes if node.wish} == {("en",)}
    refused(["No target has the language 'swa'", "'sw'"], grid_of, PLAN + 'languages = ["swa"]\n')


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"none", "weather"', '"none", "wether"', ["There is no task 'wether'", "Did you mean 'weather'?"]),
        ('"both"]\n', '"bot"]\n', ["joint.both: is not used"]),
        ('"weather", "both"]', '"names", "both"]', ["names is no intermediate task"]),
        ('"seasons"', '"endings"', ["endings is no target task"]),
        ("max_steps = 2", "max_steps = -2", ["--max-steps"]),
        ("seeds = [1, 2]", "seeds = [1, 1]", ["seeds: expected a list of different whole numbers"]),
        ("seeds = [1, 2]", 'sedes = [1]\nmethods = ["lore"]', ["sedes: unknown key", "methods: 'lore' is not known"]),
        ("max_steps = 2", 'max_stpes = 2\nepochs = "2"', ["max_stpes: no such option", "epochs: expected a number"]),
        ("max_steps = 2", "r = 4", ["--r does not belong to --method bottleneck"]),
        ('["fuse", "merge"]', '["stack"]', ["together.pair.compositions: 'stack' is not known"]),
        ("[joint.both]", '[joint.unused]\ntasks = ["weather"]\n[joint.both]', ["joint.unused: is not used"]),
        ('tasks = ["weather", "endings"]', 'tasks = ["weather"]\nsampler = "even"', ["--sampler 'even'"]),
        ("[train]", "[method.lore]\nr = 1\n[train]", ["method.lore: no such method"]),
        ("[train]", "[budget]\neuros = 1\n[train]", ["budget.euros: unknown key"]),
        ("[train]", "[budget]\nhours = -1\n[train]", ["budget.hours: must lie between 0"]),
        ("name =", "name", ["is not valid TOML"]),
    ],
)
def test_wrong_plans(grid_of, old: str, new: str, said: list[str]) -> None:
    assert old in PLAN
    refused(said, grid_of, PLAN.replace(old, new))


def test_hashes_are_those_of_the_stages(grid_of) -> None:
    """What the survey works out for a recipe is what each stage says of itself, through all generations."""
    text = PLAN.replace("seeds = [1, 2]", "seeds = [3]").replace('"both"]\n', '"both", "sham"]\n')
    grid = grid_of(text + '[joint.sham]\ntasks = ["weather"]\nsham = true\n')
    places: dict[str, str] = {}
    survey = Survey(grid)
    for node in grid.nodes:
        predicted = survey._hash(node, places)
        stage = stage_of(node, places)
        assert predicted == (stage.kind, stage.name, stage.hash), node.label
        outcome = attempt(node, places)
        assert outcome.state == "finished", outcome.error
        places[node.key] = outcome.run
    assert len(set(places.values())) == len(grid.nodes), "no two nodes are the same work"
    assert sum("weather_sham" in place for place in places.values()) == 1
    assert Survey(grid).places() == places


def test_states_on_the_way(grid_of) -> None:
    grid = grid_of()
    baseline = next(node for node in grid.nodes if node.kind == "target" and not node.parents)
    module = next(node for node in grid.nodes if node.kind == "intermediate")
    assert Survey(grid).places() == {}
    bundle = run_training(stage_of(module, {}))
    states = Survey(grid).states
    assert states[module.key].run == bundle.folder.name
    assert states[baseline.key].status == "to do"
    child = next(node for node in grid.nodes if node.parents == (module.key,) and node.kind == "target")
    scored = next(node for node in grid.nodes if node.training == child.key)
    assert (states[child.key].status, states[scored.key].status) == ("to do", "waits for its parents")
    document = outlook_document(Survey(grid))
    assert document["counts"]["intermediate"] == {"stages": 6, "finished": 1}
    assert {item["steps"] for item in document["stages"] if item["kind"] != "evaluate"} == {2}
    assert any("Left out" in view.caption for view in outlook_views(document) if not isinstance(view, str))


def test_data_is_looked_at_once_however_many_seeds(grid_of, monkeypatch) -> None:
    reads: Counter[str] = Counter()

    def counted(module, name):
        real = getattr(module, name)

        def call(*given):
            reads[name] += 1
            return real(*given)

        monkeypatch.setattr(module, name, call)

    counted(stages, "file_hash")
    counted(surveys, "read_examples")
    found = []
    for seeds in ([1], list(range(1, 31))):
        reads.clear()
        text = PLAN.replace("[1, 2]", str(seeds)).replace("max_steps = 2", "epochs = 1")
        survey = Survey(grid_of(text))
        outlook_document(survey)
        found.append(dict(reads))
    assert found[0] == found[1] and found[0]["read_examples"] == 2


def test_steps_without_a_limit_of_their_own(grid_of) -> None:
    grid = grid_of(PLAN.replace("max_steps = 2", "epochs = 2\nbatch_size = 5"))
    survey = Survey(grid)
    steps = {node.label: survey.steps(node) for node in grid.nodes if node.seed == 1}
    assert steps["intermediate weather, seed 1"] == 2 * 5  # 24 examples by 5
    assert steps["intermediate both, seed 1"] == 20


def test_what_cannot_start_is_said_and_the_rest_planned(grid_of, own_ask, world) -> None:
    world.file("endings", "train", "en").unlink()
    document = outlook_document(Survey(grid_of(base=own_ask)))
    states = Counter(item["state"] for item in document["stages"] if item["kind"] == "intermediate")
    assert states == {"to do": 2, "cannot start": 4}
    assert any("endings: no train data" in view for view in outlook_views(document) if isinstance(view, str))


def test_a_damaged_bundle_is_no_finished_parent(grid_of) -> None:
    grid = grid_of()
    module = next(node for node in grid.nodes if node.kind == "intermediate")
    folder = run_training(stage_of(module, {})).folder
    (folder / "bundle.json").write_text("{}")
    child = next(node for node in grid.nodes if node.parents == (module.key,) and node.kind == "target")
    assert Survey(grid).states[child.key].status == "cannot start"
    outcome = attempt(child, {module.key: folder.name})
    assert outcome.state == "failed" and outcome.code == 2 and not outcome.again


def test_a_model_may_have_a_revision(grid_of) -> None:
    text = PLAN.replace('"MODEL"', '"some/model@abc", "other/model"').replace("[1, 2]", "[1]")
    asks = {(node.ask.model, node.ask.revision) for node in grid_of(text).nodes}
    assert asks == {("some/model", "abc"), ("other/model", None)}


def test_stages_are_those_of_the_other_commands(grid_of, ask) -> None:
    """What train-intermediate and transfer have done is not done again by a grid."""
    from adaptxfer.api import train_intermediate, transfer

    options = {"model": ask.model, "data_dir": ask.data_dir, "tasks": ask.tasks, "runs": ask.runs}
    options |= {"max_steps": 2, "evaluations": 1}
    module = train_intermediate("weather", **options)
    result = transfer("seasons", [module], "stack", **options)
    grid = grid_of()
    places = set(Survey(grid).places().values())
    assert {module.folder.name, result.runs[0].name} <= places
