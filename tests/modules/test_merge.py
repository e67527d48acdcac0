"""Merging: the algebra every way must obey, for bottlenecks, LoRAs and whole encoders."""

from __future__ import annotations

import pytest
import torch

from adaptxfer.errors import USE, AdaptxferError
from adaptxfer.modules.composition import Leaf
from adaptxfer.modules.merge import Merger, combine, merge, merge_updates
from adaptxfer.modules.model import make_method
from adaptxfer.modules.recipe import Recipe
from adaptxfer.modules.weights import copy_into
from tests.tiny import fresh, packed, randomise

WAYS = [Recipe(), Recipe("ties", density=1.0), Recipe("dare", drop=0.0), Recipe("soup")]
METHODS = ["bottleneck", "lora", "full"]


def module(encoder, method, seed, **options):
    made = make_method(method, fresh(encoder).network)
    made.add("m", options, seed)
    randomise(made.parameters("m"), seed, 0.02 if method == "full" else 0.1)
    made.activate(Leaf("m"))
    made.network.eval()
    return made


def weights(made):
    return {name: value.detach().clone() for name, value in made.parameters("m").items()}


def updates(found, scale=2.0):
    """The change of each adapted matrix: scale * B A."""
    return {
        key: scale * found[key.replace(".lora_A.", ".lora_B.")].double() @ found[key].double()
        for key in found
        if ".lora_A." in key
    }


def close(one, two, tolerance=1e-5):
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(one[key], two[key], atol=tolerance, rtol=1e-4)


@pytest.fixture
def saved(tiny_encoder, tmp_path):
    """Writes modules of a method, one per seed, and gives their folders."""

    def make(method, *seeds, **options):
        folders = [tmp_path / f"{method}-{seed}" for seed in seeds]
        for seed, folder in zip(seeds, folders, strict=True):
            module(tiny_encoder, method, seed, **options).save("m", folder)
        return folders

    return make


@torch.no_grad()
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("recipe", WAYS, ids=lambda recipe: recipe.by)
def test_identical_modules_merge_to_the_module(tiny_encoder, saved, method, recipe):
    from adaptxfer.encoder import encode

    (folder,) = saved(method, 1)
    expected = encode(module(tiny_encoder, method, 1).network, *packed())
    made = make_method(method, fresh(tiny_encoder).network)
    merger = Merger(made, "merged", [folder, folder, folder])
    assert merger.fill(recipe) == pytest.approx(1)
    made.activate(Leaf("merged"))
    torch.testing.assert_close(encode(made.network.eval(), *packed()), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("by", ["average", "arithmetic"])
def test_weights_one_and_zero_give_the_first(tiny_encoder, by):
    recipe = Recipe(by, (1.0, 0.0))
    one, two = (weights(module(tiny_encoder, "bottleneck", seed)) for seed in (1, 2))
    close(merge([one, two], recipe).weights, one)
    one, two = (weights(module(tiny_encoder, "lora", seed)) for seed in (1, 2))
    merged = merge_updates([one, two], [2.0, 2.0], recipe, 8, 2.0)
    close(updates(merged.weights), updates(one))
    assert merged.kept == pytest.approx(1)


def test_negation_undoes_addition(tiny_encoder):
    one, two = (weights(module(tiny_encoder, "bottleneck", seed)) for seed in (1, 2))
    both = merge([one, two], Recipe("arithmetic")).weights
    close(merge([both, two], Recipe("arithmetic", (1.0, -1.0))).weights, one)
    one, two = (weights(module(tiny_encoder, "lora", seed, r=4)) for seed in (1, 2))
    both = merge_updates([one, two], [4.0, 4.0], Recipe("arithmetic"), 8, 4.0)
    back = merge_updates([both.weights, two], [4.0, 4.0], Recipe("arithmetic", (1.0, -1.0)), 4, 4.0)
    close(updates(back.weights, 4.0), updates(one, 4.0))
    assert both.kept == pytest.approx(1) and back.kept == pytest.approx(1)


@torch.no_grad()
@pytest.mark.parametrize("method", METHODS)
def test_negating_a_module_turns_its_update_around(tiny_encoder, saved, method):
    folders = saved(method, 1)
    made = make_method(method, fresh(tiny_encoder).network)
    base = {key: value.clone() for key, value in made.network.named_parameters()}
    Merger(made, "merged", folders).fill(Recipe("arithmetic", (-1.0,)))
    mine, found = made.read("merged", folders[0]), dict(made.parameters("merged"))
    if method == "lora":
        close(updates(found), {key: -value for key, value in updates(mine).items()})
    elif method == "full":
        close(found, {key: 2 * base[key] - mine[key] for key in mine})
    else:
        close(found, {key: -value for key, value in mine.items()})


def test_a_full_encoder_is_summed_as_differences_from_the_base(tiny_encoder, saved):
    folders = saved("full", 1, 2)
    made = make_method("full", fresh(tiny_encoder).network)
    base = {key: value.detach().clone() for key, value in made.network.named_parameters()}
    Merger(made, "merged", folders).fill(Recipe("arithmetic", (0.5, 2.0)))
    one, two = (made.read("merged", folder) for folder in folders)
    for key, value in made.parameters("merged").items():
        wanted = base[key] + 0.5 * (one[key] - base[key]) + 2 * (two[key] - base[key])
        torch.testing.assert_close(value.detach(), wanted, atol=1e-5, rtol=1e-5)


def test_ties_by_hand():
    one = torch.tensor([3.0, -2.0, 0.1, 1.0, 5.0])
    two = torch.tensor([1.0, 1.0, 0.2, -1.5, -5.0])
    # all kept: signs elected by mass +, -, +, -, and none where the masses are equal
    found = combine([one, two], Recipe("ties", density=1.0), "w")
    torch.testing.assert_close(found, torch.tensor([2.0, -2.0, 0.15, -1.5, 0.0]))
    # the two largest of each: 3, 5 and -1.5, -5
    found = combine([one, two], Recipe("ties", density=0.4), "w")
    torch.testing.assert_close(found, torch.tensor([3.0, 0.0, 0.0, -1.5, 0.0]))
    # a heavier module decides the sign, and the mean is weighted
    found = combine([one, two], Recipe("ties", (3.0, 1.0), density=1.0), "w")
    torch.testing.assert_close(found, torch.tensor([2.5, -2.0, 0.125, 1.0, 5.0]))


def test_ties_of_equal_signs_at_density_one_is_the_mean():
    parts = list(torch.rand(3, 4, 5) + 0.1)
    torch.testing.assert_close(combine(parts, Recipe("ties", density=1.0), "w"), torch.stack(parts).mean(0))


def test_dare_drops_that_share_keeps_the_expectation_and_repeats():
    ones = [torch.ones(200, 500)]
    found = combine(ones, Recipe("dare", drop=0.75), "w")
    assert set(found.unique().tolist()) == {0.0, 4.0} and float(found.mean()) == pytest.approx(1, abs=0.03)
    assert torch.equal(found, combine(ones, Recipe("dare", drop=0.75), "w"))
    for other in (combine(ones, Recipe("dare", drop=0.75), "v"), combine(ones, Recipe("dare", drop=0.75, seed=2), "w")):
        assert not torch.equal(found, other)
    both = combine([ones[0], ones[0]], Recipe("dare", drop=0.75), "w")
    assert set(both.unique().tolist()) == {0.0, 2.0, 4.0}  # each module is thinned for itself


def test_lora_sums_are_exact_at_the_sum_of_the_ranks(tiny_encoder):
    one, two = (weights(module(tiny_encoder, "lora", seed, r=r)) for seed, r in ((1, 4), (2, 6)))
    merged = merge_updates([one, two], [4.0, 1.5], Recipe("arithmetic", (1.0, 0.3)), 10, 2.0)
    first, second = updates(one, 4.0), updates(two, 1.5)
    close(updates(merged.weights, 2.0), {key: first[key] + 0.3 * second[key] for key in first})
    assert merged.kept == pytest.approx(1)
    factors = {key: one[key] + two[key][: len(one[key]), : one[key].shape[1]] for key in one}
    assert max(float((updates(factors)[key] - updates(merged.weights)[key]).abs().max()) for key in first) > 1e-3


@pytest.mark.parametrize("recipe", [Recipe(), Recipe("ties", density=0.5), Recipe("dare")], ids=lambda r: r.by)
def test_lora_merges_are_the_closest_of_their_rank(tiny_encoder, recipe):
    parts = [weights(module(tiny_encoder, "lora", seed, r=4)) for seed in (1, 2, 3)]
    merged = merge_updates(parts, [4.0] * 3, recipe, 4, 4.0)
    lost = whole = 0.0
    for key, found in updates(merged.weights, 4.0).items():
        wanted = combine([updates(part, 4.0)[key] for part in parts], recipe, key)
        values = torch.linalg.svdvals(wanted).square()
        lost, whole = lost + float(values[4:].sum()), whole + float(values.sum())
        torch.testing.assert_close((wanted - found).norm(), values[4:].sum().sqrt(), atol=1e-5, rtol=1e-4)
    assert merged.kept == pytest.approx(1 - lost / whole) and merged.kept < 0.999


def test_a_merged_lora_of_another_rank_computes_the_sum(tiny_encoder, saved, tmp_path):
    folders = saved("lora", 1, 2, r=4, alpha=12)
    made = make_method("lora", fresh(tiny_encoder).network)
    merger = Merger(made, "merged", folders, 8)
    assert merger.fill(Recipe("arithmetic")) == pytest.approx(1)
    made.save("merged", tmp_path / "saved")
    assert made.rank(tmp_path / "saved") == 8 and made.scale(tmp_path / "saved") == 3
    again = make_method("lora", fresh(tiny_encoder).network)
    again.load("again", tmp_path / "saved")
    one, two = (updates(again.read("x", folder), 3.0) for folder in folders)
    close(updates(dict(again.parameters("again")), 3.0), {key: one[key] + two[key] for key in one})


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("bottleneck", {"reduction": 8}),
        ("bottleneck", {"variant": "double_seq_bn"}),
        ("lora", {"target_modules": ["key"]}),
    ],
)
def test_different_shapes_are_refused(tiny_encoder, method, options):
    one, two = weights(module(tiny_encoder, method, 1)), weights(module(tiny_encoder, method, 1, **options))
    with pytest.raises(AdaptxferError, match=r"cannot be merged.*(absent|\d+ and \d+)") as caught:
        merge([one, two], Recipe()) if method != "lora" else merge_updates([one, two], [1.0] * 2, Recipe(), 8, 1.0)
    assert caught.value.code == USE and "same options" in caught.value.hint


def test_a_lora_without_its_other_factor_is_refused(tiny_encoder):
    one = weights(module(tiny_encoder, "lora", 1))
    broken = {
        key: value for key, value in one.items() if not key.endswith("layer.1.attention.self.query.lora_B.weight")
    }
    with pytest.raises(AdaptxferError, match="no factors of one update"):
        merge_updates([one, broken], [1.0] * 2, Recipe(), 8, 1.0)


def test_a_bottleneck_with_norms_has_no_difference(tiny_encoder):
    made = make_method("bottleneck", fresh(tiny_encoder).network)
    from adapters import SeqBnConfig

    made.network.add_adapter("m", config=SeqBnConfig(ln_before=True))
    with pytest.raises(AdaptxferError, match="difference from it is not defined") as caught:
        made.origin("m")
    assert "average" in caught.value.hint


def test_not_a_number_does_not_survive(tiny_encoder, saved):
    folders = saved("bottleneck", 1, 2)
    made = make_method("bottleneck", fresh(tiny_encoder).network)
    merger = Merger(made, "merged", folders)
    found = merge([weights(module(tiny_encoder, "bottleneck", 1))], Recipe("arithmetic", (1e308,))).weights
    with pytest.raises(AdaptxferError, match="NaN or infinite"):
        copy_into(made.parameters("merged"), {k.replace(".m.", ".merged."): v for k, v in found.items()}, "it")
    assert merger.rank is None
