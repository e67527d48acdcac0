"""The packed forward pass gives the hidden states and gradients of the network's own."""

from __future__ import annotations

import pytest
import torch
from adapters.composition import Fuse, Stack

from adaptxfer.encoder import program
from adaptxfer.encoder.forward import encode, encode_layers
from adaptxfer.encoder.packed import encode_auto, packed_encode, sort_by_length
from adaptxfer.encoder.program import Tokens
from adaptxfer.errors import AdaptxferError
from adaptxfer.kernels.dispatch import using
from tests.encoder.setups import SETUPS, bottlenecks, distance, furthest, lora, plain, results, tokens, trained

each_setup = pytest.mark.parametrize("setup", SETUPS)


def made(setup, dtype=torch.float64, model="xlm-roberta", **changed):
    network = plain(model, **changed)
    chosen = SETUPS[setup](network)
    network.to(dtype).train()
    return network, chosen


@each_setup
def test_equal_to_the_library_in_float64(setup):
    network, chosen = made(setup)
    batch = tokens(padding=1)
    expected, expected_gradients = results(network, chosen, encode, *batch)
    found, gradients = results(network, chosen, packed_encode, *batch)
    assert distance(found, expected) < 1e-13
    assert furthest(gradients, expected_gradients) < 1e-12


@each_setup
def test_rows_in_pieces_for_the_cache_change_nothing(setup, monkeypatch):
    network, chosen = made(setup)
    expected, expected_gradients = results(network, chosen, packed_encode, *tokens())
    assert len(tokens()[0]) > 5
    monkeypatch.setattr(program, "CACHED_ROWS", 5)
    found, gradients = results(network, chosen, packed_encode, *tokens())
    assert distance(found, expected) < 1e-13
    assert furthest(gradients, expected_gradients) < 1e-12


@each_setup
def test_equal_to_the_library_in_float32(setup):
    _, truth = results(*made(setup), encode, *tokens())
    network, chosen = made(setup, torch.float32)
    expected, expected_gradients = results(network, chosen, encode, *tokens())
    found, gradients = results(network, chosen, packed_encode, *tokens())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    flat = [
        torch.cat([g.flatten() for g in all_.values() if g is not None]) for all_ in (gradients, expected_gradients)
    ]
    assert distance(*flat) < 1e-5
    assert furthest(gradients, truth) < 2 * furthest(expected_gradients, truth) + 1e-5


@pytest.mark.parametrize("model", ["roberta", "bert"])
@pytest.mark.parametrize("setup", ["full", "stack", "lora on all"])
def test_other_models(model, setup):
    network, chosen = made(setup, model=model)
    batch = tokens(padding=network.config.pad_token_id)
    expected, expected_gradients = results(network, chosen, encode, *batch)
    found, gradients = results(network, chosen, packed_encode, *batch)
    assert distance(found, expected) < 1e-13
    assert furthest(gradients, expected_gradients) < 1e-12


@torch.no_grad()
def test_layers_and_order():
    network, _ = made("stack")
    ids, bounds = tokens()
    found = packed_encode(network, ids, bounds, [2, 0, -1])
    for state, expected in zip(found, encode_layers(network, ids, bounds, [2, 0, 3]), strict=True):
        assert distance(state, expected) < 1e-13


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(5,), (1, 1), (3, 3, 3), (2, 5, 9), (9, 0, 2)])
def test_shapes_of_batches(lengths):
    network, _ = made("seq_bn")
    ids, bounds = tokens(lengths)
    assert distance(packed_encode(network, ids, bounds), encode(network, ids, bounds)) < 1e-13


@torch.no_grad()
def test_neighbours_do_not_matter():
    network, _ = made("fuse")
    ids, bounds = tokens((7, 4, 9))
    together = packed_encode(network, ids, bounds)
    alone = packed_encode(network, ids[7:11], torch.tensor([0, 4]))
    assert distance(together[7:11], alone) < 1e-13


@pytest.mark.parametrize("setup", ["seq_bn", "fuse", "lora", "full"])
def test_fifty_steps(setup):
    losses = []
    for encoder in (encode, packed_encode):
        network, chosen = made(setup, torch.float32)
        optimiser = torch.optim.AdamW(chosen.values(), lr=1e-3)
        run = []
        for step in range(50):
            ids, bounds = tokens(seed=step)
            hidden = encoder(network, ids, bounds)
            loss = (hidden[bounds[:-1]].sum(1) - ids[bounds[:-1] + 0] / 1000).square().mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(chosen.values(), 1.0)
            optimiser.step()
            run.append(loss.detach())
        losses.append(torch.stack(run))
    assert not torch.equal(losses[0][:1], losses[0][-1:])
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-6)


def test_training_through_one_shows_in_the_other():
    network, chosen = made("full")
    batch = tokens()
    before = encode(network, *batch).detach()
    optimiser = torch.optim.SGD(chosen.values(), lr=1e-2)
    packed_encode(network, *batch).square().sum().backward()
    optimiser.step()
    after = encode(network, *batch).detach()
    assert distance(after, before) > 1e-3
    assert distance(packed_encode(network, *batch).detach(), after) < 1e-13


def test_changes_without_a_version_count_show_at_once():
    network, _ = made("lora")
    batch = tokens()
    packed_encode(network, *batch)
    network.encoder.layer[0].attention.self.query.base_layer.weight.data.mul_(2)
    assert distance(packed_encode(network, *batch).detach(), encode(network, *batch).detach()) < 1e-13


@torch.no_grad()
@pytest.mark.parametrize("setup", ["seq_bn", "double_seq_bn", "par_bn", "fuse", "lora"])
def test_nan_stays_nan(setup):
    network, chosen = made(setup)
    next(iter(chosen.values())).view(-1)[0] = torch.nan
    assert packed_encode(network, *tokens()).isnan().all()


@each_setup
def test_frozen_weights_get_nothing(setup):
    network, chosen = made(setup)
    packed_encode(network, *tokens()).sum().backward()
    assert all((p.grad is None) or name in chosen for name, p in network.named_parameters())


@torch.no_grad()
def drawn(network, copies: int = 1500):
    """Hidden states of one sequence under many draws of dropout, by the library and packed: (copies, 20, 32) each."""
    ids, _ = tokens((20,))
    batch = ids.repeat(copies), torch.arange(copies + 1) * 20
    torch.manual_seed(1)
    return [encoder(network, *batch).view(copies, 20, -1) for encoder in (encode, packed_encode)]


def assert_same_distribution(expected, found):
    error = expected.std(0) * (2 / len(expected)) ** 0.5
    assert error.min() > 0
    assert ((found.mean(0) - expected.mean(0)).abs() < 6 * error).all()
    assert (found.std(0) / expected.std(0)).log().abs().mean() < 0.05
    assert not torch.equal(found[0], found[1])


DROPOUT = {
    "hidden": lambda: plain(hidden_dropout_prob=0.3),
    "attention": lambda: plain(attention_probs_dropout_prob=0.5),
    "bottleneck": lambda: attached(bottlenecks, "seq_bn", "a", "a", dropout=0.5, reduction_factor=4),
    "stack": lambda: attached(bottlenecks, "seq_bn", "ab", Stack("a", "b"), dropout=0.3),
    "fusion": lambda: attached(bottlenecks, "seq_bn", "ab", Fuse("a", "b"), attention_probs_dropout_prob=0.3),
    "lora": lambda: attached(lora, lora_dropout=0.5),
}


def attached(attach, *arguments, attention_probs_dropout_prob=0.0, **options):
    network = plain(attention_probs_dropout_prob=attention_probs_dropout_prob)
    attach(network, *arguments, **options)
    return network


@pytest.mark.parametrize("where", DROPOUT)
def test_dropout_has_the_distribution_of_the_library(where):
    network = DROPOUT[where]().train()
    assert_same_distribution(*drawn(network))
    expected, found = drawn(network.eval(), 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("setup", ["full", "stack", "fuse", "lora on all"])
def test_autocast(setup):
    network, chosen = made(setup, torch.float32)
    with torch.no_grad():
        exact = encode(network, *tokens())
    errors = []
    for encoder in (encode, packed_encode):
        with torch.autocast("cpu", torch.bfloat16):
            hidden, gradients = results(network, chosen, encoder, *tokens())
        assert hidden.dtype == torch.float32
        assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients.values() if g is not None)
        errors.append(distance(hidden, exact))
    assert errors[1] < 1.5 * errors[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("setup", ["full", "stack", "fuse", "lora on all"])
def test_on_a_gpu(setup):
    network, chosen = made(setup, torch.float32)
    network.to("cuda")
    batch = [part.to("cuda") for part in tokens()]
    expected, expected_gradients = results(network, chosen, encode, *batch)
    found, gradients = results(network, chosen, packed_encode, *batch)
    assert distance(found, expected) < 1e-4 and furthest(gradients, expected_gradients) < 1e-3
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        assert distance(packed_encode(network, *batch), expected) < 0.05


@torch.no_grad()
def test_auto_falls_back_and_says_so_once(caplog):
    network = plain().eval()
    bottlenecks(network, "seq_bn", "a", "a", use_gating=True)
    batch = tokens((5, 5))
    found = [encode_auto(network, *batch), encode_auto(network, *batch)]
    assert torch.equal(found[0], encode(network, *batch)) and torch.equal(found[1], found[0])
    assert [record.getMessage() for record in caplog.records if record.name.startswith("adaptxfer")] == [
        "The padding-free encoder is not used: a bottleneck is gated."
    ]
    assert torch.equal(encode_auto(network, *batch, [0])[0], encode_layers(network, *batch, [0])[0])
    with pytest.raises(ValueError, match="gated"):
        packed_encode(network, *batch)


@torch.no_grad()
def test_kernels_asked_for_are_not_quietly_left_out():
    network = plain().eval()
    bottlenecks(network, "seq_bn", "a", "a", use_gating=True)
    with using("triton"), pytest.raises(AdaptxferError, match="cannot be used: a bottleneck is gated"):
        encode_auto(network, *tokens())


@torch.no_grad()
def test_auto_takes_the_program():
    network = plain().eval()
    trained(network)
    assert torch.equal(encode_auto(network, *tokens()), packed_encode(network, *tokens()))


def test_sorting():
    ids, bounds = torch.arange(12), torch.tensor([0, 5, 7, 7, 12])
    batch, order = sort_by_length(Tokens(ids, bounds, ()))
    assert batch.lengths == [2, 5, 5] and batch.bounds.tolist() == [0, 2, 7, 12]
    assert batch.ids.tolist() == [5, 6, 0, 1, 2, 3, 4, 7, 8, 9, 10, 11] == order.tolist()
    assert sort_by_length(Tokens(ids, torch.tensor([0, 2, 12]), ()))[1] is None
