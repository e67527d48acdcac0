"""The uniform average of modules."""

from __future__ import annotations

import pytest
import torch

from adaptxfer.errors import USE, AdaptxferError
from adaptxfer.modules.composition import Leaf
from adaptxfer.modules.merge import average
from adaptxfer.modules.model import make_method
from adaptxfer.modules.weights import copy_into
from tests.tiny import fresh, packed, randomise


def module(encoder, method, seed, **options):
    made = make_method(method, fresh(encoder).network)
    made.add("m", options, seed)
    if method != "full":
        randomise(made.parameters("m"), seed)
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


@torch.no_grad()
@pytest.mark.parametrize("method", ["bottleneck", "lora", "full"])
def test_average_of_identical_modules_is_the_module(tiny_encoder, method):
    from adaptxfer.encoder import encode

    made = module(tiny_encoder, method, 1)
    before = encode(made.network, *packed())
    same = weights(made)
    copy_into(made.parameters("m"), average([same, same, same], method, [2.0] * 3), "merged")
    torch.testing.assert_close(encode(made.network, *packed()), before, atol=1e-5, rtol=1e-5)


def test_bottlenecks_are_averaged_weight_by_weight(tiny_encoder):
    one, two = (weights(module(tiny_encoder, "bottleneck", seed)) for seed in (1, 2))
    merged = average([one, two], "bottleneck")
    assert merged.keys() == one.keys()
    for name in one:
        torch.testing.assert_close(merged[name], (one[name] + two[name]) / 2)


def test_lora_average_is_the_average_of_updates_when_ranks_allow(tiny_encoder):
    one, two = (weights(module(tiny_encoder, "lora", seed, r=8)) for seed in (1, 2))
    for found in (one, two):  # true rank 4 each, so that their mean has rank 8 at most
        for key in found:
            found[key][(slice(4, None),) if ".lora_A." in key else (slice(None), slice(4, None))] = 0
    merged = average([one, two], "lora", [2.0, 1.0])
    first, second = updates(one, 2.0), updates(two, 1.0)
    for key, update in updates(merged, 2.0).items():
        torch.testing.assert_close(update, (first[key] + second[key]) / 2, atol=1e-5, rtol=1e-5)
    factors = {key: (one[key] + two[key]) / 2 for key in one}
    worst = max(float((updates(factors)[key] - updates(merged)[key]).abs().max()) for key in first)
    assert worst > 1e-3  # averaging A and B apart is something else


def test_lora_average_is_the_closest_of_its_rank(tiny_encoder):
    parts = [weights(module(tiny_encoder, "lora", seed, r=4)) for seed in (1, 2, 3)]
    merged = updates(average(parts, "lora", [4.0] * 3), 4.0)
    for key, found in merged.items():
        wanted = torch.stack([updates(part, 4.0)[key] for part in parts]).mean(0)
        lost = torch.linalg.svdvals(wanted)[4:].square().sum().sqrt()
        torch.testing.assert_close((wanted - found).norm(), lost, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "options"),
    [("bottleneck", {"reduction": 8}), ("bottleneck", {"variant": "double_seq_bn"}), ("lora", {"r": 4})],
)
def test_different_shapes_are_refused(tiny_encoder, method, options):
    one, two = weights(module(tiny_encoder, method, 1)), weights(module(tiny_encoder, method, 1, **options))
    with pytest.raises(AdaptxferError, match="cannot be merged") as caught:
        average([one, two], method, [1.0, 1.0])
    assert caught.value.code == USE and "same options" in caught.value.hint
